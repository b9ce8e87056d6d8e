"""Three steps of Euler's method and their discrete adjoint, by hand."""

import numpy as np

from teaching.keys import Numbers
from teaching.sheets import Given, Question, Text

ABOUT = dict(
    title="Three steps, forwards and backwards",
    chapter="book/warm-up/layers-to-time",
    difficulty="easy",
    minutes=30,
    outcome="derive the backward pass of a network whose layers share their parameters",
    misconception="The backward step takes everything at the step's end, since it begins there.",
    notes=(
        "A calculator is enough, and code is allowed. The index is what they get wrong: $\\lambda_{n+1}$"
        " goes with $f$ at $(t_n,z_n)$. The numbers of the continuous adjoint are another mistake that is"
        " named."
    ),
)


def draw(rng):
    theta, force, freq = (float(np.round(rng.uniform(*r), 2)) for r in [(0.6, 1.6), (0.3, 0.9), (0.8, 2.0)])
    z0, y, h = (float(np.round(rng.uniform(*r), 2)) for r in [(0.25, 0.6), (1.2, 2.0), (0.3, 0.5)])

    def field(t, z):
        return theta * z * (1 - z) + force * np.cos(freq * t)

    z = [z0]
    for n in range(3):
        z.append(z[n] + h * field(n * h, z[n]))
    z = np.array(z)

    def climb(at=0, sign=1):
        lam = [z[3] - y]
        for n in (2, 1, 0):
            lam.insert(0, lam[0] * (1 + sign * h * theta * (1 - 2 * z[n + at])))
        return np.array(lam)

    lam = climb()
    slopes = z * (1 - z)
    right = h * lam[1:] @ slopes[:3]
    return [
        Text(
            "The field is $f(t,z,\\theta)=\\theta z(1-z)+a\\cos(\\omega t)$ and the loss"
            " $L=\\tfrac12(z_3-y)^2$. Take three steps of Euler's method, $z_{n+1}=z_n+h"
            " f(t_n,z_n,\\theta)$, with $t_n=nh$."
        ),
        Given(
            f"import numpy as np\n\ntheta, a, omega = {theta}, {force}, {freq}\nz_0, y, h = {z0}, {y}, {h}"
        ),
        Question(
            "z",
            1,
            "The four states $z_0,\\dots,z_3$.",
            Numbers(
                z, {"the force is taken at the end of each step": _forward(z0, h, theta, force, freq, 1)}
            ),
            "z = np.zeros(4)\nz[0] = z_0\nfor n in range(3):\n"
            "    z[n + 1] = z[n] + h*(theta*z[n]*(1 - z[n]) + a*np.cos(omega*n*h))",
            form="look('z', z, 4)",
        ),
        Question(
            "lam",
            2,
            "The four numbers $\\lambda_0,\\dots,\\lambda_3$, with $\\lambda_n=\\mathrm dL/\\mathrm dz_n$.",
            Numbers(
                lam,
                {
                    "f_z belongs to the state where the step begins, z_n; this takes z_{n+1}": climb(at=1),
                    "on the way back the step adds: 1 + h f_z, not 1 - h f_z": climb(sign=-1),
                    "these are the numbers, from the end to the start": lam[::-1],
                    "the row at the end is z_3 - y": -lam,
                },
            ),
            "lam = np.zeros(4)\nlam[3] = z[3] - y\nfor n in (2, 1, 0):\n"
            "    lam[n] = lam[n + 1]*(1 + h*theta*(1 - 2*z[n]))",
            form="look('lam', lam, 4)",
        ),
        Question(
            "dL_dtheta",
            3,
            "$\\mathrm dL/\\mathrm d\\theta$ of these three steps, exactly.",
            Numbers(
                right,
                {
                    "a layer's parameters see the row that leaves it, lambda_{n+1}; this takes lambda_n": (
                        h * lam[:3] @ slopes[:3]
                    ),
                    "the state that belongs to lambda_{n+1} is z_n, where the step began": (
                        h * lam[1:] @ slopes[1:]
                    ),
                    "each layer's derivative has a factor h": lam[1:] @ slopes[:3],
                    "this sum is right for rows that take f_z at z_{n+1}; see lam": (
                        h * climb(at=1)[1:] @ slopes[:3]
                    ),
                    "this sum is right for rows that step back with 1 - h f_z; see lam": (
                        h * climb(sign=-1)[1:] @ slopes[:3]
                    ),
                    "theta is shared: all three layers count, not only the last": h * lam[3] * slopes[2],
                    "theta is shared: all three layers count, not only the first": h * lam[1] * slopes[0],
                },
            ),
            "dL_dtheta = sum(h*lam[n + 1]*z[n]*(1 - z[n]) for n in range(3))",
            form="look('dL_dtheta', dL_dtheta, 1)",
        ),
    ]


def _forward(z0, h, theta, force, freq, late):
    z = [z0]
    for n in range(3):
        z.append(z[n] + h * (theta * z[n] * (1 - z[n]) + force * np.cos(freq * (n + late) * h)))
    return np.array(z)
