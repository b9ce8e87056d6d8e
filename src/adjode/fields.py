"""A neural vector field, ready to be differentiated."""

import itertools
from collections.abc import Callable, Sequence

import autograd.numpy as anp
import numpy as np


def mlp(sizes: Sequence[int], *, seed: int, scale: float = 1.0) -> tuple[Callable, list]:
    """f(t, z, theta) = W_m tanh(... tanh(W_1 z + b_1) ...) + b_m, and a random theta.

    Parameters
    ----------
    sizes : sequence of int
        Widths (D, hidden..., D).
    seed : int
    scale : float
        Weights are normal with deviation scale / sqrt(fan in); offsets are zero.

    Returns
    -------
    f : callable
        Takes z of shape (D,), or (..., D) for a batch; ignores t.
    theta : list of (W, b)
        W of shape (fan in, fan out), b of shape (fan out,).
    """
    if len(sizes) < 2 or sizes[0] != sizes[-1]:
        raise ValueError(f"`sizes` must begin and end with the size of the state; got {sizes}")
    rng = np.random.default_rng(seed)
    theta = [(rng.normal(0.0, scale / np.sqrt(m), (m, n)), np.zeros(n)) for m, n in itertools.pairwise(sizes)]

    def f(t, z, theta):
        for w, b in theta[:-1]:
            z = anp.tanh(anp.dot(z, w) + b)
        w, b = theta[-1]
        return anp.dot(z, w) + b

    return f, theta
