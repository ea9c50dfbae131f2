"""What the page shows equals what the API says; what it does, it does by the API. Each check is a sentence."""

import signal
import time

from cell import call, demo, headers, lock_path, read
from view import eventually, view
from workload import NIGHTLY, ODD, STILL, Churn

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def for_each_face(world):
    """The page of the leader and of a sidecar, with the address of each."""
    for address in (world.leader, world.one):
        with view(world.browser, address) as shown:
            yield address, shown


@check
def the_files_come_with_their_policy(world):
    for address in (world.leader, world.one):
        for path in ("/ui", "/ui/", "/ui/main.js", "/ui/panels/cell.js", "/ui/style.css", "/ui/icon.svg"):
            status, fields = headers(address, path)
            policy = fields.get("content-security-policy", "")
            assert status == 200 and "default-src 'none'" in policy, f"{path}: {status} {fields}"
            assert fields.get("x-content-type-options") == "nosniff", f"{path}: {fields}"
        status, _ = headers(address, "/ui/no-such-file")
        assert status == 404, status


@check
def the_members_are_those_of_the_cell(world):
    def told():
        cluster = read(world.leader, "/v1/cluster")
        return [
            [str(m["node"]), m["role"], "leader" if m["leader"] else "", "yes" if m["reachable"] else "no",
             m.get("applied", ""), m.get("lag", "")]
            for m in cluster["members"]
        ]

    with view(world.browser, world.leader) as shown:
        eventually(told, lambda: shown.cells("#cell"))
        leader = read(world.leader, "/v1/cluster")["leader"]
        eventually(f"led by node {leader}", lambda: shown.text("#mode"))


@check
def a_sidecar_shows_its_status(world):
    def told():
        status = read(world.one, "/v1/status")
        return (
            status["mode"], status["claims_granted"], status["claims_queued"],
            [[core["address"], "yes" if core["connected"] else "no", "leader" if core["leader"] else ""]
             for core in status["cores"]],
        )

    def seen(shown):
        facts = dict(shown.page.eval_on_selector_all(
            "#cell .facts > div", "(all) => all.map(({children: pair}) => [...pair].map((one) => one.textContent))"
        ))
        return (
            facts["Mode"], int(facts["Claims held"]), int(facts["Claims waiting"]),
            shown.table("#cell", "Core nodes"),
        )

    with view(world.browser, world.one) as shown:
        eventually(told, lambda: seen(shown))
        eventually("normal", lambda: shown.text("#mode"))


@check
def contention_is_that_of_the_api(world):
    def told(address):
        items = read(address, "/v1/contention?window=1m&scope=cell&limit=20")["items"]
        names = ("lock", "waiters", "waiters_max", "wait_ms", "waits", "wait_max_ms", "holds", "hold_ms", "recalls")
        return [[item[name] for name in names] for item in items]

    # Whoever waits now has waited longer with each look.
    def steady(rows):
        return [[*row[:3], "goes on" if row[1] else row[3], *row[4:]] for row in rows]

    for address, shown in for_each_face(world):
        eventually(lambda: steady(told(address)), lambda: steady(shown.cells("#contention")))
        earlier = {row[0]: row[3] for row in shown.cells("#contention")}
        later = {row[0]: row[3] for row in told(address) if row[1]}
        assert later and all(0 < earlier.get(lock, 1) <= waited for lock, waited in later.items()), (earlier, later)
        locks = lambda: [row[0] for row in shown.cells("#contention")]
        assert set(Churn.LOCKS) <= set(locks()), locks()
        shown.page.locator("#measure").select_option("holds")
        eventually(True, lambda: shown.page.locator("#plot .line").count() >= len(Churn.LOCKS))
        shown.page.locator("#window").select_option("10m")
        longer = read(address, "/v1/contention?window=10m&scope=cell&limit=20")["items"]
        eventually([item["lock"] for item in longer], locks)


