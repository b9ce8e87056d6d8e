"""The sheets: two ways to each right answer agree, and each named mistake is told from it."""

import numpy as np
import pytest
from teaching import notebooks, sandbox
from teaching.keys import Choice, Formula, Function, Prediction, flat
from teaching.sheets import NAMES, Given, Question, assignment, seed_of

SEEDS = [seed_of("a secret", "any", str(n)) for n in range(3)]


def run(sheet):
    """Run a sheet's cells as a student's, with its solutions."""
    cells = []
    for part in sheet.parts:
        if isinstance(part, Given):
            cells.append(part.source)
        elif isinstance(part, Question):
            cells.append(part.solution)
    calls = {q.name: q.key.inputs for q in sheet.questions if isinstance(q.key, Function)}
    return sandbox.run(cells, [q.name for q in sheet.questions], calls)


def verdicts(sheet, outcome):
    found = {}
    for q in sheet.questions:
        more = {"results": outcome.calls.get(q.name)} if isinstance(q.key, Function) else {}
        found[q.name] = q.key.judge(outcome.values.get(q.name), q.name, **more)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_earns_full_points(name):
    """It is computed in the notebook by other means than the key: adjoint against closed form."""
    sheet = assignment(name).sheet(SEEDS[0])
    outcome = run(sheet)
    assert not outcome.errors and outcome.finished, outcome
    assert {n: v.message for n, v in verdicts(sheet, outcome).items() if not v.right} == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_mistake_is_named_and_none_is_right(name):
    """Each wrong version, handed in by somebody, comes back with its own sentence."""
    for seed in SEEDS[:2]:
        for q in assignment(name).sheet(seed).questions:
            for slip, wrong in q.key.mistakes.items():
                if isinstance(q.key, Choice):
                    claim, more = {"kind": "text", "text": slip}, {}
                    slip = wrong
                elif isinstance(q.key, Function):
                    claim = {"kind": "function"}
                    rows = [r.tolist() for r in q.key.table(wrong)]
                    more = {"results": [{"kind": "numbers", "shape": [len(r)], "values": r} for r in rows]}
                elif isinstance(q.key, Formula):
                    continue  # below, as text
                else:
                    claim, more = {"kind": "numbers", "values": np.ravel(wrong).astype(float).tolist()}, {}
                verdict = q.key.judge(claim, q.name, **more)
                assert not verdict.right
                named = (
                    [s for s in q.key.mistakes if s in verdict.message]
                    if not isinstance(q.key, Choice)
                    else [slip]
                )
                assert named, (name, q.name, slip, verdict)


@pytest.mark.parametrize("name", NAMES)
def test_sheets_differ_and_stay(name):
    about = assignment(name)
    first, second = (about.sheet(s) for s in SEEDS[:2])
    given = [
        [p.source for p in s.parts if isinstance(p, Given)] for s in (first, second, about.sheet(SEEDS[0]))
    ]
    assert given[0] != given[1]
    assert given[0] == given[2]


@pytest.mark.parametrize("name", NAMES)
def test_another_sheets_answer_earns_nothing(name):
    """Letters and whole numbers may be the same; all others are refused, and as somebody else's."""
    first, second = (assignment(name).sheet(s) for s in SEEDS[:2])
    for mine, other in zip(first.questions, second.questions, strict=True):
        if isinstance(mine.key, Choice) or not getattr(mine.key, "personal", True):
            continue
        more, claim = {}, None
        if isinstance(mine.key, Function):
            claim = {"kind": "function"}
            if [a for a in mine.key.inputs] != [a for a in other.key.inputs]:
                continue
            rows = mine.key.table(other.key.right)
            more = {"results": [{"kind": "numbers", "values": r.tolist()} for r in rows]}
        elif isinstance(mine.key, Formula):
            continue
        else:
            claim = {"kind": "numbers", "values": flat(other.key.right).tolist()}
        verdict = mine.key.judge(claim, mine.name, [("bob", other.key)], **more)
        assert verdict.state == "other" or isinstance(mine.key, Prediction), (name, mine.name, verdict)
        assert not verdict.right or isinstance(mine.key, Prediction)


@pytest.mark.parametrize("name", NAMES)
def test_sheets_hold_sensible_numbers(name):
    for seed in range(5 if name == "curvature" else 20):
        for q in assignment(name).sheet(seed).questions:
            if hasattr(q.key, "right") and not callable(q.key.right) and not isinstance(q.key, Choice):
                right = flat(q.key.right)
                assert np.isfinite(right).all()
                assert 1e-9 < np.abs(right).max() < 1e3, (name, q.name, right)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_for(name, root):
    about = assignment(name)
    assert (root / f"{about.chapter}.md").is_file()
    assert about.difficulty in {"easy", "medium", "hard"}
    assert 10 <= about.minutes <= 90
    assert about.sheet(1).points == 6
    assert about.misconception.endswith(".") and about.notes


def test_the_planted_bugs_are_all_wrong_and_all_drawn():
    from teaching.assignments import planted_bug as p

    before = p.prelude(2.0, 1.3, 0.15, 10, 5, [0.2, -0.4])
    z, theta = np.array([0.9, -0.3]), np.array([1.2, 0.3, 0.7])
    right = p.compiled(before, p.CODE)(z, theta)
    space = {}
    exec(before, space)
    h = 1e-5
    moved = [
        (space["loss"](*split(x + h * e)) - space["loss"](*split(x - h * e))) / (2 * h)
        for x in [np.concatenate([z, theta])]
        for e in np.eye(5)
    ]
    assert np.allclose(right, moved, rtol=1e-7)
    for bug in p.BUGS:
        assert not np.allclose(p.compiled(before, p.planted(bug))(z, theta), right, rtol=1e-4), bug
    drawn = {
        q.key.right
        for seed in range(30)
        for q in assignment("planted_bug").sheet(seed).questions
        if q.name == "line"
    }
    assert drawn == {b[0] for b in p.BUGS}


