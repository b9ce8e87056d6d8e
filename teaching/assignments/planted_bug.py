"""Find the planted bug in a small adjoint solver with a Taylor test, and mend it."""

import re

import numpy as np

from teaching.keys import Choice, Function
from teaching.sheets import Given, Question, Text

ABOUT = dict(
    title="A planted bug",
    chapter="book/practice/trust",
    difficulty="hard",
    minutes=45,
    outcome="test a gradient block by block, and find from the result which line is wrong",
    misconception="A gradient that descends is right.",
    notes=(
        "Seven bugs are drawn from. Ask for the *blocks* first: whether the gradient in $z_0$, in $\\theta$"
        " or both are off already excludes most lines. Line i: $\\theta$ and $z_0$ are off, and both"
        " become right when the end is taken out of the loss and out of line a. The steps of the test are"
        " small since the smallest of these errors is: with steps of 0.02 it passes. Differences of the loss"
        " in place of the adjoint earn the points of `gradient`, too: numbers do not tell how they were"
        " found. That is half of the sheet; the line has the other half."
    ),
)

CODE = '''def gradient(z_0, theta):
    """Heun's method, N steps forwards; then its exact discrete adjoint. Returns five numbers."""
    t, z = h*np.arange(N + 1), [z_0]
    for n in range(N):
        k_1 = f(t[n], z[n], theta)
        k_2 = f(t[n] + h, z[n] + h*k_1, theta)
        z.append(z[n] + h/2*(k_1 + k_2))
    row, theta_bar = z[N] - aim, np.zeros(3)                                     # a
    for n in range(N - 1, -1, -1):
        ahead = z[n] + h*f(t[n], z[n], theta)                                    # b
        row_2 = h/2*row                                                          # c
        row_1 = h/2*row + h*row_2 @ f_z(t[n] + h, ahead, theta)                  # d
        theta_bar += row_2 @ f_theta(t[n] + h, ahead, theta)                     # e
        theta_bar += row_1 @ f_theta(t[n], z[n], theta)                          # f
        row = (row + row_2 @ f_z(t[n] + h, ahead, theta)                         # g
               + row_1 @ f_z(t[n], z[n], theta))                                 # h
        if n == middle:
            row = row + z[n] - aim                                               # i
    return np.concatenate([row, theta_bar])'''

# letter of the line, the right piece, the wrong one, what it is
BUGS = [
    ("d", "h/2*row + h*row_2 @", "h/2*row - h*row_2 @", "the sign in line d: k_2 contains + h k_1"),
    (
        "d",
        "h*row_2 @ f_z(t[n] + h, ahead, theta)  ",
        "h*f_z(t[n] + h, ahead, theta) @ row_2  ",
        "a transpose in line d: the row stands to the left of the Jacobian",
    ),
    (
        "h",
        "row_1 @ f_z(t[n], z[n], theta))",
        "f_z(t[n], z[n], theta) @ row_1)",
        "a transpose in line h: the row stands to the left of the Jacobian",
    ),
    (
        "i",
        "row = row + z[n] - aim",
        "row = z[n] - aim",
        "line i: at an observation the row jumps by l_z; it is not replaced",
    ),
    (
        "e",
        "f_theta(t[n] + h, ahead, theta)",
        "f_theta(t[n], z[n], theta)",
        "line e: the second stage stands at the state ahead, and at t_n + h",
    ),
    (
        "g",
        "(row + row_2 @ f_z(t[n] + h, ahead, theta)",
        "(row + row_2 @ f_z(t[n] + h, z[n + 1], theta)",
        "line g: the second stage stands at the state ahead, not at the end of the step",
    ),
    (
        "f",
        "theta_bar += row_1 @",
        "theta_bar += h/2*row @",
        "line f: the first stage also acts through the second, so its row is row_1",
    ),
]