@check
def the_wait_for_graph_is_that_of_the_api(world):
    def key(claim):
        return f"claim {claim['identity']} {claim['claim_id']}"

    for address, shown in for_each_face(world):
        def told():
            return read(address, "/v1/waits")["edges"]

        def rows():
            return sorted(
                [e["waiter"]["claim_id"], e["waiter"]["identity"], e["lock"], e["blocker"]["claim_id"],
                 e["blocker"]["identity"], "holds it" if e["held"] else "goes first"]
                for e in told()
            )

        def drawn():
            waits = {(key(e["waiter"]), f"lock {e['lock']}", "waits") for e in told()}
            return sorted(waits | {(f"lock {e['lock']}", key(e["blocker"]), "held") for e in told() if e["held"]})

        eventually(rows, lambda: sorted(shown.cells("#waits-table")))
        eventually(drawn, lambda: [edge for edge in shown.drawn("#waits-graph") if edge[2] != "behind"])
        assert len(told()) >= 8, told()
        # Every "goes first" of the API can be reached over the dashed arrows.
        behind = [edge[:2] for edge in shown.drawn("#waits-graph") if edge[2] == "behind"]
        for edge in told():
            if not edge["held"]:
                assert reaches(key(edge["waiter"]), key(edge["blocker"]), behind), edge
        no_box_lies_on_another(shown, "#waits-graph")


def reaches(start, goal, edges):
    found = {start}
    for _ in edges:
        found |= {to for from_, to in edges if from_ in found}
    return goal in found


def no_box_lies_on_another(shown, graph):
    boxes = shown.page.eval_on_selector_all(
        f"{graph} .node rect",
        "(all) => all.map((box) => ['x', 'y', 'width', 'height'].map((side) => Number(box.getAttribute(side))))",
    )
    for place, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in boxes[:place]:
            beside = x >= other_x + other_width or other_x >= x + width
            below = y >= other_y + other_height or other_y >= y + height
            assert beside or below, f"two boxes of {graph} overlap"


@check
def the_lock_order_graph_is_that_of_the_api(world):
    for address, shown in for_each_face(world):
        order = read(address, "/v1/lock-order")
        edges = sorted((e["before"], e["after"], "inverted" if e["inverted"] else "before") for e in order["items"])
        assert ("orders", "stock", "inverted") in edges and ("stock", "orders", "inverted") in edges, edges
        eventually(edges, lambda: shown.drawn("#order-graph"))
        rows = sorted([e["before"], e["after"], e["count"], "yes" if e["inverted"] else ""] for e in order["items"])
        eventually(rows, lambda: sorted(row[:4] for row in shown.cells("#order-table")))
        told = [[*i["classes"], i["classes"][0]] for i in order["inversions"]]
        listed = shown.page.locator("#inversions li strong").all_inner_texts()
        assert sorted(text.split(",")[0].split(" → ") for text in listed) == sorted(told), listed
        no_box_lies_on_another(shown, "#order-graph")


@check
def the_deadlocks_are_those_of_the_api(world):
    for address, shown in for_each_face(world):
        told = [
            [item["revision"], item["victim"],
             [[e["waiter"]["claim_id"], e["lock"], e["blocker"]["claim_id"]] for e in item["edges"]]]
            for item in read(address, "/v1/deadlocks?limit=20")["items"]
        ]
        assert told and told[0][1] == "right-a", told
        eventually(told, lambda: shown.page.eval_on_selector_all(".deadlock", """(all) => all.map((item) => [
            Number(item.querySelector('data').value),
            item.querySelector('p [data-id]').dataset.id,
            [...item.querySelectorAll('ul li')].map((step) => {
              const [waiter, blocker] = step.querySelectorAll(':scope > [data-id]');
              return [waiter.dataset.id, step.querySelector('.lock').textContent, blocker.dataset.id];
            })])"""))


@check
def the_sessions_are_those_of_the_api(world):
    def told(address):
        names = ("identity", "session", "claims", "waiting", "delegations", "ttl_ms")
        return [[item[name] for name in names] for item in read(address, "/v1/sessions")["items"]]

    for address, shown in for_each_face(world):
        eventually(lambda: told(address), lambda: shown.cells("#sessions"))
        assert len(told(address)) == 2, told(address)


@check
def a_lock_shows_holders_queue_and_history(world):
    for address, shown in for_each_face(world):
        for lock in STILL:
            shown.choose(lock)
            why = lambda: read(address, f"{lock_path(lock)}/why")
            holders = lambda: [[h["claim_id"], h["identity"], h["token"]] for h in why()["holders"]]
            queue = lambda: [[w["position"], w["claim_id"], w["identity"], w["why"]] for w in why()["queue"]]
            history = read(address, f"{lock_path(lock)}/history?limit=50")["items"]
            past = [[r["revision"], r["claim_id"], r["identity"]] for r in history]
            eventually(why()["state"], lambda: shown.text("#lock-state"))
            eventually(holders, lambda: [[row[0], row[1], row[4]] for row in shown.cells("#lock-holders")])
            eventually(queue, lambda: [[*row[:3], row[6]] for row in shown.cells("#lock-queue")])
            eventually(past, lambda: [[row[0], row[2], row[3]] for row in shown.cells("#lock-history")])
            assert queue() and past, f"{lock} has no queue or no history"
        shown.choose(NIGHTLY)
        # What an app says is text.
        eventually(True, lambda: "“<i>2026</i>” host=batch-7" in shown.text("#lock-holders"))


