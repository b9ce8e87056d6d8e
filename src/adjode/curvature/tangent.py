"""The tangent of a problem: the same problem for a state and its derivative along a direction.

z' = f(t, z, theta)
v' = f_z v + f_theta w      v(t) is what z(t) does when theta moves along w, and z0 along v(t0)

`follow` takes v along the steps of a solve that is there already.
"""

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import JVPNode, vspace

from adjode.problem import InitialValueProblem, Loss, Observations, real
from adjode.structure import children, leaves, rebuild
from adjode.vjp import pullback, run_traced


def pushforward(fun: Callable, args: list, directions: list) -> tuple:
    """``fun(*args)`` and its derivative along the directions: a Jacobian-vector product, `eq-jvp`.

    In autograd's forward mode; where a function in `fun` has no rule for that, by two pullbacks:
    u J is linear in u, and the derivative of ``(u J) d`` in u is ``J d``. Both may be traced again.
    """
    try:
        return forward_mode(fun, args, directions)
    except NotImplementedError:
        value, back = pullback(fun, *args)
        along = lambda u: sum(anp.sum(row * d) for row, d in zip(back(u), directions, strict=True))
        return value, pullback(along, 0.0 * value)[1](1.0)[0]


def forward_mode(fun: Callable, args: list, directions: list) -> tuple:
    value, end = run_traced([JVPNode.new_root(d) for d in directions], fun, args)
    return value, end.g if end else vspace(value).zeros()


def tangent_problem(problem: InitialValueProblem, w: Any, z0=None) -> InitialValueProblem:
    """z and its derivative v as one state, theta and w as one theta: `eq-tangent-direction`.

    The state has v beside z, along the last axis. It is a problem like any other: it can be solved,
    a loss of it has a gradient, and it has a tangent itself.

    Parameters
    ----------
    w : of the structure of theta
        The direction in theta.
    z0 : array, shape of problem.z0, optional
        v(t0), the direction in z0; zero when absent.

    Raises
    ------
    TypeError, ValueError
        When w or z0 has not the structure and shapes of theta or of problem.z0, or is not finite.
    """
    w = like("w", w, problem.theta, "theta")
    v = like("z0", np.asarray(0.0 * problem.z0 if z0 is None else z0), problem.z0, "the problem's z0")

    def field(t, both, parameters):
        (z, v), (theta, w) = split(both, problem.z0.shape), parameters
        fun = lambda z, *new: problem.f(t, z, rebuild(problem.theta, new))
        return join(*pushforward(fun, [z, *leaves(theta)], [v, *leaves(w)]), both)

    start = np.concatenate(np.atleast_1d(problem.z0, v), axis=-1)
    return InitialValueProblem(field, start, problem.t0, problem.t1, [problem.theta, w])


def tangent_loss(problem: InitialValueProblem, loss: Loss) -> Loss:
    """dL along w, ``L_z v + L_theta w`` of each part: a loss of the states of `tangent_problem`."""
    return loss_of_pairs(problem, loss, lambda *parts: pushforward(*parts)[1])


def loss_of_pairs(problem: InitialValueProblem, loss: Loss, rule: Callable) -> Loss:
    """Each part of the loss as ``rule(part, [z, *theta], [v, *w])``, theta and w as leaves."""

    def of(part, both, theta, w):
        z, v = split(both, problem.z0.shape)
        inner = lambda z, *new: part(z, rebuild(problem.theta, new))
        return rule(inner, [z, *leaves(theta)], [v, *leaves(w)])

    def seen_by(i, both):
        z, v = split(both, problem.z0.shape)
        return rule(lambda z: seen.fun(i, z), [z], [v])

    terminal, running, seen = loss.terminal, loss.running, loss.observations
    return Loss(
        terminal and (lambda both, pair: of(terminal, both, *pair)),
        running and (lambda t, both, pair: of(lambda z, theta: running(t, z, theta), both, *pair)),
        seen and Observations(seen.ts, seen_by),
    )


def split(both, shape: tuple) -> tuple:
    """z and v of one state, or of a batch of states in any of the layouts of `adjode.batched`."""
    if shape == ():
        return both[0], both[1]
    d = shape[-1]
    if both.shape[-1] == 2 * d:
        return both[..., :d], both[..., d:]
    return tuple(both[(slice(None),) * (len(shape) - 1) + (part,)] for part in (slice(d), slice(d, 2 * d)))


def join(z, v, both):
    """The inverse of `split`, for an array like `both`."""
    if anp.ndim(z) < anp.ndim(both):
        return anp.stack([z, v])
    axis = int(np.argmax(np.array(both.shape) != np.array(anp.shape(z))))
    return anp.concatenate([z, v], axis=axis)


def like(name: str, value: Any, wanted: Any, other: str) -> Any:
    """`value` in the structure of `wanted`, or an error that shows both as nests of shapes."""
    try:
        return aligned(name, value, wanted)
    except LookupError:
        got, need = (rebuild(tree, [np.shape(leaf) for leaf in leaves(tree)]) for tree in (value, wanted))
        raise ValueError(f"`{name}` must have the structure and shapes of {other}, {need}; "
                         f"got {got}") from None  # fmt: skip


def aligned(name: str, value: Any, wanted: Any) -> Any:
    if isinstance(wanted, dict) and isinstance(value, dict) and set(value) == set(wanted):
        return {key: aligned(name, value[key], wanted[key]) for key in wanted}
    parts, others = children(value), children(wanted)
    if parts is None and others is None and np.shape(value) == np.shape(wanted):
        return real(name, value)[()]
    if None in (parts, others) or isinstance(wanted, dict) or len(parts) != len(others):
        raise LookupError
    new = [aligned(name, *pair) for pair in zip(parts, others, strict=True)]
    return type(wanted)(*new) if hasattr(wanted, "_fields") else type(wanted)(new)