def prelude(strength, freq, h, steps, middle, aim):
    return f"""import numpy as np

h, N, middle = {h}, {steps}, {middle}            # step, number of steps, index of the observation
aim = np.array({list(aim)})

def f(t, z, theta):
    return np.array([z[1], -theta[0]*np.sin(z[0]) - theta[1]*z[1] + theta[2]*np.cos({freq}*t)])

def f_z(t, z, theta):
    return np.array([[0.0, 1.0], [-theta[0]*np.cos(z[0]), -theta[1]]])

def f_theta(t, z, theta):
    return np.array([[0.0, 0.0, 0.0], [-np.sin(z[0]), -z[1], np.cos({freq}*t)]])

def loss(z_0, theta):
    z, total = z_0, 0.0
    for n in range(N):
        if n == middle:
            total += 0.5*np.sum((z - aim)**2)
        k_1 = f(n*h, z, theta)
        k_2 = f(n*h + h, z + h*k_1, theta)
        z = z + h/2*(k_1 + k_2)
    return total + 0.5*np.sum((z - aim)**2)

z_0, theta = np.array([0.9, -0.3]), np.array([{strength}, 0.3, 0.7])"""


def planted(bug):
    _, right, wrong, _ = bug
    assert CODE.count(right) == 1, right
    return "\n".join(map(aligned, CODE.replace(right, wrong).split("\n")))


def aligned(line):
    """The line with its letter in the column of all letters: a shifted one would tell which is wrong."""
    found = re.fullmatch(r"(.*?) +# ([a-i])", line)
    return f"{found[1]:<81}# {found[2]}" if found else line


def compiled(before, source):
    space = {}
    exec(before + "\n" + source, space)
    return space["gradient"]


def draw(rng):
    freq, strength = float(np.round(rng.uniform(0.8, 2.0), 2)), float(np.round(rng.uniform(1.5, 2.5), 2))
    aim = np.round(rng.uniform(-0.6, 0.6, 2), 2).tolist()
    steps, h = int(rng.integers(9, 14)), 0.15
    middle = int(steps // 2)
    before = prelude(strength, freq, h, steps, middle, aim)
    bug = BUGS[rng.integers(len(BUGS))]
    test = np.random.default_rng(3)
    inputs = [
        [np.round(test.uniform(-1, 1, 2), 2).tolist(), np.round(test.uniform(0.4, 2, 3), 2).tolist()]
        for _ in range(4)
    ]
    mistakes = {"this is the function as it was given, with its bug": compiled(before, planted(bug))}
    mistakes |= {f"another bug has come in: {b[3]}": compiled(before, planted(b)) for b in BUGS if b != bug}
    mistakes["the observation in the middle has gone altogether"] = compiled(
        before, CODE.replace("row = row + z[n] - aim", "row = row + 0*z[n] - 0*aim")
    )
    mistakes["this is minus the gradient"] = lambda z, p: -compiled(before, CODE)(z, p)
    key = Function(compiled(before, CODE), inputs, mistakes, rtol=1e-6)
    taylor = '''def taylor(block, steps=(4e-5, 2e-5, 1e-5)):
    """Rates of |L(x + s d) - L(x) - s g d|: 2 for a right gradient, 1 for a wrong one."""
    direction = np.array([1.0, -0.7, 0.4, 0.8, -0.5])
    direction[slice(2, None) if block == "z_0" else slice(2)] = 0
    slope = gradient(z_0, theta) @ direction
    left = [abs(loss(z_0 + s*direction[:2], theta + s*direction[2:]) - loss(z_0, theta) - s*slope)
            for s in steps]
    return np.log2(np.array(left[:-1])/left[1:]).round(2)

print("z_0  ", taylor("z_0"))
print("theta", taylor("theta"))'''
    letters = {b[0] for b in BUGS} - {bug[0]}
    elsewhere = {x: "that line is right as it stands; look which block is off" for x in letters | set("abc")}
    return [
        Text(
            "A pendulum with friction and a force is solved by Heun's method. The loss looks at an"
            " observation in the middle and at the end. `gradient` returns $(\\mathrm dL/\\mathrm"
            " dz_0,\\mathrm dL/\\mathrm d\\theta)$ by the exact discrete adjoint, or should: **one** of the"
            " lines a to i is wrong."
        ),
        Given(before),
        Question(
            "gradient",
            3,
            "Mend the function where it stands.",
            key,
            CODE,
            stub=planted(bug),
            form="look('gradient', gradient, 'function')",
        ),
        Text("A Taylor test, in two blocks. A right gradient has the rate 2 in both."),
        Given(taylor),
        Question(
            "line",
            3,
            "Which line was wrong? Its letter, in quotes.",
            Choice(bug[0], elsewhere),
            f"line = {bug[0]!r}",
            form="look('line', line, 'letter')",
        ),
    ]
