"""What goes to the page: one message after another, as JSON; and what a cell prints."""

import io
import json
import time

MOST_CHARACTERS, MOST_LINES = 60_000, 1_000  # printed by one cell; a page is no place for more
CALM = 50  # messages a second; beyond that, what is printed is gathered


class Page:
    """The page; ``worker.js`` says how it is reached."""

    send = None


def tell(kind, **content):
    Page.send(json.dumps({"kind": kind, **content}))


class Stream(io.TextIOBase):
    """What a cell prints, sent as it comes; a flood is gathered, and cut."""

    def __init__(self, name):
        self.name = name
        self.fresh()

    def fresh(self):
        self.kept, self.characters, self.lines, self.began, self.sent = [], 0, 0, time.monotonic(), 0

    def writable(self):
        return True

    def write(self, text):
        self.characters += len(text)
        self.lines += text.count("\n")
        if self.characters - len(text) > MOST_CHARACTERS or self.lines - text.count("\n") > MOST_LINES:
            return len(text)
        self.kept.append(text[:MOST_CHARACTERS])
        now = time.monotonic()
        if now - self.began > 1:
            self.began, self.sent = now, 0
        if self.sent < CALM:
            self.pass_on()
        return len(text)

    def pass_on(self):
        if self.kept:
            tell("text", text="".join(self.kept), stream=self.name)
            self.kept, self.sent = [], self.sent + 1

    def end(self):
        self.pass_on()
        if self.characters > MOST_CHARACTERS or self.lines > MOST_LINES:
            tell(
                "note",
                text=f"The page shows the first {MOST_LINES:,} lines or {MOST_CHARACTERS:,} characters "
                f"of {self.lines:,} lines and {self.characters:,} characters.",
            )
        self.fresh()


out, err = Stream("out"), Stream("err")
