/**
 * Locks from the Sidelock sidecar of this host.
 *
 *     await using held = await new Client().lock("orders/42", { waitMs: 5000 });
 *     await write({ token: held.token, signal: held.signal });   // the resource refuses a smaller token
 *
 * One request claims, waits and keeps the lock for as long as it is open; nothing has to be renewed. Until when the
 * hold is certain (`deadline`) is asked anew at a third of the time left. Only an answer to a request of ours moves it,
 * and it counts from before that request was sent: early is safe, late is a lost lock.
 *
 * Loss aborts `signal`: at the deadline, or at once when the sidecar says so or its stream breaks. A timer fires only
 * when the event loop is free: before a step that cannot be undone call `check()`, which reads the clock.
 *
 * Units: milliseconds; `deadline` is one of performance.now(). That clock does not count the time that the machine is
 * suspended; the sidecar's does, and tells at the resume. Node 20 or newer, nothing else.
 */
import { readFileSync } from "node:fs";
import * as http from "node:http";
import { text } from "node:stream/consumers";

/** For what is answered at once; the sidecar itself holds nothing back for longer than 3 s. */
const ANSWER_MAX_MS = 5_000;
/** Between two looks at a hold whose deadline is near. */
const LOOK_LEAST_MS = 50;

/**
 * A refusal. Decide by `code`: those of docs/problems.md, and `sidecar-unreachable` if nobody answers. `retryable`
 * tells whether the same may succeed later, `retryAfterMs` when, if that is known.
 */
export class LockError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: string, detail = "", retryable = false, retryAfterMs?: number) {
    super(detail ? `${code}: ${detail}` : code);
    this.name = new.target.name;
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * The hold is over, or not certain any more: stop the work. `code` is `claim-lost`, `reason` one of the sidecar's
 * reasons, `deadline-passed` or `stream-broken`.
 */
export class LockLost extends LockError {
  readonly reason: string;

  constructor(reason: string) {
    super("claim-lost", reason);
    this.reason = reason;
  }
}

/** One of several locks, as the API has it. */
export interface Want {
  name: string;
  mode?: "exclusive" | "shared" | "semaphore";
  permits?: number;
  limit?: number;
}

export interface Options {
  /** How long to wait; 0 tries once. */
  waitMs?: number;
  /** How long a hold outlives a stream of the sidecar that broke; 10000 if absent. */
  ttlMs?: number;
  /** Ends the wait. */
  signal?: AbortSignal;
  /** Further fields of the body as the API names them: mode, limit, permits, owner, metadata, value, ... */
  [field: string]: unknown;
}

interface Claim {
  claim_id: string;
  state: string;
  reason?: string;
  token?: number;
  safe_for_ms?: number;
  locks: { name: string; token?: number }[];
}

const why = (claim: Claim) => claim.reason ?? claim.state;

/**
 * Asks one sidecar: http://HOST:PORT or unix:PATH; else SIDELOCK_URL, else port 5625 here. `tokenFile`, else
 * SIDELOCK_API_TOKEN_FILE, has the token if the sidecar wants one; it is read anew for each request.
 */
export class Client {
  readonly #place: http.RequestOptions;
  readonly #tokenFile: string | undefined;

  constructor(url = process.env.SIDELOCK_URL || "http://127.0.0.1:5625", options: { tokenFile?: string } = {}) {
    this.#tokenFile = options.tokenFile ?? process.env.SIDELOCK_API_TOKEN_FILE;
    if (url.startsWith("unix:")) {
      this.#place = { socketPath: url.slice("unix:".length), headers: { host: "localhost" } };
    } else {
      const { hostname, port } = new URL(url);
      this.#place = { hostname: hostname.replace(/^\[|\]$/g, ""), port: port || 80 };
    }
  }

  /** Claims one lock, or several, all or nothing. */
  async lock(what: string | (string | Want)[], options: Options = {}): Promise<Lock> {
    const { waitMs = 0, ttlMs, signal, ...fields } = options;
    const body = {
      ...fields,
      ...(typeof what === "string"
        ? { lock: what }
        : { locks: what.map((it) => (typeof it === "string" ? { name: it } : it)) }),
      wait_ms: waitMs,
      ...(ttlMs === undefined ? {} : { ttl_ms: ttlMs }),
    };
    signal?.throwIfAborted();
    let asked = performance.now();
    const request = this.#request("POST", "/v1/claims", "text/event-stream");
    const hangUp = () => request.destroy();
    signal?.addEventListener("abort", hangUp);
    try {
      const events = eventsOf(await answerOf(request, body));
      let [claim, waited]: [Claim | undefined, boolean] = [undefined, false];
      while ((claim = (await events.next()).value || undefined)?.state === "queued") waited = true;
      if (!claim) throw new LockError("sidecar-unreachable", "the stream broke during the wait", true);
      // What ends a wait has the name of the problem that a try would get.
      if (claim.state !== "granted") throw new LockError(why(claim), "the wait ended", true);
      if (waited) {
        // The event's times count from the grant, and who knows when that was.
        asked = performance.now();
        claim = await this.ask("GET", claim.claim_id);
      }
      signal?.throwIfAborted();
      return new Lock(this, claim, asked, events, hangUp);
    } catch (error) {
      hangUp();
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", hangUp);
    }
  }

  /** @internal Of what is answered at once: how a hold stands; LockLost if it does not. */
  async ask(method: "GET" | "DELETE", id: string): Promise<Claim> {
    const request = this.#request(method, `/v1/claims/${id}`, "application/json", AbortSignal.timeout(ANSWER_MAX_MS));
    const claim = JSON.parse((await textOf(await answerOf(request))) || "null") as Claim;
    if (method === "GET" && claim.state !== "granted") throw new LockLost(why(claim));
    return claim;
  }