def split(x):
    return x[:2], x[2:]


def test_the_orders_that_are_drawn_are_what_they_say():
    from teaching.assignments import order as o

    for order in (1, 2, 3):
        a, b, c = o.scheme(order, np.random.default_rng(order))
        errors = [abs(o.gradient_of(a, b, c, 0.9, n)[0] - o.exact(0.9)[0]) for n in (40, 80, 160)]
        assert abs(np.log2(errors[1] / errors[2]) - order) < 0.25


def test_a_seed_belongs_to_a_name_and_a_secret():
    assert seed_of("a", "order", "ada") == seed_of("a", "order", "ada")
    assert len({seed_of(s, n, who) for s in "ab" for n in NAMES for who in ("ada", "bob")}) == 4 * len(NAMES)


@pytest.mark.parametrize("number", range(7))
def test_the_taylor_test_of_the_sheet_shows_each_planted_bug(number):
    from teaching.assignments import planted_bug as p

    source = p.planted(p.BUGS[number])
    assert len({line.index("# ") for line in source.split("\n") if "# " in line}) == 1  # no letter stands out
    given = [part.source for part in p.draw(np.random.default_rng(number)) if isinstance(part, Given)]
    rates = {}
    for which, code in {"planted": source, "right": p.CODE}.items():
        space = {"print": lambda *_: None}
        exec("\n".join([given[0], code, given[1]]), space)
        rates[which] = np.array([space["taylor"](block) for block in ("z_0", "theta")])
    assert np.allclose(rates["right"], 2, atol=0.02)
    assert (rates["planted"] < 1.6).all(axis=1).any()


def looked_at(capsys, *given, **data):
    """What the cell `look` of every sheet says of an answer."""
    space = {}
    exec(notebooks.LOOK, space)
    space["look"](*given, **data)
    return capsys.readouterr().out.strip()


DATA = dict(a=0.5, t_0=0.0, t_1=2.0)


@pytest.mark.parametrize(
    "formula",
    ["a*exp(2*t)", "a*np.exp(t)**2", "a*E^(2*t)", "sympy"],
)
def test_the_look_at_a_formula_says_what_it_gives_at_both_ends(capsys, formula):
    import sympy

    formula = sympy.Float(0.5) * sympy.exp(2 * sympy.Symbol("t")) if formula == "sympy" else formula
    told = looked_at(capsys, "lam", formula, "formula", **DATA)
    assert told == f"lam: a formula; it gives 0.5 at t_0 and {0.5 * np.exp(4):.6g} at t_1"


@pytest.mark.parametrize(
    "formula", ["t", "exp(", "k*t", "", "t.real", "a*x", "log(t, 2)", "np.pi*t", "sympy.exp(t)", 2.5]
)
def test_the_look_at_a_formula_and_the_grader_refuse_the_same(capsys, formula):
    key = Formula(lambda t: 1.0, {"t": (1.0, 2.0)}, given={n: v for n, v in DATA.items()})
    claim = {"kind": "text", "text": str(formula)}
    refused = key.judge(claim, "lam").state == "form"
    told = looked_at(capsys, "lam", formula, "formula", **DATA)
    assert ("cannot be read" in told) == refused, told


@pytest.mark.parametrize(
    ("answer", "form", "words"),
    [
        (..., "formula", "not answered yet"),
        (None, "formula", "not answered yet"),
        (len, "formula", "a text in quotes or a SymPy expression is needed"),
        ("k*t", "formula", "it holds the name k; it may hold t, a, t_0, t_1 and numbers"),
        ("b", "letter", "a letter"),
        ("line b", "letter", "one letter is asked for, in quotes"),
        (2, "letter", "one letter is asked for, in quotes"),
    ],
)
def test_the_look_says_which_form_is_asked_for(capsys, answer, form, words):
    assert words in looked_at(capsys, "x", answer, form, **DATA if form == "formula" else {})


def test_the_sheet_in_two_times_says_what_its_letter_means_and_a_look_does_not_answer(capsys):
    for seed in SEEDS:
        sheet = assignment("start_time").sheet(seed)
        text = next(p.text for p in sheet.parts if hasattr(p, "text"))
        assert r"\lambda(t_1)=L_z" in text
        question = sheet.questions[0]
        assert question.name == "lam"
        space = {}
        exec(notebooks.LOOK, space)
        exec(next(p.source for p in sheet.parts if isinstance(p, Given)), space)
        for lam in (..., "1"):
            exec(question.form, space | {"lam": lam})
        assert f"{question.key.right(space['t_1']):.3g}" not in capsys.readouterr().out
        exec(question.form, space | {"lam": "z_1 - y"})
        assert f"{space['z_1'] - space['y']:.6g} at t_1" in capsys.readouterr().out


def test_differences_alone_earn_no_more_than_half_of_the_planted_bug():
    points = {q.name: q.points for q in assignment("planted_bug").sheet(SEEDS[0]).questions}
    assert points == {"gradient": 3, "line": 3}
    assert "half of the sheet" in assignment("planted_bug").notes
