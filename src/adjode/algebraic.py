"""`root`, the solution of a system of equations as one differentiable function of autograd."""

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import isbox

from adjode.linear import as_pattern, solution
from adjode.newton import System, jacobian_entries, newton
from adjode.primitive import as_array
from adjode.problem import GradientError, check_callable, real
from adjode.solve import check_tolerances
from adjode.structure import flatten, leaves, rebuild, untraced
from adjode.vjp import pullback


def root(c: Callable, u0: Any, theta: Any, *, pattern: Any = None,
         rtol: float = 1e-10, atol: float = 1e-12):  # fmt: skip
    """u with c(u, theta) = 0, by Newton's method from u0; differentiable in theta.

    Parameters
    ----------
    c : callable
        ``c(u, theta)`` with u of the shape of u0; returns that shape. Written with autograd.numpy.
        What it is differentiated by is in `theta`.
    u0 : float or array of any shape
        Where to start. The gradient in u0 is zero: the root does not move with it.
    theta : float, array, or a nest of lists, tuples and dicts of these; () for none
    pattern : None, (lower, upper), or an (n, n) mask, dense or of scipy.sparse
        Which entries of c_u may differ from zero, u flattened: all; those of a band, as for
        ``scipy.linalg.solve_banded``; those of the mask.
    rtol, atol : float
        Newton stops when its step is below ``rtol |u| + atol`` in every entry, or no longer shrinks
        because of rounding. Choose atol below the size of the entries of u that matter: below atol
        an entry counts as zero. The gradient is that at the point where Newton stopped.

    Returns
    -------
    u : array of the shape of u0

    Raises
    ------
    TypeError, ValueError
        When an argument or the result of c is of the wrong kind, shape or value; when c captures
        a traced value; when c_u has an entry outside of `pattern`.
    RootError
        When Newton's method fails, or c_u is singular, exactly or numerically.
    GradientError
        When rounding spoils the gradient, or it is not finite.

    Notes
    -----
    The backward pass is one solve with c_u transposed and one pullback: `eq-static-adjoint`,
    `eq-static-gradient`. c_u itself costs a pullback for each group of rows that share no column:
    n for all entries, lower + upper + 1 for a band (Curtis, Powell and Reid, 1974). Derivatives of
    any order work.
    """
    check_callable("c", c, "c(u, theta)")
    rtol, atol = check_tolerances(rtol, atol)
    start = real("u0", untraced(as_array("u0", u0)))
    if start.size == 0:
        raise ValueError(f"`u0` must have at least one entry; got shape {start.shape}")
    theta = rebuild(theta, [x if isbox(x) else real("theta", x)[()] for x in leaves(theta)])
    theta, unflatten = flatten(theta)
    system = System(c, start, unflatten, as_pattern(pattern, start.size), rtol, atol)
    return anp.reshape(roots(theta, system), start.shape)


def _roots_pullback(u, theta, system: System) -> Callable:
    """u_bar -> theta_bar: lam c_u = u_bar, theta_bar = -lam c_theta."""

    def back(u_bar):
        traced = any(isbox(x) for x in (u, theta))
        values = jacobian_entries(system, u, theta)[1] if traced else system.factor.values
        lam = solution(values, u_bar, system.factor, True)
        of_theta = pullback(lambda theta: system.flat(u, theta), theta)[1]
        with np.errstate(all="ignore"):
            theta_bar = of_theta(anp.reshape(-lam, system.start.shape))[0]
        if not np.all(np.isfinite(untraced(theta_bar))):
            raise GradientError("the gradient is not finite: c has no derivative in theta there")
        return theta_bar

    return back


roots = primitive(newton)
defvjp(roots, _roots_pullback, argnums=(0,))
