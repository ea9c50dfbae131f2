"""Drives the client by steps: a line of JSON in, a line out. With the argument `async`, that of asyncio."""

import asyncio
import inspect
import json
import sys
import time

import sidelock

ASYNC = sys.argv[1:] == ["async"]
Client = sidelock.AsyncClient if ASYNC else sidelock.Client
locks, begun, losses = {}, {}, {}


async def done(function):
    """The same for both: the calls for threads wait in one."""
    result = await asyncio.to_thread(function)
    return await result if inspect.isawaitable(result) else result


async def lock(step):
    names, loop, loss = step.get("locks") or [step["lock"]], asyncio.get_running_loop(), asyncio.Future()

    def on_loss(error):
        late_ms = (time.monotonic() - held.deadline) * 1000
        told = {"code": error.code, "reason": error.reason, "late_ms": late_ms}
        loop.call_soon_threadsafe(loss.set_result, told)

    ttl = step["ttl_ms"] / 1000 if "ttl_ms" in step else None
    client = Client(step["url"], token_file=step["token_file"])
    held = client.lock(*names, wait=step.get("wait_ms", 0) / 1000, ttl=ttl, on_loss=on_loss, **step.get("fields", {}))
    await done(held.acquire)
    locks[step["as"]], losses[step["as"]] = held, loss
    return {"ok": True, "token": held.token, "names": [*held.tokens]}


async def play(step):
    name = step["as"]
    match step["do"]:
        case "lock":
            return await lock(step)
        case "begin":
            begun[name] = asyncio.create_task(lock(step))
        case "join":
            return await begun.pop(name)
        case "check":
            locks[name].check()
        case "release":
            await done(locks[name].release)
        case "lost":
            return await losses[name]
    return {"ok": True}


async def main():
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await play(json.loads(line))
        except sidelock.LockError as error:
            answer = {"code": error.code, "retryable": error.retryable}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
