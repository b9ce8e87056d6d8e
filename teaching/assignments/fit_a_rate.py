"""Fit an oscillator to noisy observations, and predict beyond them."""

import numpy as np
from scipy.optimize import least_squares

from teaching.keys import Numbers, Prediction
from teaching.sheets import Given, Question, Text, literal

ABOUT = dict(
    title="Fit and foretell",
    chapter="book/adjoint-equation/training",
    difficulty="hard",
    minutes=50,
    outcome=(
        "write the gradient of a loss at many times and train with it; judge a fit on data it has not seen"
    ),
    misconception="The last observation is enough: the loss is whatever the path ends in.",
    notes=(
        "Any optimizer will do, and any gradient; the points are for the fit. Who starts far from the"
        " data's frequency ends in another minimum: a good moment to talk about where descent starts."
    ),
)

NOISE = 0.03


def path(theta, t, z0):
    """The position of a damped oscillator, in closed form; t of any shape."""
    stiffness, damping = theta
    slow = damping / 2
    fast = np.sqrt(np.maximum(stiffness - slow**2, 1e-9))
    t = np.asarray(t, dtype=float)
    return np.exp(-slow * t) * (z0[0] * np.cos(fast * t) + (z0[1] + slow * z0[0]) / fast * np.sin(fast * t))


def fitted(times, data, z0, start):
    result = least_squares(lambda theta: path(theta, times, z0) - data, start, xtol=1e-12, ftol=1e-12)
    return result.x


def draw(rng):
    theta = np.array([rng.uniform(2.2, 3.6), rng.uniform(0.25, 0.5)])
    z0 = np.round(np.array([rng.uniform(0.8, 1.3), rng.uniform(-0.4, 0.4)]), 2)
    times = np.round(np.linspace(0.4, 4.8, 12), 2)
    data = np.round(path(theta, times, z0) + NOISE * rng.normal(size=12), 3)
    best = fitted(times, data, z0, theta)
    half = fitted(times[:4], data[:4], z0, theta)
    later = np.round(np.linspace(5.2, 7.4, 12), 2).tolist()
    limit = 1.5 * float(np.sqrt(np.mean((path(best, later, z0) - path(theta, later, z0)) ** 2))) + 0.02
    predict = Prediction(
        lambda t: path(theta, t, z0),
        [[later]],
        {
            "this is the mean of the data; beyond them the path goes on swinging": (
                lambda t: 0 * t + data.mean()
            ),
            "this stays where the last observation was": lambda t: 0 * t + data[-1],
            "the damping is missing": lambda t: path([best[0], 0.0], t, z0),
        },
        limit=limit,
    )
    given = (
        "import autograd.numpy as anp\nimport numpy as np\nfrom autograd import value_and_grad\n"
        "from scipy.optimize import minimize\n\nimport adjode\n\n"
        f"z_0 = {literal(z0)}\ntimes = {literal(times)}\ndata = {literal(data)}      # of z_1\n\n"
        "def field(t, z, theta):\n    return anp.array([z[1], -theta[0]*z[0] - theta[1]*z[1]])"
    )
    solution = (
        "def loss(theta):\n"
        "    ts = anp.concatenate([anp.array([0.0]), times])\n"
        "    states = adjode.odeint(field, z_0, ts, theta, rtol=1e-9, atol=1e-11)\n"
        "    return 0.5*anp.sum((states[1:, 0] - data)**2)\n\n"
        "theta_hat = minimize(value_and_grad(loss), np.array([3.0, 0.4]), jac=True, tol=1e-10).x"
    )
    foretell = (
        "def predict(t):\n"
        "    ts = np.concatenate([[0.0], t])\n"
        "    return adjode.odeint(field, z_0, ts, theta_hat, rtol=1e-9, atol=1e-11)[1:, 0]"
    )
    return [
        Text(
            "A mass on a spring: $\\dot z_1=z_2$, $\\dot z_2=-\\theta_1z_1-\\theta_2z_2$, from $z(0)$ ="
            f" `z_0`. Its position was measured twelve times, with errors of size {NOISE}. Fit $\\theta$ by"
            " least squares, $L=\\tfrac12\\sum_i(z_1(t_i)-y_i)^2$, with a gradient by the adjoint method."
        ),
        Given(given),
        Question(
            "theta_hat",
            3,
            "The two parameters of the best fit. Start near $(3, 0.4)$: from far away, descent ends "
            "elsewhere.",
            Numbers(
                best,
                {
                    "these are the stiffness and the damping in the other order": best[::-1],
                    "this fits the first four observations; all twelve count": half,
                    "this is the frequency; theta_1 is its square": np.array([np.sqrt(best[0]), best[1]]),
                },
                rtol=5e-3,
            ),
            solution,
            form="look('theta_hat', theta_hat, 2)",
        ),
        Question(
            "predict",
            3,
            "A function `predict(t)` of an array of times after the last observation: the position. "
            "It is judged on times that you do not see.",
            predict,
            foretell,
            stub="def predict(t):\n    return ...",
            form="look('predict', predict, 'function')",
        ),
    ]