@check
def a_lock_is_part_of_the_address(world):
    with view(world.browser, world.one) as shown:
        shown.choose(ODD)
        address = shown.page.url
        shown.page.locator("#waits-graph a", has_text=NIGHTLY).click()
        eventually(f"Lock {NIGHTLY}", lambda: shown.text("#lock-title"))
        shown.page.go_back()
        eventually(f"Lock {ODD}", lambda: shown.text("#lock-title"))
    with view(world.browser, world.one, fragment=address[address.index("#"):]) as shown:
        eventually(f"Lock {ODD}", lambda: shown.text("#lock-title"))


@check
def the_search_suggests_names(world):
    for _, shown in for_each_face(world):
        shown.page.locator("#name").fill("ledger/")
        eventually(
            ["ledger/eu", "ledger/us"],
            lambda: shown.page.eval_on_selector_all("#names option", "(all) => all.map((one) => one.value)"),
        )


@check
def the_keyboard_alone_is_enough(world):
    for _, shown in for_each_face(world):
        focused = lambda: shown.page.evaluate("document.activeElement.id || document.activeElement.className")
        press = shown.page.keyboard.press

        def tab_to(goal):
            for _ in range(60):
                press("Tab")
                if focused() == goal:
                    outline = shown.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                    assert outline != "none", f"the focus on {goal} cannot be seen"
                    return
            raise AssertionError(f"Tab does not lead to {goal}")

        press("Tab")
        assert focused() == "skip", focused()
        tab_to("name")
        shown.page.keyboard.type(NIGHTLY)
        press("Enter")
        eventually("lock-title", focused)
        tab_to("lock-break")
        press("Enter")
        eventually("break-reason", focused)
        tab_to("break-force")
        press("Space")
        assert shown.page.locator("#break-warning").is_visible(), "force is not warned of"
        press("Escape")
        eventually("lock-break", focused)
        press("Enter")
        tab_to("cancel")
        press("Enter")
        eventually(False, shown.page.locator("#break-dialog").is_visible)
        tab_to("lock-close")
        press("Enter")
        eventually(False, shown.page.locator("#lock").is_visible)
        # A row in a table that is renewed each second keeps the focus.
        shown.page.locator("#waits-table").evaluate("(node) => { node.closest('details').open = true; }")
        shown.page.locator("#waits-table a").first.focus()
        time.sleep(2.5)
        eventually("lock", focused)


@check
def where_a_break_is_not_allowed_it_says_so(world):
    before = read(world.two, f"{lock_path(NIGHTLY)}/why")["holders"]
    with view(world.browser, world.two) as shown:
        break_lock(shown, NIGHTLY)
        eventually(True, shown.page.locator("#break-dialog .refusal").is_visible)
        status, problem = call(world.two, "POST", f"{lock_path(NIGHTLY)}/break", {"reason": "test", "force": False})
        assert status == 403, status
        assert shown.text("#break-dialog .refusal") == f"{problem['title']}: {problem['detail']}"
    after = read(world.two, f"{lock_path(NIGHTLY)}/why")["holders"]
    assert [h["token"] for h in before] == [h["token"] for h in after], "the lock was broken"


@check
def a_follower_leads_to_the_leader(world):
    with view(world.browser, world.follower) as shown:
        shown.choose(NIGHTLY)
        shown.page.locator("#lock-break").click()
        link = shown.page.locator("#break-dialog .refusal a")
        eventually(f"http://{world.leader}/ui#lock=jobs%2Fnightly", lambda: link.get_attribute("href"))
        assert shown.page.locator("#break-dialog [type=submit]").is_disabled(), "it would ask the follower"


