"""Counts named checks and prints those that fail."""


class Report:
    """Every check has a name; two of one name would hide each other."""

    def __init__(self):
        self.passed, self.failed, self.ignored, self.names, self.prefix = 0, 0, 0, set(), ""

    def part(self, name):
        self.prefix = name
        print(f"-- {name}", flush=True)

    def ok(self, name, holds, detail=""):
        """Notes a check; gives whether it holds."""
        name = f"{self.prefix}: {name}"
        if name in self.names:
            holds, detail = False, "a second check of this name"
        self.names.add(name)
        if holds:
            self.passed += 1
            print(f"ok      {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {name}" + (f"\n        {detail}" if detail else ""), flush=True)
        return bool(holds)

    def ignore(self, name, why):
        """Notes what could not be checked."""
        self.ignored += 1
        print(f"ignored {self.prefix}: {name}: {why}", flush=True)

    def finish(self):
        """Prints the sum; the exit code."""
        print(f"{self.passed} passed, {self.failed} failed, {self.ignored} ignored")
        return 1 if self.failed or not self.passed else 0