  #request(method: string, path: string, accept: string, signal?: AbortSignal): http.ClientRequest {
    const headers = { ...this.#place.headers, accept, "content-type": "application/json", ...this.#shown() };
    // A connection each: one of a pool may have been closed by a sidecar that restarted.
    return http.request({ ...this.#place, method, path, agent: false, signal, headers });
  }

  /** The header that shows the token, which may have been replaced since. */
  #shown(): http.OutgoingHttpHeaders {
    try {
      return this.#tokenFile ? { authorization: `Bearer ${readFileSync(this.#tokenFile, "utf8").trim()}` } : {};
    } catch (error) {
      throw new LockError("unauthorized", String(error));
    }
  }
}

/** A hold. `await using` it, or call `release`. */
export class Lock {
  readonly claimId: string;
  /** The fencing token, of a claim on one lock. */
  readonly token: number | undefined;
  /** Of each lock. */
  readonly tokens: ReadonlyMap<string, number | undefined>;
  readonly #client: Client;
  readonly #hangUp: () => void;
  readonly #ended = new AbortController();
  /** Aborted when the lock is lost, with the LockLost as its reason; not by `release`. */
  readonly signal: AbortSignal = this.#ended.signal;
  #deadline = 0;
  #timers: NodeJS.Timeout[] = [];
  #released: Promise<void> | undefined;

  /** @internal */
  constructor(client: Client, claim: Claim, asked: number, events: AsyncGenerator<Claim>, hangUp: () => void) {
    this.#client = client;
    this.#hangUp = hangUp;
    this.claimId = claim.claim_id;
    this.token = claim.token;
    this.tokens = new Map(claim.locks.map((it) => [it.name, it.token]));
    this.#certain(asked, claim);
    void this.#follow(events);
  }

  /** Until when the hold is certain, of performance.now(). */
  get deadline(): number {
    return this.#deadline;
  }

  /** Throws LockLost unless the hold is certain now. */
  check(): void {
    this.signal.throwIfAborted();
    if (this.#released || performance.now() >= this.#deadline) throw new LockLost("deadline-passed");
  }

  /** Gives it back; repeats return the same. Rejects with LockLost if the hold was not valid until now. */
  release(): Promise<void> {
    return (this.#released ??= this.#release());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  async #release(): Promise<void> {
    this.#timers.forEach(clearTimeout);
    try {
      this.signal.throwIfAborted();
      await this.#client.ask("DELETE", this.claimId);
    } finally {
      this.#hangUp(); // only now: a stream closed without DELETE is a death; that lets go of a lost hold, too
    }
  }

  #certain(asked: number, claim: Claim): void {
    this.#timers.forEach(clearTimeout);
    if (this.#released || this.signal.aborted) return;
    this.#deadline = asked + (claim.safe_for_ms ?? 0);
    const left = this.#deadline - performance.now();
    // Rounded up: a timer may fire a little early.
    this.#timers = [setTimeout(() => this.#lose("deadline-passed"), Math.ceil(left)), this.#lookAfter(left / 3)];
  }

  #lookAfter(ms: number): NodeJS.Timeout {
    return setTimeout(() => void this.#look(), Math.max(ms, LOOK_LEAST_MS));
  }

  async #look(): Promise<void> {
    const asked = performance.now();
    try {
      this.#certain(asked, await this.#client.ask("GET", this.claimId));
    } catch (error) {
      if (error instanceof LockLost) this.#lose(error.reason);
      // Else the deadline decides.
      else if (!this.#released && !this.signal.aborted) this.#timers[1] = this.#lookAfter((this.#deadline - asked) / 3);
    }
  }

  async #follow(events: AsyncGenerator<Claim>): Promise<void> {
    for await (const claim of events) {
      if (claim.state !== "granted") this.#lose(why(claim));
    }
    this.#lose("stream-broken");
  }

  #lose(reason: string): void {
    if (this.#released) return;
    this.#timers.forEach(clearTimeout);
    this.#ended.abort(new LockLost(reason)); // the first one counts
  }
}

/** The claim of each event, to the end of the stream. Its state says all; `mode` and what is unknown have no claim. */
async function* eventsOf(stream: http.IncomingMessage): AsyncGenerator<Claim> {
  let rest = "";
  try {
    for await (const part of stream.setEncoding("utf8")) {
      const lines = (rest + part).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const data = line.startsWith("data:") ? JSON.parse(line.slice(5)) : {};
        if ("claim_id" in data) yield data;
      }
    }
  } catch {
    // A stream that breaks has ended.
  }
}

/** What is answered; an error by its code if that is a problem. */
async function answerOf(request: http.ClientRequest, body?: unknown): Promise<http.IncomingMessage> {
  const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
    request.on("response", resolve);
    request.on("error", (error) => reject(new LockError("sidecar-unreachable", error.message, true)));
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
  const status = answer.statusCode ?? 0;
  if (status < 400) return answer;
  type Problem = { code?: string; detail?: string; reason?: string; retryable?: boolean; retry_after_ms?: number };
  const problem: Problem = await textOf(answer).then(JSON.parse).catch(() => ({}));
  if (!problem.code) throw new LockError("sidecar-unreachable", `status ${status} without a problem`, status >= 500);
  if (problem.code === "claim-lost") throw new LockLost(problem.reason ?? problem.code);
  throw new LockError(problem.code, problem.detail, problem.retryable, problem.retry_after_ms);
}

async function textOf(answer: http.IncomingMessage): Promise<string> {
  return text(answer).catch((error) => {
    throw new LockError("sidecar-unreachable", String(error), true);
  });
}
