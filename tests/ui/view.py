"""A browser on the page, which notes whatever it must not do, and reads what it shows."""

import contextlib
import os
import re
import time

PATIENCE = 20.0  # seconds until the page must show what the API says

# A refusal that a check has asked for; Chromium reports it as an error.
EXPECTED_ERROR = re.compile(r"Failed to load resource: .*403 \(Forbidden\)")

NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener('securitypolicyviolation',
  (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""

READ_ROWS = """
(table) => [...table.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => {
  const data = cell.querySelector('data');
  const id = cell.querySelector('[data-id]');
  return data ? Number(data.value) : id ? id.dataset.id : cell.textContent;
}))
"""


@contextlib.contextmanager
def chromium(playwright):
    """Debian's, headless."""
    # Its sandbox refuses to work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=arguments)
    try:
        yield browser
    finally:
        browser.close()


class View:
    """The page of one face, opened anew."""

    def __init__(self, browser, address, fragment="", cut_off=False, **context):
        self.origin = f"http://{address}"
        self.cut_off = cut_off  # whether the check stops what serves the page
        self.context = browser.new_context(viewport={"width": 1440, "height": 1000}, **context)
        self.context.add_init_script(NOTE_VIOLATIONS)
        self.page = self.context.new_page()
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{self.origin}/ui{fragment}")
        eventually("live", lambda: self.text("#live"))

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def cells(self, selector):
        """The rows of a table: numbers where they are exact, ids in full, else the text."""
        return self.page.eval_on_selector(f"{selector} table", READ_ROWS)

    def table(self, panel, caption):
        """The rows of the table with this caption."""
        table = self.page.locator(f"{panel} table", has=self.page.locator("caption", has_text=caption))
        return table.evaluate(READ_ROWS)

    def drawn(self, selector):
        """The edges of a graph as (from, to, kind)."""
        edges = self.page.eval_on_selector_all(
            f"{selector} .edge", "(all) => all.map(({dataset: d}) => [d.from, d.to, d.kind])"
        )
        return sorted(map(tuple, edges))

    def choose(self, lock):
        """Shows a lock, by the search."""
        self.page.locator("#name").fill(lock)
        self.page.locator("#search button").click()
        eventually(f"Lock {lock}", lambda: self.text("#lock-title"))

    def close(self):
        """And judges how the page has behaved."""
        violations = self.page.evaluate("window.violations")
        self.context.close()
        assert not violations, f"against the policy: {violations}"
        away = [url for url in self.requests if not url.startswith((f"{self.origin}/", "data:"))]
        assert not away, f"requests to elsewhere: {away}"
        errors = [error for error in self.errors if not EXPECTED_ERROR.search(error)]
        assert self.cut_off or not errors, f"in the console: {errors}"


@contextlib.contextmanager
def view(*arguments, **keywords):
    opened = View(*arguments, **keywords)
    try:
        yield opened
    except BaseException:
        opened.context.close()
        raise
    opened.close()


def eventually(expected, shown):
    """Waits until `shown()` is `expected`; either may be a function, as what is true moves on."""
    until = time.monotonic() + PATIENCE
    told = expected if callable(expected) else lambda: expected
    before = told()
    while True:
        seen = shown()
        after = told()
        if seen in (before, after):
            return seen
        assert time.monotonic() < until, f"shown is\n  {seen}\nbut it is\n  {after}"
        before = after
        time.sleep(0.1)
