"""Checks of docker/compose.yaml: claims go on while a core is killed, another cut off, and a sidecar killed."""

import time

import ledger
from cell import APPS, CORES, SIDECARS
from image import health
from ledger import Hold

START_MAX = 120.0  # seconds until both apps hold locks, from nothing
GO_ON_MAX = 20.0  # seconds until claims succeed again after a core is gone: an election, and sessions that move
HANDOVERS = 3  # from one pod to the other: each of them needs the core, whatever a sidecar keeps for itself
CALM = 2.0  # seconds of work between two things that go wrong
HOLDS_LEAST = 100  # of each app, over all of it


def start(world, cell, followed):
    """Starts a cell; the seconds until the lock goes from pod to pod."""
    began = ledger.now()
    cell.up()
    for app in APPS:
        followed.follow(app, ["docker", "logs", "--follow", cell.ids[app]], world.docker.environment)
    took = followed.wait_handovers(began, HANDOVERS, START_MAX)
    assert took is not None, f"no claims within {START_MAX:.0f} s; {followed.refusals()}"
    return took


def goes_on(world, deed, what):
    """Does it; then both apps get the lock again, in turn, within the bound."""
    before = ledger.now()
    deed()
    done = ledger.now()
    took = world.ledger.wait_handovers(done, HANDOVERS, GO_ON_MAX)
    assert took is not None, f"{what}: no {HANDOVERS} hand-overs within {GO_ON_MAX:.0f} s; {world.ledger.refusals()}"
    time.sleep(CALM)
    pause = world.ledger.longest_pause(before)
    world.say(f"{what}: the lock stayed with one pod for {pause:.1f} s; {HANDOVERS} hand-overs within {took:.1f} s of the deed's end")


def judge_finds_what_is_planted(_world):
    """the judge of the last check is not blind"""
    good = [Hold(1.0, 2.0, 5, "a"), Hold(2.0, 3.0, 6, "b"), Hold(3.5, 4.0, 9, "a")]
    assert ledger.judge(good) == []
    for planted in (Hold(3.9, 4.5, 10, "b"), Hold(5.0, 6.0, 9, "b"), Hold(5.0, 6.0, 8, "b")):
        assert len(ledger.judge([*good, planted])) == 1, planted
    assert ledger.handovers(good, since=1.5) == [3.5]


def starts_and_grants(world):
    """from nothing to claims of both apps"""
    took = start(world, world.cell, world.ledger)
    world.say(f"both apps hold in turn {took:.1f} s after `compose up`; {world.cell.leader()} leads")


def is_healthy(world):
    """every container with a check turns healthy"""
    for service in (*CORES, *SIDECARS, "prometheus"):
        container = world.cell.ids[service]
        world.wait_for(f"{service} to be healthy", lambda it=container: health(world.docker, it) == "healthy")


def has_no_privileges(world):
    """as the kernel sees it: user, capabilities, no new privileges, seccomp; and a root that is read-only"""
    for service in (*CORES, *SIDECARS, *APPS):
        container = world.cell.ids[service]
        status = world.docker.status(container)
        user = "65534" if service in APPS else "65532"
        assert set(status["Uid"].split()) == {user}, f"{service}: {status['Uid']}"
        for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            assert int(status[capabilities], 16) == 0, f"{service}: {capabilities} {status[capabilities]}"
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2"), f"{service}: {status}"
        assert world.docker.inspect(container)["HostConfig"]["ReadonlyRootfs"], service


def is_seen_by_prometheus(world):
    """every core and sidecar is scraped, and the project's rules are evaluated"""
    query = world.cell.query
    world.wait_for("five scraped targets", lambda: query('sum(up{job=~"sidelock-.*"})') == 5)
    world.wait_for("decisions in the rules", lambda: (query("sum(sidelock:decisions:rate5m)") or 0) > 0)
    world.wait_for("its own figures", lambda: query("sum(prometheus_rule_evaluations_total)"))
    assert query("sum(prometheus_rule_evaluation_failures_total)") == 0


def survives_a_kill(world):
    """the leader is killed, others lead, it comes back"""
    cell = world.cell
    leader = world.wait_for("a leader", cell.leader)

    def kill():
        world.docker("kill", cell.ids[leader])
        world.docker("wait", cell.ids[leader])

    goes_on(world, kill, f"killed {leader}, which led")
    assert not world.docker.inspect(cell.ids[leader])["State"]["Running"], "it was to stay away meanwhile"
    others = [core for core in CORES if core != leader]
    successor = world.wait_for("a new leader", lambda: cell.leader(others))
    world.docker("start", cell.ids[leader])
    world.wait_for(f"{leader} to be back", cell.whole)
    world.say(f"{successor} leads; {leader} is back")


def survives_a_cut(world):
    """the leader loses its network, others lead, it comes back"""
    cell = world.cell
    leader = world.wait_for("a leader", cell.leader)
    goes_on(world, lambda: cell.cut(leader), f"cut {leader} off, which led")
    others = [core for core in CORES if core != leader]
    world.wait_for(f"the others to miss {leader}", lambda: cell.misses(leader, others))
    assert world.docker.inspect(cell.ids[leader])["State"]["Running"], "it was to be cut off, not to end"
    cell.mend(leader)
    world.wait_for(f"{leader} to be back", cell.whole)
    world.say(f"{cell.leader()} leads; {leader} is back")


def keeps_claims_of_a_killed_sidecar(world):
    """a sidecar is killed and comes back in its pod: the same claim, the same token"""
    cell, claim = world.cell, "/v1/claims/kept-over-a-restart"
    granted = cell.ask("app-1", "PUT", claim, {"lock": "kept", "ttl_ms": 60_000})
    assert granted.get("state") == "granted", granted

    def restart():
        world.docker("kill", cell.ids["sidecar-1"])
        world.docker("wait", cell.ids["sidecar-1"])
        world.docker("start", cell.ids["sidecar-1"])

    def again():
        answer = cell.ask("app-1", "GET", claim)
        # Until it has attached again it says `jeopardy`.
        return answer if answer and answer.get("state") != "jeopardy" else None

    goes_on(world, restart, "killed and started sidecar-1")
    after = world.wait_for("the sidecar to answer", again)
    assert (after.get("state"), after.get("token")) == ("granted", granted["token"]), (granted, after)
    cell.ask("app-1", "DELETE", claim)


def stops_in_order(world):
    """`compose stop`: apps, sidecars and cores end by themselves, in time, with exit code 0"""
    began = time.monotonic()
    world.cell.compose("stop")
    world.say(f"stopped in {time.monotonic() - began:.1f} s")
    for service in (*APPS, *SIDECARS, *CORES):
        code = world.docker.inspect(world.cell.ids[service])["State"]["ExitCode"]
        assert code == 0, f"{service}: {code}\n{world.cell.logs(service)}"


def never_has_two_holders(world):
    """over all of it: tokens rise with every hold, and no two holds overlap"""
    world.ledger.ended()
    holds = world.ledger.holds()
    each = {app: sum(hold.app == app for hold in holds) for app in APPS}
    world.say(f"{len(holds)} holds, {each}; refused meanwhile: {world.ledger.refusals()}")
    assert min(each.values()) >= HOLDS_LEAST, each
    wrong = ledger.judge(holds)
    assert not wrong, f"{len(wrong)} complaints, such as {wrong[0]}"

