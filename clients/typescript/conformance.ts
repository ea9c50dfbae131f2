// Drives the client by steps: a line of JSON in, a line out.
import { createInterface } from "node:readline";
import { Client, Lock, LockError, LockLost } from "./sidelock.js";

interface Step {
  do: string;
  as: string;
  url: string;
  token_file: string | null;
  lock?: string;
  locks?: string[];
  wait_ms?: number;
  ttl_ms?: number;
  fields?: Record<string, unknown>;
}

const locks = new Map<string, Lock>();
const begun = new Map<string, Promise<unknown>>();
const losses = new Map<string, Promise<unknown>>();

async function take(step: Step): Promise<unknown> {
  const options = { waitMs: step.wait_ms, ttlMs: step.ttl_ms, ...step.fields };
  const client = new Client(step.url, { tokenFile: step.token_file ?? undefined });
  const lock = await client.lock(step.locks ?? step.lock ?? "", options);
  locks.set(step.as, lock);
  const loss = new Promise((tell) => {
    lock.signal.addEventListener("abort", () => {
      const { code, reason } = lock.signal.reason as LockLost;
      tell({ code, reason, late_ms: performance.now() - lock.deadline });
    });
  });
  losses.set(step.as, loss);
  return { ok: true, token: lock.token, names: [...lock.tokens.keys()] };
}

async function play(step: Step): Promise<unknown> {
  switch (step.do) {
    case "lock":
      return take(step);
    case "begin":
      begun.set(step.as, take(step));
      break;
    case "join":
      return begun.get(step.as);
    case "check":
      locks.get(step.as)?.check();
      break;
    case "release":
      await locks.get(step.as)?.release();
      break;
    case "lost":
      return losses.get(step.as);
  }
  return { ok: true };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer: unknown;
  try {
    answer = await play(JSON.parse(line) as Step);
  } catch (error) {
    if (!(error instanceof LockError)) throw error;
    answer = { code: error.code, retryable: error.retryable };
  }
  console.log(JSON.stringify(answer));
}