@check
def a_break_passes_the_lock_on(world):
    for address in (world.leader, world.one):
        with view(world.browser, address) as shown:
            holder = read(address, f"{lock_path(NIGHTLY)}/why")["holders"][0]["claim_id"]
            break_lock(shown, NIGHTLY)
            eventually(False, shown.page.locator("#break-dialog").is_visible)
            assert shown.text("#lock-outcome").split(":")[0] in ("asked", "freed"), shown.text("#lock-outcome")
            eventually(True, lambda: shown.cells("#lock-holders")[0][0] != holder)
            told = read(address, f"{lock_path(NIGHTLY)}/history?limit=50")["items"]
            note = next(record["note"] for record in told if record["event"] == "break-asked")
            assert "tried by the page" in note, note
            events = lambda: [(row[1], row[8]) for row in shown.cells("#lock-history")]
            eventually(True, lambda: ("break-asked", note) in events())


def break_lock(shown, lock):
    shown.choose(lock)
    shown.page.locator("#lock-break").click()
    shown.page.locator("#break-reason").fill("tried by the page")
    shown.page.locator("#break-dialog [type=submit]").click()


@check
def it_can_be_read_in_light_and_dark(world):
    grounds = set()
    for scheme in ("light", "dark"):
        with view(world.browser, world.one, color_scheme=scheme) as shown:
            shown.choose(NIGHTLY)
            for selector in ("body", "#face", "#search label", "main a.lock", "#mode", "#lock-break", "caption", "th"):
                ratio = shown.page.locator(selector).first.evaluate(CONTRAST)
                assert ratio >= 4.5, f"{selector} in {scheme}: contrast {ratio:.1f}"
            grounds.add(shown.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2, "light and dark look the same"


# Of a text and what is behind it, after WCAG.
CONTRAST = """(node) => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3)
    .map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  let behind = node;
  while (parts(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [dark, bright] = [node, behind]
    .map((one, place) => light(getComputedStyle(one)[place === 0 ? 'color' : 'backgroundColor']))
    .sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}"""


@check
def it_fits_a_phone_and_a_wide_screen(world):
    for width in (360, 768, 1440, 2560):
        with view(world.browser, world.one) as shown:
            shown.page.set_viewport_size({"width": width, "height": 800})
            shown.choose(ODD)
            over = shown.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"{over} px too wide for {width}"


@check
def a_pause_holds_everything_still(world):
    with view(world.browser, world.one) as shown:
        shown.page.locator("#pause").click()
        eventually("paused", lambda: shown.text("#live"))
        before = shown.text("#cell")
        time.sleep(2.5)
        assert shown.text("#cell") == before, "it moves on"
        shown.page.locator("#pause").click()
        eventually(True, lambda: shown.text("#cell") != before)


@check
def a_lost_quorum_is_told(world):
    def badge():
        mode = read(world.one, "/v1/mode")
        return f"{mode['mode']} ({mode['reason']})" if "reason" in mode else mode["mode"]

    others = [core for node, core in world.cell.cores.items() if world.cell.core_http[node] != world.follower]
    with view(world.browser, world.one) as shown:
        try:
            for core in others:
                core.signal(signal.SIGSTOP)
            demo.wait_for("read-only", lambda: badge().startswith("read-only"))
            eventually(badge, lambda: shown.text("#mode"))
        finally:
            for core in others:
                core.signal(signal.SIGCONT)
        demo.wait_for("a quorum", lambda: badge() == "normal")
        eventually("normal", lambda: shown.text("#mode"))


@check
def a_broken_stream_is_told_and_taken_up_again(world):
    sidecar = world.cell.sidecars[1]
    with view(world.browser, world.two, cut_off=True) as shown:
        sidecar.kill()
        eventually("disconnected", lambda: shown.text("#live"))
        eventually(True, shown.page.locator("#banner-text").is_visible)
        eventually(True, lambda: "old" in shown.text("#banner-age"))
        sidecar.start()
        demo.wait_for("the sidecar", lambda: demo.get(world.two, "/v1/mode"))
        eventually("live", lambda: shown.text("#live"))
        eventually(False, shown.page.locator("#banner-text").is_visible)


@check
def a_drain_is_asked_for_twice(world):
    with view(world.browser, world.leader) as shown:
        assert not shown.page.locator("#drain").is_visible(), "a core has no drain"
    with view(world.browser, world.one, cut_off=True) as shown:
        shown.page.locator("#drain").click()
        shown.page.locator("#drain-dialog .cancel").click()
        assert read(world.one, "/v1/mode").get("reason") != "draining", "it drains though cancelled"
        shown.page.locator("#drain").click()
        shown.page.locator("#drain-dialog [type=submit]").click()
        eventually(True, lambda: shown.text("#banner-text").startswith("Draining:"))
        mode = demo.get(world.one, "/v1/mode")
        assert mode is None or mode["reason"] == "draining", mode
