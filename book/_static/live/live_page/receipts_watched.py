"""Receipts take seconds here: the page says how far they are."""

import time
from importlib import import_module

from live_page.tell import tell


class Progress:
    """Tells the page what a check is doing, some times a second."""

    def __init__(self):
        self.last = 0.0

    def __call__(self, text):
        if time.monotonic() - self.last > 0.1:
            self.last = time.monotonic()
            tell("doing", text=text)


SEARCH, MORE = 40, 1.5  # seconds for the change that mends a refused equation, and for others like it


def watch_receipts():
    """Count wrong versions as they are refused; look longer for the slip than a build needs to."""
    check, receipt = import_module("receipts.check"), import_module("receipts.receipt")
    if hasattr(check, "watched"):
        return
    check.watched, say = True, Progress()
    tried, mended_by = receipt.Receipt.tried, check.Statement._mended_by

    def counted(self, *arguments):
        tried(self, *arguments)
        say(f"{self.label or 'The check'}: {self.refused} wrong versions refused so far")

    def likely(trial):
        """Likely slips come first, and those of a small term before those of a large one."""
        version = trial[2]
        slips = [*check.LIKELY, version.action]
        return slips.index(version.action), len(version.latex)

    def patient(self, trials, deadline):
        refused = f"✗ {self.label or 'The equation'} is refused. Looking for the slip"
        tell("doing", text=f"{refused} …")
        found, end = [], time.perf_counter() + SEARCH
        for number, trial in enumerate(sorted(trials, key=likely)):
            if time.perf_counter() > end:
                break
            say(f"{refused}: {number} of {len(trials)} places tried")
            if one := mended_by(self, [trial], time.perf_counter() + 1):
                found += one
                end = min(end, time.perf_counter() + MORE)
        return found

    receipt.Receipt.tried, check.Statement._mended_by = counted, patient
