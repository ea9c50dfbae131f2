"""What each page of the guide promises, played with real copies of its programs and judged by what came of it."""

import os
import re
import signal
import sqlite3

from copies import Wrong

HAND_OVER_MAX = 5.0  # seconds; a lease would be 10


def same(what, found, expected):
    if found != expected:
        raise Wrong(f"{what}: expected {expected}, found {found}")


def said(copies):
    """What each copy said, sorted: which of them came first is chance."""
    return sorted(copy.finish() for copy in copies)


def cron_job_once(stage):
    """Of three that are started at once one does the job; nor does one that is started when that is long done."""
    same("three copies", said(stage.start(3)), [["ran"], ["skipped"], ["skipped"]])
    same("a late copy", said(stage.start(1)), [["skipped"]])
    one_report(stage)


def cron_job_once_run(stage):
    """The same; the command writes to a file, so no copy says anything."""
    same("three copies", said(stage.start(3)), [[], [], []])
    one_report(stage)
    same("a late copy", said(stage.start(1)), [[]])
    one_report(stage)


def one_report(stage):
    with open(stage.path("report.txt")) as file:
        lines = file.read().splitlines()
    if len(lines) != 1 or not re.fullmatch(r"report, token [1-9]\d*", lines[0]):
        raise Wrong(f"the report, which one copy should have written: {lines}")


def leader_election(stage):
    """One leads and is seen to; broken or killed, the next one does, with a greater token; and the watcher knows."""
    lock, ada, bob = "leader/scheduler", "10.0.0.1:80", "10.0.0.2:80"
    (watch,) = stage.start(1, "watch")
    watch.line("^leader: nobody$")
    (first,) = stage.start(1, "", ada)
    tokens = [int(first.line(r"^leading with token (\d+)$")[1])]
    watch.line(f"^leader: {ada}$")
    (second,) = stage.start(1, "", bob)
    in_line = lambda now: now["queue_length"] == 1
    stage.sidecar.until(lock, in_line, "a second one in line")

    stage.sidecar.take_away(lock)
    first.line("^stopped: .*broken")
    tokens.append(int(second.line(r"^leading with token (\d+)$", HAND_OVER_MAX)[1]))
    watch.line(f"^leader: {bob}$", HAND_OVER_MAX)
    stage.sidecar.until(lock, in_line, "the first one in line again")

    second.kill()
    tokens.append(int(first.line(r"^leading with token (\d+)$", HAND_OVER_MAX)[1]))
    watch.line(f"^leader: {ada}$", HAND_OVER_MAX)
    same("the lock's holder", [(it["value"], it["token"]) for it in stage.sidecar.lock(lock)["holders"]], [(ada, tokens[-1])])

    first.kill(signal.SIGTERM)
    watch.line("^leader: nobody$", HAND_OVER_MAX)
    same("tokens that grow", tokens, sorted(set(tokens)))


def rate_limit(stage):
    """Seven want to call: never more than three do at once, three do, and no four begin within a second."""
    same("seven copies", said(stage.start(7)), [["200"]] * 7)
    same("calls at once, at most", stage.store.most, 3)
    starts = sorted(stage.store.starts)
    gaps = [later - earlier for earlier, later in zip(starts, starts[3:])]
    # A permit is held for a second since its grant; the call that is measured comes a little after that.
    if len(starts) != 7 or min(gaps) < 0.5:
        raise Wrong(f"the fourth call after each came {gaps} s later")


def migration_guard(stage):
    """One that is killed in the middle does not hold up the others, one of which migrates; its late write is refused."""
    go_on = stage.store.stall_next_write()
    (dying,) = stage.start(1)
    if not stage.store.stalled.wait(60):
        raise dying.wrong("did not write")
    dying.kill()
    stage.store.write_seconds = 1.0  # so long that copies which were not kept apart would overlap
    same("three copies", said(stage.start(3)), [["already at 3"], ["already at 3"], ["migrated to 3"]])
    same("refused so far", stage.store.refusals, [])
    stage.store.records["schema"][0] = 7  # a write that is taken would show
    go_on.set()
    stage.wait_for("the late write", lambda: stage.store.refusals)
    same("the schema's version", stage.store.values()["schema"], 7)


def migration_guard_run(stage):
    """One of three migrates a real database; its trigger refuses an older token."""
    database = sqlite3.connect(stage.path("shop.db"), isolation_level=None)
    database.executescript("""
        create table orders (id integer primary key);
        create table schema (version integer not null, token integer not null);
        insert into schema values (2, 0);
        create trigger schema_fence before update on schema when new.token < old.token
        begin select raise(abort, 'a newer holder was here'); end;
    """)
    same("three copies", said(stage.start(3)), [["already at 3"], ["already at 3"], ["migrated to 3"]])
    version, token = database.execute("select version, token from schema").fetchone()
    same("the schema's version", version, 3)
    columns = [row[1] for row in database.execute("pragma table_info(orders)")]
    same("columns", columns, ["id", "note"])
    try:
        database.execute("update schema set version = 3, token = ?", (token - 1,))
    except sqlite3.IntegrityError:
        database.close()
    else:
        raise Wrong("the trigger let an older token pass")


def several_records(stage):
    """Six transfers in opposite directions at once: all are done, and no amount is lost."""
    alice, bob = "accounts/alice", "accounts/bob"
    copies = stage.start(3, "", alice, bob, "10") + stage.start(3, "", bob, alice, "4")
    same("six copies", said(copies), [["moved 10"]] * 3 + [["moved 4"]] * 3)
    same("balances", stage.store.values(), {"schema": 2, alice: 100 - 30 + 12, bob: 100 + 30 - 12})
    same("refused", stage.store.refusals, [])


JUDGES = {
    "cron-job-once": cron_job_once,
    "leader-election": leader_election,
    "rate-limit": rate_limit,
    "migration-guard": migration_guard,
    "several-records": several_records,
}
# Those with `sidelock run`, where that is judged otherwise.
RUN_JUDGES = {"cron-job-once": cron_job_once_run, "migration-guard": migration_guard_run, "rate-limit": rate_limit}
