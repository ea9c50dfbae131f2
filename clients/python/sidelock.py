"""Locks from the Sidelock sidecar of this host, for threads (`Client`) and for asyncio (`AsyncClient`).

    with Client().lock("orders/42", wait=5) as held:
        write(token=held.token)                       # the resource refuses a smaller token
        held.check()                                  # raises LockLost once the hold is not certain

One request claims, waits and keeps the lock for as long as it is open; nothing has to be renewed. Until when the hold
is certain (`deadline`, of `time.monotonic()`) is asked anew at a third of the time left. Only an answer to a request of
ours moves it, and it counts from before that request was sent: early is safe, late is a lost lock.

Loss is told once: at the deadline, or at once when the sidecar says so or its stream breaks. `async with` cancels the
block and raises `LockLost`; `with` calls `on_loss`, and raises `LockLost` from `check()` and at the block's end.

Units: seconds for `wait`, `ttl`, `deadline`; what ends in `_ms` is milliseconds. Python 3.11 or newer, nothing else.
Python's clock does not count the time that the machine is suspended; the sidecar's does, and tells at the resume.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import threading
import time
import urllib.parse

ANSWER_MAX = 5.0  # seconds for what is answered at once; the sidecar itself holds nothing back for longer than 3
LOOK_LEAST = 0.05  # seconds between two looks at a hold whose deadline is near
LINE_BYTES_MAX = 1 << 20  # an event of 64 locks with the longest names is far below


class LockError(Exception):
    """A refusal. Decide by `code`: those of docs/problems.md, and `sidecar-unreachable` if nobody answers.
    `retryable` tells whether the same may succeed later, `retry_after_ms` when (None: not known)."""

    def __init__(self, code, detail="", retryable=False, problem=None):
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code, self.retryable, self.problem = code, retryable, problem or {}
        self.retry_after_ms = self.problem.get("retry_after_ms")


class LockLost(LockError):
    """The hold is over, or not certain any more: stop the work. `code` is `claim-lost`, `reason` says why:
    one of the sidecar's reasons, `deadline-passed` or `stream-broken`."""

    def __init__(self, reason):
        super().__init__("claim-lost", reason)
        self.reason = reason


class _Claim:
    """One attempt, and the hold it becomes. Use it once.
    claim_id: the holder; token: the fencing token, of a claim on one lock; tokens: of all, by name;
    deadline: until when the hold is certain, of time.monotonic(); lost: the LockLost, once that is so"""

    def __init__(self, sidecar, locks, wait, ttl, on_loss, fields):
        self._sidecar, self._on_loss = sidecar, on_loss
        self._body = dict(fields, wait_ms=round(wait * 1000))
        if ttl is not None:
            self._body["ttl_ms"] = round(ttl * 1000)
        if len(locks) == 1 and isinstance(locks[0], str):
            self._body["lock"] = locks[0]
        else:
            self._body["locks"] = [{"name": it} if isinstance(it, str) else it for it in locks]
        self.claim_id = self.token = self.lost = None
        self._stream = self._timer = self._scope = None
        self.tokens, self.deadline, self._tasks = {}, 0.0, []

    def check(self):
        """Raises LockLost unless the hold is certain now."""
        if self.lost or self._stream is None or time.monotonic() >= self.deadline:
            raise self.lost or LockLost("deadline-passed")

    async def _acquire(self):
        asked, waited = time.monotonic(), False
        try:
            reader, self._stream = await _send(self._sidecar, "POST", "/v1/claims", self._body, "text/event-stream")
            events = _events(reader)
            async for claim in events:
                self.claim_id = claim["claim_id"]
                if claim["state"] != "queued":
                    break
                waited = True
            else:
                raise LockError("sidecar-unreachable", "the stream broke during the wait", True)
            if claim["state"] != "granted":
                # What ends a wait has the name of the problem that a try would get.
                raise LockError(claim.get("reason", claim["state"]), "the wait ended", True, claim)
            if waited:  # the event's times count from the grant, and who knows when that was
                asked, claim = await self._look()
        except BaseException:
            self._close()
            raise
        self.token = claim.get("token")
        self.tokens = {it["name"]: it["token"] for it in claim["locks"]}
        self._certain(asked, claim)
        self._tasks = [asyncio.create_task(self._follow(events)), asyncio.create_task(self._keep())]
        return self

    async def _release(self):
        if self._stream is None:
            return  # a repeat
        try:
            if self.lost:
                raise self.lost
            self._quiet()
            await _ask(self._sidecar, "DELETE", f"/v1/claims/{self.claim_id}")
        finally:
            self._close()  # only now: a stream closed without DELETE is a death; that lets go of a lost hold, too

    async def _look(self):
        asked = time.monotonic()
        claim = await _ask(self._sidecar, "GET", f"/v1/claims/{self.claim_id}")
        if claim["state"] != "granted":
            raise LockLost(claim.get("reason", claim["state"]))
        return asked, claim

    def _certain(self, asked, claim):
        self.deadline = asked + claim["safe_for_ms"] / 1000
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self.deadline, self._lose, "deadline-passed")

    async def _follow(self, events):
        with contextlib.suppress(OSError, ValueError):
            async for claim in events:
                if claim["state"] != "granted":
                    return self._lose(claim.get("reason", claim["state"]))
        self._lose("stream-broken")

    async def _keep(self):
        while True:
            await asyncio.sleep(max((self.deadline - time.monotonic()) / 3, LOOK_LEAST))
            try:
                self._certain(*await self._look())
            except LockLost as lost:
                return self._lose(lost.reason)
            except LockError:
                pass  # the deadline decides

    def _lose(self, reason):
        self._quiet()
        self.lost = LockLost(reason)
        if self._scope:
            self._scope.cancel()
        if self._on_loss:
            self._on_loss(self.lost)

    def _quiet(self):
        """Nothing is told from now on."""
        self._timer.cancel()
        for task in {*self._tasks} - {asyncio.current_task()}:  # the one that tells is over by itself
            task.cancel()

    def _close(self):
        stream, self._stream = self._stream, None
        if stream:
            stream.close()


