"""Stiff problems, and the gradients of sum z(t1)^2 / 2 that `test_stiff_table` compares with.

    python tests/adjode/stiff_problems.py        makes stiff_references.json, in a few minutes

by forward sensitivities, S' = f_z S + f_x, with SciPy's Radau: another equation and another solver.
"""

import json
from pathlib import Path

import autograd.numpy as anp
import numpy as np
from autograd import jacobian
from scipy.integrate import solve_ivp

REFERENCES = Path(__file__).with_name("stiff_references.json")


def van_der_pol(t, z, mu):
    return anp.array([z[1], mu * (1 - z[0] ** 2) * z[1] - z[0]])


def robertson(t, z, rates):
    one, two, three = rates[0] * z[0], rates[1] * z[1] ** 2, rates[2] * z[1] * z[2]
    return anp.array([three - one, one - three - two, two])


def log_robertson(t, z, logs):
    return robertson(t, z, anp.exp(logs))


def oregonator(t, z, theta):
    s, q, w = theta[0], theta[1], theta[2]
    first = s * (z[1] + z[0] * (1 - q * z[0] - z[1]))
    return anp.array([first, (z[2] - (1 + z[0]) * z[1]) / s, w * (z[0] - z[2])])


def hires(t, z, k):
    """A chain of eight species; the rates of the last reaction and of the feed among theta."""
    bound = k[5] * z[5] * z[7]
    return anp.array([
        -k[0] * z[0] + k[1] * z[1] + k[2] * z[2] + k[3],
        k[0] * z[0] - k[4] * z[1],
        -10.03 * z[2] + k[1] * z[3] + 0.035 * z[4],
        8.32 * z[1] + 1.71 * z[2] - 1.12 * z[3],
        -1.745 * z[4] + 0.43 * z[5] + 0.43 * z[6],
        -bound + 0.69 * z[3] + 1.71 * z[4] - 0.43 * z[5] + 0.69 * z[6],
        bound - 1.81 * z[6],
        -bound + 1.81 * z[6],
    ])  # fmt: skip


START8 = np.array([1.0, 0, 0, 0, 0, 0, 0, 0.0057])
RATES = np.array([0.04, 3e7, 1e4])
PROBLEMS = {  # f, z0, t1, theta
    "van der pol 50": (van_der_pol, np.array([2.0, 0.0]), 20.0, np.array(50.0)),
    "van der pol 200": (van_der_pol, np.array([2.0, 0.0]), 120.0, np.array(200.0)),
    "van der pol 1000": (van_der_pol, np.array([2.0, 0.0]), 800.0, np.array(1000.0)),
    "robertson": (robertson, np.array([1.0, 0.0, 0.0]), 40.0, RATES),
    "robertson, log": (log_robertson, np.array([1.0, 0.0, 0.0]), 40.0, np.log(RATES)),
    "oregonator": (oregonator, np.array([1.0, 2.0, 3.0]), 30.0, np.array([77.27, 8.375e-6, 0.161])),
    "hires": (hires, START8, 321.8122, np.array([1.71, 0.43, 8.32, 0.0007, 8.75, 280.0])),
}


def reference(name):
    """[dL/dz0, dL/dtheta] as one list."""
    f, z0, t1, theta = PROBLEMS[name]
    d, p = len(z0), theta.size
    by_z, by_theta = jacobian(f, 1), jacobian(f, 2)

    def both(t, y):
        z, s = y[:d], y[d:].reshape(d, d + p)
        forced = np.hstack([np.zeros((d, d)), by_theta(t, z, theta).reshape(d, p)])
        return np.concatenate([f(t, z, theta), (by_z(t, z, theta) @ s + forced).ravel()])

    start = np.concatenate([z0, np.eye(d, d + p).ravel()])
    scale = np.maximum(np.abs(theta.ravel()), 1.0)
    atol = np.concatenate([np.full(d, 1e-13), np.tile(1e-12 / np.append(np.ones(d), scale), d)])
    end = solve_ivp(both, (0.0, t1), start, method="Radau", rtol=1e-9, atol=atol)
    assert end.success
    return (end.y[:d, -1] @ end.y[d:, -1].reshape(d, d + p)).tolist()


if __name__ == "__main__":
    REFERENCES.write_text(json.dumps({name: reference(name) for name in PROBLEMS}, indent=1) + "\n")
