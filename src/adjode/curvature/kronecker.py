"""Kronecker factors of the Gauss-Newton matrix of a layered field, and the damped solve."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import add_outgrads
from autograd.tracer import toposort

from adjode.curvature.tangent import like
from adjode.loss import AdjointPath, check_solves
from adjode.problem import InitialValueProblem
from adjode.rules import vjp_of
from adjode.structure import leaves, rebuild
from adjode.tape import Recorded
from adjode.trajectory import Trajectory
from adjode.vjp import run_traced


@dataclass(frozen=True)
class Layer:
    """``s = anp.dot(a, w) + b`` in a field: which leaves of theta are w and b."""

    weight: int  # w has shape (fan in, fan out)
    offset: int | None  # b has shape (fan out,)


@dataclass(frozen=True)
class KroneckerFactors:
    """Theta's Gauss-Newton matrix, layer by layer, as A (x) B: `eq-kron-separated`.

    The parameters of a layer are w with b as its last row, read row by row; A acts on the inputs,
    B on the outputs.
    """

    layers: tuple  # of Layer
    inputs: tuple  # A of each layer, (fan in + 1, fan in + 1) with an offset
    outputs: tuple  # B of each layer, (fan out, fan out)
    theta: Any = None  # what the leaves of the layers are counted in


def layer_rows(f: Callable, t: float, z: np.ndarray, theta: Any, q: np.ndarray) -> list:
    """(layer, a, g) for each layer of f: its input, and the row q f_s of its output s.

    Parameters
    ----------
    f : callable
        ``f(t, z, theta)``, written with autograd.numpy. Every leaf of theta is either the w of one
        ``anp.dot(a, w)`` or the b that is added to it.
    z, q : arrays of the shape of the state
        A row q f_theta is wanted; with a batch, of each case by itself.

    Returns
    -------
    list of (Layer, a, g)
        a (n, fan in) and g (n, fan out), one row for each row that goes through the layer; a has a
        last column of ones where there is an offset. ``a.T @ g`` is the row q f_w, `eq-kron-vjp`.

    Raises
    ------
    ValueError
        When a leaf of theta is no such weight or offset, or is one in two places.
    """
    args = leaves(theta)
    fun = lambda z, *new: f(t, z, rebuild(theta, new))
    roots = [Recorded.new_root() for _ in (z, *args)]
    _, end = run_traced(roots, fun, (z, *args))
    plain = [node for node in toposort(end) if node.call] if end else []
    layers = layers_of(plain, {root: i for i, root in enumerate(roots[1:])}, args)
    rows: dict = {end: (q, False)}
    result = []
    for node in plain:
        row = rows.pop(node)[0]
        if node in layers:
            result.append((layers[node], *table(node.call[2][0], row, layers[node].offset is not None)))
        pairs = [(i, p) for i, p in zip(node.argnums, node.parents, strict=True) if p.call]
        if pairs:
            argnums, parents = zip(*pairs, strict=True)
            for parent, part in zip(parents, vjp_of(argnums, *node.call)(row), strict=True):
                rows[parent] = add_outgrads(rows.get(parent), part)
    return sorted(result, key=lambda item: item[0].weight)


def layers_of(nodes: list, places: dict, args: list) -> dict:
    """{node: Layer} for the products of a trace; `places` says which leaf a root is. Raises as
    `layer_rows` does."""
    products = {node: places[node.parents[-1]] for node in nodes if is_product(node, places)}
    offsets = {node.parents[i]: places[node.parents[1 - i]] for node in nodes for i in added(node, places)}
    layers = {node: Layer(leaf, offsets.get(node)) for node, leaf in products.items()}
    used = [parent for node in nodes for parent in node.parents]
    good = set()
    for node, one in layers.items():
        fan_out = np.shape(args[one.weight])[-1:]
        if one.offset is None:
            good |= {one.weight}
        elif used.count(node) == 1 and np.shape(args[one.offset]) == fan_out:
            good |= {one.weight, one.offset}
    leaf_uses = [places[parent] for parent in used if parent in places]
    wrong = [i for i in range(len(args)) if i not in good or leaf_uses.count(i) != 1]
    if wrong:
        raise ValueError(f"leaf {wrong[0]} of theta is not the weight or offset of one layer "
                         "s = anp.dot(a, w) + b of f, so it has no Kronecker factors; write f so, or keep "
                         "that leaf out of theta")  # fmt: skip
    return layers


def is_product(node, places: dict) -> bool:
    """Is it ``anp.dot(a, w)`` with a leaf w, and an a that is none?"""
    if node.call[0] not in (anp.dot, anp.matmul) or node.argnums[-1] != 1:
        return False
    return [parent in places for parent in node.parents] in ([True], [False, True])


def added(node, places: dict) -> list:
    """At which argument a product stands to which a leaf is added, ``anp.dot(a, w) + b``: [i] or []."""
    if node.call[0] is not anp.add or len(node.parents) < 2:
        return []
    return [i for i in (0, 1) if node.parents[1 - i] in places and node.parents[i].call
            and is_product(node.parents[i], places)]  # fmt: skip


def table(a, g, offset: bool) -> tuple:
    """Inputs, with a column of ones for the offset, and rows, each (n, ...)."""
    a, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    return (np.hstack([a, np.ones((len(a), 1))]) if offset else a), g


def kronecker_factors(
    problem: InitialValueProblem, trajectory: Trajectory, paths: Sequence[AdjointPath], *, nodes: int = 0
) -> KroneckerFactors:
    """A = mean over the cases of int a a^T dt, B = that of sum_r int g g^T dt: `eq-kron-separated`.

    Parameters
    ----------
    problem : InitialValueProblem
        With z0 of shape (N, D) for N cases, or (D,) for one.
    trajectory : Trajectory
        Of this problem. It has a node at each node of the paths, or its interpolant.
    paths : sequence of AdjointPath
        R solutions of q' = -q f_z, as an ``adjoint_*`` leaves them in ``Gradient.path``. Row n is of
        the loss of case n alone: of a mean over N cases, it is N lambda.
    nodes : int
        At how many nodes, evenly chosen, the integrals are sampled, `eq-kron-sampled`; 0 for all.

    Raises
    ------
    ValueError
        When there is no path, `nodes` is 1, negative or no integer, the trajectory or a path is of
        another problem, the trajectory has no state where a path is sampled, or f is not made of
        layers (`layer_rows`).
    """
    if not paths or nodes < 0 or nodes == 1 or nodes != int(nodes):
        raise ValueError(f"kronecker_factors needs a path and 0 or at least 2 nodes; got {len(paths)} paths, "
                         f"nodes={nodes}")  # fmt: skip
    check_solves(problem, trajectory)
    cases, sums = len(problem.z0) if problem.z0.ndim > 1 else 1, {}
    for path in paths:
        check_path(problem, path)
        which = sampled(path.ts, int(nodes))
        for weight, i in zip(trapezoid(path.ts[which]), which, strict=True):
            if weight == 0:
                continue
            t, z = path.ts[i], state_at(trajectory, path.ts[i])
            for one, a, g in layer_rows(problem.f, t, z, problem.theta, path.lams[i]):
                inner, outer = sums.get(one, (0.0, 0.0))
                sums[one] = inner + weight / len(paths) * a.T @ a, outer + weight * g.T @ g
    inputs, outputs = zip(*sums.values(), strict=True)
    means = (tuple(x / cases for x in part) for part in (inputs, outputs))
    return KroneckerFactors(tuple(sums), *means, problem.theta)


def check_path(problem: InitialValueProblem, path: AdjointPath) -> None:
    same = path.ts[0] == problem.t0 and path.ts[-1] == problem.t1
    if not (same and path.lams.shape[1:] == problem.z0.shape):
        raise ValueError("a path is not one of this problem: t0, t1 or the shape of z0 differ")


def state_at(trajectory: Trajectory, t: float) -> np.ndarray:
    """z(t), from a node or from the interpolant."""
    n = int(np.argmin(np.abs(trajectory.ts - t)))
    if abs(trajectory.ts[n] - t) <= 1e-12 * abs(trajectory.ts[-1] - trajectory.ts[0]):
        return trajectory.zs[n]
    if trajectory.dense is None:
        raise ValueError(f"the trajectory has no state at t = {t}, where a path is sampled; take the "
                         'trajectory that the path was made from, or solve with store="dense"')  # fmt: skip
    return trajectory.dense(t)


def sampled(ts: np.ndarray, nodes: int) -> np.ndarray:
    """Indices of the nodes to sample at: evenly spread, the ends among them. Where a path jumps at an
    end, what counts is its value inside."""
    first, last = int(np.flatnonzero(ts == ts[0])[-1]), int(np.flatnonzero(ts == ts[-1])[0])
    points = min(nodes or len(ts), last - first + 1)
    return np.unique(np.round(np.linspace(first, last, points))).astype(int)


def trapezoid(ts: np.ndarray) -> np.ndarray:
    """Weights of the trapezoidal rule on the nodes ts, of whatever spacing."""
    gaps = np.abs(np.diff(ts))
    return (np.append(gaps, 0) + np.append(0, gaps)) / 2


def mixed(old: KroneckerFactors, new: KroneckerFactors, keep: float) -> KroneckerFactors:
    """keep * old + (1 - keep) * new, factor by factor."""
    mix = lambda xs, ys: tuple(keep * x + (1 - keep) * y for x, y in zip(xs, ys, strict=True))
    return replace(new, inputs=mix(old.inputs, new.inputs), outputs=mix(old.outputs, new.outputs))


def damped_inverse(factors: KroneckerFactors, damping: float) -> Callable:
    """theta_bar -> (A (x) B + damping I)^-1 theta_bar, layer by layer: `eq-kron-damped`.

    Costs two eigendecompositions a layer, once; each use is four small products. Raises ValueError
    when the damped matrix is not positive definite.
    """
    parts = []
    for one, a, b in zip(factors.layers, factors.inputs, factors.outputs, strict=True):
        (p, u), (r, v) = np.linalg.eigh(a), np.linalg.eigh(b)
        scale = np.multiply.outer(np.maximum(p, 0), np.maximum(r, 0)) + damping
        if not (damping >= 0 and np.min(scale) > 1e-14 * np.max(scale)):
            raise ValueError(f"the factors of a layer are singular and damping is {damping}; give a damping "
                             f"> 0, say 0.01 of their largest eigenvalue, {np.max(scale):.2g}")  # fmt: skip
        parts.append((one, u, v, scale))

    def solve(theta_bar):
        if factors.theta is not None:
            theta_bar = like("theta_bar", theta_bar, factors.theta, "theta")
        new = [np.asarray(leaf, dtype=float) for leaf in leaves(theta_bar)]
        for one, u, v, scale in parts:
            w = new[one.weight] if one.offset is None else np.vstack([new[one.weight], new[one.offset]])
            if w.shape != scale.shape:
                raise ValueError(f"a layer of theta_bar has shape {w.shape}; the factors have {scale.shape}")
            w = u @ ((u.T @ w @ v) / scale) @ v.T
            new[one.weight] = w if one.offset is None else w[:-1]
            if one.offset is not None:
                new[one.offset] = w[-1]
        return rebuild(theta_bar, new)

    return solve


def kronecker_solve(factors: KroneckerFactors, theta_bar: Any, damping: float = 0.0) -> Any:
    """(A (x) B + damping I)^-1 theta_bar, of the structure of theta: `eq-kron-inverse`, `eq-kron-damped`.

    Raises ValueError as `damped_inverse` does, and when theta_bar has another structure or other
    shapes, or is not finite.
    """
    return damped_inverse(factors, damping)(theta_bar)