class AsyncLock(_Claim):
    """`async with` it, or `acquire` and `release`. A loss cancels the block, which then raises LockLost."""

    acquire, release = _Claim._acquire, _Claim._release

    async def __aenter__(self):
        await self._acquire()
        self._scope = asyncio.current_task()
        self._cancelling = self._scope.cancelling()
        return self

    async def __aexit__(self, kind, error, trace):
        scope, self._scope = self._scope, None
        if self.lost:
            self._close()
            # As asyncio.timeout does: a cancel that somebody else asked for stays one.
            ours = scope.uncancel() <= self._cancelling
            if error is None or (ours and kind is asyncio.CancelledError):
                raise self.lost from error
            return
        with contextlib.suppress(*([LockError] if error else [])):  # what went wrong in the block says more
            await self._release()


class Lock(_Claim):
    """`with` it, or `acquire` and `release`. `on_loss(error)` is called in a thread of its own: it must not block."""

    def acquire(self):
        return _run(self._acquire())

    def release(self):
        """Gives it back; repeats do nothing. Raises LockLost if the hold was not valid until now."""
        _run(self._release())

    __enter__ = acquire

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(*([LockError] if error else [])):
            self.release()


class AsyncClient:
    """Makes locks for asyncio. `url` is http://HOST:PORT or unix:PATH; else SIDELOCK_URL, else port 5625 here.
    `token_file`, else SIDELOCK_API_TOKEN_FILE, has the token if the sidecar wants one; read anew for each request."""

    _made = AsyncLock

    def __init__(self, url=None, token_file=None):
        url = url or os.environ.get("SIDELOCK_URL") or "http://127.0.0.1:5625"
        self._sidecar = url, token_file or os.environ.get("SIDELOCK_API_TOKEN_FILE")

    def lock(self, *locks, wait=0, ttl=None, on_loss=None, **fields):
        """A claim on one lock or several, all or nothing; each a name, or a dict as the API has it.
        wait 0 tries once. `ttl` is how long a hold outlives a sidecar's stream that broke. `fields` are those of the
        API: mode="shared", limit=3, permits=1, owner=, metadata=, value=, priority=, min_hold_ms=."""
        return self._made(self._sidecar, locks, wait, ttl, on_loss, fields)


class Client(AsyncClient):
    """Makes locks for threads."""

    _made = Lock


async def _send(sidecar, method, path, body=None, accept="application/json"):
    """The two ends of the connection; the answer's body comes next. A problem is raised."""
    url, token_file = sidecar
    place, writer = urllib.parse.urlsplit(url), None
    text = b"" if body is None else json.dumps(body).encode()
    # HTTP/1.0: the answer ends with the connection, so there is nothing to cut out of chunks.
    head = (f"{method} {path} HTTP/1.0\r\nHost: {place.netloc or 'localhost'}\r\nAccept: {accept}\r\n"
            f"{_shown(token_file)}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n")
    try:
        if place.scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(url.removeprefix("unix:"), limit=LINE_BYTES_MAX)
        else:
            reader, writer = await asyncio.open_connection(place.hostname, place.port or 80, limit=LINE_BYTES_MAX)
        writer.write(head.encode() + text)
        status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
        if status >= 400:
            raise await _problem(status, reader)
        return reader, writer
    except BaseException as error:
        if writer:
            writer.close()
        if isinstance(error, (OSError, EOFError, IndexError, ValueError, asyncio.LimitOverrunError)):
            raise LockError("sidecar-unreachable", f"{url}: {error}", True) from error
        raise


def _shown(token_file):
    try:
        return f"Authorization: Bearer {pathlib.Path(token_file).read_text().strip()}\r\n" if token_file else ""
    except (OSError, ValueError) as error:
        raise LockError("unauthorized", str(error)) from error


async def _ask(sidecar, method, path):
    """The JSON of what is answered at once."""
    try:
        async with asyncio.timeout(ANSWER_MAX):
            reader, writer = await _send(sidecar, method, path)
            with contextlib.closing(writer):
                return json.loads(await reader.read() or b"null")
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise LockError("sidecar-unreachable", f"{sidecar[0]}: {error!r}", True) from error


async def _problem(status, reader):
    try:
        code = (problem := json.loads(await reader.read()))["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return LockError("sidecar-unreachable", f"status {status} without a problem", status >= 500)
    if code == "claim-lost":
        return LockLost(problem.get("reason", problem.get("state", code)))
    return LockError(code, problem.get("detail", ""), problem.get("retryable", False), problem)


async def _events(reader):
    """The claim of each event. Its state says all; `mode` and what is yet unknown have no claim."""
    async for line in reader:
        if line.startswith(b"data:") and "claim_id" in (claim := json.loads(line[5:])):
            yield claim


_starting, _loops = threading.Lock(), {}


def _run(work):
    """Runs it on the loop behind all locks of threads. A fork has no threads of its parent: it starts its own."""
    with _starting:
        if os.getpid() not in _loops:
            _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=_loops[os.getpid()].run_forever, name="sidelock", daemon=True).start()
    future = asyncio.run_coroutine_threadsafe(work, _loops[os.getpid()])
    try:
        return future.result()
    except BaseException:
        future.cancel()  # an interrupted wait must not go on
        raise
