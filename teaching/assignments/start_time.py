"""The gradient in the two times of a path that is known in closed form."""

import numpy as np

from teaching.keys import Formula, Numbers
from teaching.sheets import Given, Question, Text

ABOUT = dict(
    title="Start later, stop later",
    chapter="book/adjoint-equation/time-gradients",
    difficulty="medium",
    minutes=30,
    outcome="differentiate a loss with respect to the start and the end of the path, with the right signs",
    misconception="The gradient in the start time has the sign of the one in the end time.",
    notes=(
        "All four numbers can be had from a formula for $L$, too: welcome, as a test. Ask who "
        "did it with $\\lambda$ and who with the closed form, and why both agree."
    ),
)


def draw(rng):
    a, b, z0 = (float(np.round(rng.uniform(*r), 2)) for r in [(0.2, 0.6), (0.3, 0.8), (0.6, 1.4)])
    t0, t1, y = (float(np.round(rng.uniform(*r), 2)) for r in [(0.2, 0.6), (1.3, 1.8), (3.5, 5.0)])

    def grown(s, t):
        return np.exp(a * (t - s) + b * (t**2 - s**2) / 2)

    z1 = z0 * grown(t0, t1)
    rate0, rate1, product = a + b * t0, a + b * t1, (z1 - y) * z1
    clock = product * b * (t1 - t0)
    lam = Formula(
        lambda t: (z1 - y) * grown(t, t1),
        {"t": (t0, t1)},
        {
            "this is the state's way to grow; a row shrinks where the state grows, and ends in L_z": (
                lambda t: (z1 - y) / grown(t, t1)
            ),
            "lambda ends in z(t1) - y, the state minus the aim": lambda t: (y - z1) * grown(t, t1),
            "this starts in L_z; it should end there": lambda t: (z1 - y) / grown(t0, t),
            "the rate of the field depends on time: integrate b t, too": (
                lambda t: (z1 - y) * np.exp(a * (t1 - t))
            ),
        },
        given={"a": a, "b": b, "z_0": z0, "t_0": t0, "t_1": t1, "y": y, "z_1": z1},
    )
    dt1 = product * rate1
    dt0 = -product * rate0
    return [
        Text(
            "The state moves by $\\dot z=(a+bt)\\,z$ from $z(t_0)=z_0$; the loss is"
            " $L=\\tfrac12(z(t_1)-y)^2$. Both times may move, $z_0$ is given. Signs as in the book:"
            " $\\lambda$ is the row with $\\lambda(t_1)=L_z$, so that $\\lambda(t)=+\\mathrm dL/\\mathrm"
            " dz(t)$."
        ),
        Given(
            f"import numpy as np\n\na, b, z_0 = {a}, {b}, {z0}\nt_0, t_1, y = {t0}, {t1}, {y}\n"
            "z_1 = z_0*np.exp(a*(t_1 - t_0) + b*(t_1**2 - t_0**2)/2)     # z(t_1)"
        ),
        Question(
            "lam",
            2,
            "$\\lambda(t)$ as a formula of `t`, with numbers or the names of the data: a text such as "
            '`"y*exp(0.3*t**2)"`, or a SymPy expression. The line below it says what your formula gives at'
            " the two ends: hold that against what you know of $\\lambda$ there.",
            lam,
            "import sympy\nt = sympy.Symbol('t')\n"
            "lam = (z_1 - y)*sympy.exp(a*(t_1 - t) + b*(t_1**2 - t**2)/2)",
            form="look('lam', lam, 'formula', a=a, b=b, z_0=z_0, t_0=t_0, t_1=t_1, y=y, z_1=z_1)",
        ),
        Question(
            "dL_dt1",
            1,
            "$\\mathrm dL/\\mathrm dt_1$.",
            Numbers(
                dt1,
                {
                    "f at the end has the clock's t_1": product * rate0,
                    "this is L_z f with the state at the start": (z1 - y) * z0 * rate1,
                },
            ),
            "dL_dt1 = (z_1 - y)*(a + b*t_1)*z_1",
            form="look('dL_dt1', dL_dt1, 1)",
        ),
        Question(
            "dL_dt0",
            2,
            "$\\mathrm dL/\\mathrm dt_0$.",
            Numbers(
                dt0,
                {
                    "the sign: a later start is behind, so dL/dt0 is minus lambda f": -dt0,
                    "this is (52) of the neural ODE paper as it reads; it begins with plus dL/dt1": (
                        dt1 + clock
                    ),
                    "zero is right for a start that slides along the path; here z_0 stays where it is": 0.0,
                    "this is dL/dt1 with its sign turned; f has the clock in it": -dt1,
                    "this is the integral of lambda f_t, a shift of the whole clock": clock,
                },
            ),
            "dL_dt0 = -(z_1 - y)*(a + b*t_0)*z_1          # lambda z is constant",
            form="look('dL_dt0', dL_dt0, 1)",
        ),
        Question(
            "both",
            1,
            "The derivative when both times move together, by the same amount.",
            Numbers(
                clock,
                {
                    "zero would be right for a field without explicit time": 0.0,
                    "this is dL/dt1 - dL/dt0: a difference, or a sum with a wrong sign": dt1 - dt0,
                },
            ),
            "both = dL_dt0 + dL_dt1",
            form="look('both', both, 1)",
        ),
    ]
