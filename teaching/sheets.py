"""What an assignment is made of: its sheet is a function of a seed."""

import hashlib
import hmac
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np

# In the order of the book.
NAMES = ["static_solve", "layer_pull", "euler_by_hand", "start_time", "fit_a_rate", "planted_bug",
         "partner", "order", "curvature"]  # fmt: skip

EVERYONE = "everyone"  # one sheet for all: a class without a list


@dataclass(frozen=True)
class Text:
    """A Markdown cell."""

    text: str


@dataclass(frozen=True)
class Given:
    """A code cell that is given, and locked."""

    source: str


@dataclass(frozen=True)
class Question:
    """An answer to be filled in: ``name`` is what the cell must define."""

    name: str
    points: int
    asks: str
    key: object
    solution: str
    stub: str = ""
    form: str = ""  # a line of code that looks at the answer's form

    def blank(self):
        return self.stub or f"{self.name} = ..."


@dataclass(frozen=True)
class Sheet:
    """The assignment for one seed."""

    parts: list

    @property
    def questions(self):
        return [part for part in self.parts if isinstance(part, Question)]

    @property
    def points(self):
        return sum(question.points for question in self.questions)


@dataclass(frozen=True)
class Assignment:
    """What is the same for everyone; ``draw(rng)`` gives the parts for one student."""

    name: str
    title: str
    chapter: str
    difficulty: str
    minutes: int
    outcome: str
    misconception: str
    notes: str
    draw: object = field(repr=False)

    def sheet(self, seed):
        """The sheet of a seed. Data in which a wrong answer would pass are drawn again."""
        for attempt in range(200):
            sheet = Sheet(self.draw(np.random.default_rng([seed, attempt])))
            if all(visible for q in sheet.questions for _, visible in q.key.wrong_versions()):
                return sheet
        raise RuntimeError(f"{self.name}: no draw for seed {seed} shows every mistake")


def assignment(name):
    """The assignment of that name.

    Raises
    ------
    ValueError
        When there is none.
    """
    if name not in NAMES:
        raise ValueError(f"there is no assignment {name!r}; there are {', '.join(NAMES)}")
    module = import_module(f"teaching.assignments.{name}")
    return Assignment(name=name, draw=module.draw, **module.ABOUT)


def seed_of(secret, name, student):
    """A seed that only who holds the secret of the class can tell, and that stays the same."""
    text = f"{name}\0{student}".encode()
    return int.from_bytes(hmac.new(secret.encode(), text, hashlib.sha256).digest()[:6], "big")


def literal(value):
    """Numbers as Python source that reads back exactly."""
    if isinstance(value, np.ndarray):
        return f"np.array({value.tolist()})"
    return repr(float(value) if isinstance(value, (float, np.floating)) else value)


def draw_matrix(rng, shape, low=0.3, high=1.5):
    """Entries of two decimals, none near zero, of either sign."""
    size = rng.uniform(low, high, shape)
    return np.round(size * rng.choice([-1, 1], shape), 2)
