"""Measure the order of the gradient that a scheme gives."""

import numpy as np

from teaching.keys import Numbers
from teaching.sheets import Given, Question, Text, literal

ABOUT = dict(
    title="Of which order is this gradient?",
    chapter="book/rigour/discrete-adjoint",
    difficulty="medium",
    minutes=35,
    outcome="measure the order of a gradient, and say what a rate does and does not show",
    misconception="The order is the ratio of two errors.",
    notes=(
        "The scheme's order is 1, 2 or 3, and it does not show from the number of stages: each has three."
        " The gradient has the order of the scheme: discuss why (it is the exact gradient of something of"
        " that order)."
    ),
)


def scheme(order, rng):
    """Three stages of order 1, 2 or 3 exactly: sum b = 1, b c = 1/2; b c^2 = 1/3 and b a c = 1/6."""
    c2, c3 = np.round(rng.uniform(0.3, 0.5), 2), np.round(rng.uniform(0.7, 0.9), 2)
    matrix = np.array([[1, 1, 1], [0, c2, c3], [0, c2**2, c3**2]])
    moments = {3: [1, 1 / 2, 1 / 3], 2: [1, 1 / 2, 0.45], 1: [1, 0.3, 0.2]}[order]
    b = np.linalg.solve(matrix, moments)
    a32 = 1 / (6 * b[2] * c2) if order == 3 else 0.4
    a = np.array([[0, 0, 0], [c2, 0, 0], [c3 - a32, a32, 0]])
    return a, b, np.array([0.0, c2, c3])


def gradient_of(a, b, c, theta, steps, z0=0.8, end=2.0):
    """dL/dtheta of L = z(2)^2 / 2 for z' = theta sin(z) + cos(t) / 2: forward mode, step by step."""
    h, z, v = end / steps, z0, 0.0
    for n in range(steps):
        k, dk = [], []
        for i in range(3):
            x = z + h * sum(a[i, j] * k[j] for j in range(i))
            dx = v + h * sum(a[i, j] * dk[j] for j in range(i))
            k.append(theta * np.sin(x) + np.cos(n * h + c[i] * h) / 2)
            dk.append(np.sin(x) + theta * np.cos(x) * dx)
        z, v = z + h * sum(b * k), v + h * sum(b * dk)
    return z * v, z**2 / 2


def exact(theta):
    from adjode import dopri5

    tableau = dopri5()
    a, b, c = np.asarray(tableau.a), np.asarray(tableau.b), np.asarray(tableau.c)
    h_steps, z, v = 400, 0.8, 0.0
    h = 2.0 / h_steps
    for n in range(h_steps):
        k, dk = np.zeros(len(b)), np.zeros(len(b))
        for i in range(len(b)):
            x, dx = z + h * a[i] @ k, v + h * a[i] @ dk
            k[i] = theta * np.sin(x) + np.cos(n * h + c[i] * h) / 2
            dk[i] = np.sin(x) + theta * np.cos(x) * dx
        z, v = z + h * b @ k, v + h * b @ dk
    return z * v, z**2 / 2


def draw(rng):
    order = int(rng.integers(1, 4))
    a, b, c = scheme(order, rng)
    theta = float(np.round(rng.uniform(0.6, 1.2), 2))
    truth, best = exact(theta)
    found = [gradient_of(a, b, c, theta, n) for n in (20, 40, 80)]
    errors = np.array([abs(g - truth) for g, _ in found])
    losses = np.array([abs(value - best) for _, value in found])
    given = (
        "import autograd.numpy as anp\nimport numpy as np\nfrom autograd import grad\n\nimport adjode\n\n"
        f"a = {literal(a)}\nb = {literal(b)}\nc = {literal(c)}\ntheta = {theta}\n\n"
        "def field(t, z, theta):\n    return theta*anp.sin(z) + anp.cos(t)/2\n\n"
        "z_0, t_1 = 0.8, 2.0               # from t = 0; the loss is z(t_1)**2/2"
    )
    solution = (
        "def loss(theta, steps):\n    h, z = t_1/steps, z_0\n    for n in range(steps):\n        k = []\n  "
        "      for i in range(3):\n            k.append(field((n + c[i])*h, z + h*sum(a[i, j]*k[j] for j in"
        " range(i)), theta))\n        z = z + h*sum(b[i]*k[i] for i in range(3))\n    return z**2/2\n\ndef"
        " exactly(theta):\n    z = adjode.odeint(field, np.array([z_0]), np.array([0.0, t_1]), theta,"
        " rtol=1e-12, atol=1e-14)\n    return z[-1, 0]**2/2\n\ntruth = grad(exactly)(theta)\nerrors ="
        " np.array([abs(grad(loss)(theta, steps) - truth) for steps in (20, 40, 80)])"
    )
    last = float(errors[1] / errors[2])
    return [
        Text(
            "A scheme of three stages is used to solve $\\dot z=\\theta\\sin z+\\tfrac12\\cos t$,"
            " $z(0)=0.8$, up to $t_1=2$, for the loss $L=\\tfrac12z(t_1)^2$. Of which order is its"
            " gradient?"
        ),
        Given(given),
        Question(
            "errors",
            3,
            "The absolute error of the *discrete* gradient $\\mathrm dL/\\mathrm d\\theta$ (that of the"
            " steps) with 20, 40 and 80 equal steps, three numbers. The exact gradient of the equation:"
            " from a solve that is much finer, right to ten digits (`adjode.odeint` with `rtol=1e-12`).",
            Numbers(
                errors,
                {
                    "these are the errors of the loss; the gradient's are asked for": losses,
                    "these are relative errors": errors / abs(truth),
                    "these are the gradients; subtract the exact one": np.array([g for g, _ in found]),
                },
                rtol=1e-2,
            ),
            solution,
            form="look('errors', errors, 3)",
        ),
        Question(
            "order",
            2,
            "The order: the whole number nearest to what you measured.",
            Numbers(
                order,
                {
                    "this is the ratio of two errors; the order is its logarithm to the base 2": last,
                    "this is the ratio of two errors, rounded; take its logarithm to the base 2": round(last),
                    "this is what you measured; the whole number nearest to it is asked for": np.log2(last),
                    **(
                        {"a scheme of order four needs four stages": 4.0}
                        if order == 3
                        else {"three stages do not make order three": 3.0}
                    ),
                },
                personal=False,
            ),
            "order = round(float(np.log2(errors[1]/errors[2])))",
            form="look('order', order, 1)",
        ),
        Question(
            "wrong_by",
            1,
            "Somebody's gradient is wrong by one part in a thousand, at every step size. At which number of"
            " steps does your scheme's own error fall below that (relative to the exact gradient)? Use the"
            " error at 80 steps and the order; give the number as it comes out, not rounded.",
            Numbers(
                80 * (errors[2] / abs(truth) / 1e-3) ** (1 / order),
                {"the error is relative to the gradient's size": 80 * (errors[2] / 1e-3) ** (1 / order)},
                rtol=2e-2,
            ),
            "wrong_by = 80*(errors[2]/abs(truth)/1e-3)**(1/order)",
            form="look('wrong_by', wrong_by, 1)",
        ),
    ]
