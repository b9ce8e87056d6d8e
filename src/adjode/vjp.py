"""Vector-Jacobian products: lam @ J in one pass back through f, J never formed."""

from collections.abc import Callable

import numpy as np
from autograd.core import VJPNode, add_outgrads, vspace
from autograd.tracer import isbox, new_box, toposort, trace_stack

from adjode.problem import InitialValueProblem
from adjode.structure import leaves, rebuild


def pullback(fun: Callable, *args) -> tuple:
    """The value of fun, and the map from a covector v to [v fun_1, ..., v fun_n], from one trace.

    `fun` is written with autograd.numpy, and takes and returns floats or arrays; v has the shape of
    its value, and each row that of its argument: zeros where `fun` ignores it.
    """
    roots = [VJPNode.new_root() for _ in args]
    value, end = run_traced(roots, fun, args)

    def back(v):
        pending, rows = {end: (v, False)}, {}
        for node in toposort(end) if end else ():
            row = rows[node] = pending.pop(node)[0]
            for parent, part in zip(node.parents, node.vjp(row), strict=True):
                pending[parent] = add_outgrads(pending.get(parent), part)
        pairs = zip(roots, args, strict=True)
        return [rows[root] if root in rows else vspace(x).zeros() for root, x in pairs]

    return value, back


def run_traced(roots: list, fun: Callable, args: tuple) -> tuple:
    """The value of fun, and its node: None if it does not depend on the arguments, whose nodes are
    the `roots`."""
    top = trace_stack.top
    try:
        with trace_stack.new_trace() as level:
            out = fun(*(new_box(x, level, root) for x, root in zip(args, roots, strict=True)))
    except (TypeError, ValueError) as error:
        error.add_note("(traced by autograd: use autograd.numpy, and no in-place writes)")
        raise
    finally:
        trace_stack.top = top  # which autograd leaves one too high after an exception
    traced = isbox(out) and out._trace == level
    value = out._value if traced else out
    if isinstance(value, np.ndarray) and value.dtype == object:  # boxes in a plain array: lost
        raise TypeError("the result could not be traced: use autograd.numpy in place of numpy")
    return value, out._node if traced else None


def adjoint_pullback(problem: InitialValueProblem, running: Callable | None = None) -> Callable:
    """(t, z, lam, weight) -> f, lam f_z + weight g_z, lam f_theta + weight g_theta.

    z and lam are flat, shape (D,); so are the results, of shapes (D,), (D,) and (P,).

    Notes
    -----
    What `eq-adjoint` and `eq-gradient` need at one time; with a running cost g, what
    `eq-adjoint-running` and `eq-gradient-running` do.
    """
    args = leaves(problem.theta)

    def rows(fun, t, z, covector):
        inner = lambda z, *new: fun(t, z, rebuild(problem.theta, new))
        value, back = pullback(inner, z, *args)
        z_bar, *theta_bars = back(covector)
        return np.ravel(value), np.ravel(z_bar), flat(theta_bars)

    def pull(t, z, lam, weight=1.0):
        z = z.reshape(problem.z0.shape)
        value, z_bar, theta_bar = rows(problem.f, t, z, lam.reshape(z.shape))
        if running is None:
            return value, z_bar, theta_bar
        _, z_more, theta_more = rows(running, t, z, np.float64(weight))
        return value, z_bar + z_more, theta_bar + theta_more

    return pull


def flat(rows: list) -> np.ndarray:
    """Rows of any shapes as one vector."""
    return np.concatenate([np.zeros(0), *map(np.ravel, rows)])


def scalar_rows(name: str, fun: Callable, *args) -> list:
    """The rows of a scalar function, one per argument."""
    value, back = pullback(fun, *args)
    if np.shape(value) != () or np.asarray(value).dtype.kind not in "fiu":
        kind = type(value).__name__
        raise ValueError(f"{name} must return a scalar; got {kind} of shape {np.shape(value)}")
    return back(np.float64(1.0))
