"""The zoo: problems with closed-form solutions, and exact gradients by the complex step.

The closed forms share no code with the solver, and the complex step
dL/dx = Im L(x + i h) / h has no rounding error to speak of.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.linalg import expm

import adjode

STEP = 1e-30  # complex step: no subtraction, so no lower limit but underflow
A2 = np.array([[-0.3, 1.1], [-0.6, 0.2]])  # not symmetric: a transpose would show
A3 = np.array([[-0.5, 0.8, 0.1], [-0.2, -0.1, 0.9], [0.3, -0.7, -0.4]])


@dataclass(frozen=True)
class Case:
    f: Any
    z0: Any
    t0: float
    t1: float
    theta: Any
    flow: Any  # flow(z0, t0, t1, theta) = z(t1), for complex arguments too

    def loss(self, z):
        """Not symmetric in the entries of z, and with a mixed second derivative."""
        z = anp.ravel(z)
        target = np.linspace(0.5, 1.5, len(z))
        return 0.5 * anp.sum((z - target) ** 2) + 0.3 * z[0] * z[-1]

    def problem(self):
        return adjode.InitialValueProblem(self.f, self.z0, self.t0, self.t1, self.theta)


def affine_flow(z0, t0, t1, theta):
    block = np.zeros((4, 4), complex)
    block[:3, :3], block[:3, 3] = theta["A"], theta["b"]
    return (expm(block * (t1 - t0)) @ np.append(z0, 1.0))[:3]


def logistic_flow(z0, t0, t1, theta):
    rate, capacity = theta
    growth = np.exp(rate * (t1 - t0))
    return capacity * z0 * growth / (capacity + z0 * (growth - 1))


def case(name):
    if name == "scalar":
        return Case(
            lambda t, z, theta: theta * t * z,
            np.array([1.0]), 1.0, 2.0, 2 / 3 * np.log(2),
            lambda z0, t0, t1, theta: z0 * np.exp(theta * (t1**2 - t0**2) / 2),
        )  # fmt: skip
    if name == "linear":
        return Case(
            lambda t, z, theta: anp.dot(theta, z),
            np.array([1.0, -0.4]), 0.3, 2.1, A2,
            lambda z0, t0, t1, theta: expm(theta * (t1 - t0)) @ z0,
        )  # fmt: skip
    if name == "clocked":
        return Case(
            lambda t, z, theta: (theta[0] + theta[1] * t) * anp.dot(A2, z),
            np.array([0.7, 1.2]), -0.5, 1.5, np.array([0.9, -0.6]),
            lambda z0, a, b, th: expm(A2 * (th[0] * (b - a) + th[1] * (b**2 - a**2) / 2)) @ z0,
        )  # fmt: skip
    if name == "affine":
        return Case(
            lambda t, z, theta: anp.dot(theta["A"], z) + theta["b"],
            np.array([0.2, -0.5, 1.0]), 0.0, 1.7, {"A": A3, "b": np.array([0.3, -0.2, 0.1])},
            affine_flow,
        )  # fmt: skip
    if name == "logistic":
        return Case(
            lambda t, z, theta: theta[0] * z * (1 - z / theta[1]),
            np.array([0.3]), 0.5, 3.0, (1.3, 2.0), logistic_flow,
        )  # fmt: skip
    if name == "batch":
        return Case(
            lambda t, z, theta: anp.dot(z, theta),
            np.array([[1.0, 0.2], [-0.3, 0.8], [0.5, 0.5]]), 0.0, 1.2, A2,
            lambda z0, t0, t1, theta: z0 @ expm(theta * (t1 - t0)),
        )  # fmt: skip
    if name == "backwards":
        forth = case("clocked")
        return Case(forth.f, forth.z0, forth.t1, forth.t0, forth.theta, forth.flow)
    raise KeyError(name)


def exact_gradient(fun, *args):
    """dfun/dargs by the complex step, each of the structure of its argument."""
    vector, unflatten = adjode.flatten(args)
    rows = np.eye(len(vector)) * 1j * STEP
    return unflatten(np.array([np.imag(fun(*unflatten(vector + row))) / STEP for row in rows]))


def relative_error(found, wanted):
    """The largest error over the largest entry, over all parts together."""
    found, wanted = adjode.flatten(found)[0], adjode.flatten(wanted)[0]
    assert found.shape == wanted.shape
    return np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))


@pytest.fixture
def zoo():
    """Build by name inside the test, so that a change of the code is seen by every test."""
    return SimpleNamespace(case=case, exact_gradient=exact_gradient, relative_error=relative_error)
