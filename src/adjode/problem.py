"""What is given: the initial value problem and the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjode.structure import leaves, rebuild

FLOAT = np.dtype(float)


class IntegrationError(RuntimeError):
    """A solve stopped early."""


class GradientError(IntegrationError):
    """A gradient that cannot be trusted, and is withheld."""


class OtherValues(GradientError):
    """What took the place of f does not have its values."""


@dataclass(frozen=True)
class InitialValueProblem:
    """z' = f(t, z, theta), z(t0) = z0, for t from t0 to t1: `eq-ode` with `eq-start`.

    Raises
    ------
    TypeError, ValueError
        When a part is of the wrong kind, not finite, or t0 equals t1.
    """

    f: Callable  # f(t, z, theta) with scalar t and z of the shape of z0; returns that shape
    z0: np.ndarray  # (D,), or any other shape
    t0: float
    t1: float  # t1 < t0 runs backwards
    theta: Any = ()  # float, array, or a nest of lists, tuples and dicts of these; () for none

    def __post_init__(self):
        check_callable("f", self.f, "f(t, z, theta)")
        t0, t1 = float(real("t0", self.t0)), float(real("t1", self.t1))
        if t0 == t1:
            raise ValueError(f"`t1` must differ from `t0`; both are {t0}")
        theta = rebuild(self.theta, [real("theta", leaf)[()] for leaf in leaves(self.theta)])
        for name, value in {"z0": real("z0", self.z0), "t0": t0, "t1": t1, "theta": theta}.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Observations:
    """sum_i fun(i, z(ts[i])): each time makes lambda jump by l_z, `eq-jump`."""

    ts: np.ndarray  # (n,), in the order in which the solution meets them
    fun: Callable  # fun(i, z), a scalar
    grad: Callable | None = None  # grad(i, z), the row l_z; by autograd when absent

    def __post_init__(self):
        check_callable("fun", self.fun, "fun(i, z)")
        object.__setattr__(self, "ts", check_times("ts", self.ts))


@dataclass(frozen=True)
class Loss:
    """L = terminal(z(t1), theta) + int_{t0}^{t1} running(t, z, theta) dt + observations.

    Raises ValueError when all are absent, TypeError when one is of the wrong kind.
    """

    terminal: Callable | None = None  # terminal(z, theta), a scalar
    running: Callable | None = None  # running(t, z, theta), a scalar
    observations: Observations | None = None

    def __post_init__(self):
        if self.terminal is None and self.running is None and self.observations is None:
            raise ValueError("Loss needs at least one of terminal, running, observations")
        check_callable("terminal", self.terminal or len, "terminal(z, theta)")
        check_callable("running", self.running or len, "running(t, z, theta)")
        if not isinstance(self.observations, Observations | None):
            kind = type(self.observations).__name__
            raise TypeError(f"`observations` must be an Observations(ts, fun); got {kind}")


def real(name: str, value: Any) -> np.ndarray:
    """`value` as a finite float64 array of its own shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` must be real numbers; got {array.dtype} in {value!r:.60}")
    if not np.isfinite(array).all():
        where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise ValueError(f"`{name}` must be finite; entry {where} is {array[where]}")
    return read_only(array.astype(float))


def read_only(array: np.ndarray) -> np.ndarray:
    """So that an f or a loss that writes in place raises, and does not change the problem."""
    array.flags.writeable = False
    return array


def check_callable(name: str, value: Any, signature: str) -> None:
    if not callable(value):
        raise TypeError(f"`{name}` must be callable as {signature}; got {type(value).__name__}")


def check_times(name: str, ts: Any) -> np.ndarray:
    """Times as a strictly monotone array, shape (n,), n > 0."""
    ts = real(name, ts)
    if ts.ndim != 1 or len(ts) == 0:
        raise ValueError(f"`{name}` must have shape (n,) with n > 0; got {ts.shape}")
    wrong = ts[1:] <= ts[:-1] if ts[-1] > ts[0] else ts[1:] >= ts[:-1]
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"`{name}` must strictly increase or strictly decrease; "
                         f"{name}[{i}] = {ts[i]}, {name}[{i + 1}] = {ts[i + 1]}")  # fmt: skip
    return ts
