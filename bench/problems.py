"""Four problems, each written once for every library, with exact gradients.

The loss is 0.5 |z(t1) - target|^2. A field takes z of shape (B, D), rows being cases of their own,
and a list of arrays theta; `xp` is a library's tanh and its stack of columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm, expm_frechet

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Problem:
    name: str
    field: Callable  # field(xp, t, z, theta)
    symbolic: Callable | None  # the same of one case, for CasADi: symbolic(ca, z, theta)
    theta: list
    z0: np.ndarray  # (B, D)
    t1: float  # from t0 = 0
    target: np.ndarray  # (B, D)
    rows: Callable | None = None  # (z, theta) -> f_z (B, D, D), f_theta (B, D, P), by hand

    def flat(self, theta_bar, z0_bar) -> np.ndarray:
        return np.concatenate([np.ravel(np.asarray(part)) for part in [*theta_bar, z0_bar]])

    def reference(self) -> np.ndarray:
        """The gradient, by means that no contender uses: forward sensitivities with derivatives by
        hand at 1e-12, or for the linear problem the derivative of the matrix exponential."""
        if self.rows is None:
            return linear_reference(self)
        b, d, p = *self.z0.shape, sum(part.size for part in self.theta)

        def slope(t, flat):
            y = flat.reshape(b, d, 1 + p + d)
            f_z, f_theta = self.rows(y[:, :, 0], self.theta)
            f = self.field(NUMPY, t, y[:, :, 0], self.theta)
            by_theta = np.concatenate([f_theta, np.zeros((b, d, d))], axis=2)
            return np.concatenate([f[:, :, None], f_z @ y[:, :, 1:] + by_theta], axis=2).ravel()

        start = np.zeros((b, d, 1 + p + d))
        start[:, :, 0], start[:, :, 1 + p :] = self.z0, np.eye(d)
        end = solve_ivp(slope, (0.0, self.t1), start.ravel(), "DOP853", rtol=1e-12, atol=1e-13)
        y = end.y[:, -1].reshape(start.shape)
        rows = np.einsum("bd,bdk->bk", y[:, :, 0] - self.target, y[:, :, 1:])
        return np.concatenate([rows[:, :p].sum(axis=0), rows[:, p:].ravel()])


class NUMPY:
    tanh = np.tanh
    stack = staticmethod(lambda columns: np.stack(columns, axis=-1))


def spiral(b: int) -> Problem:
    """A net fitted to the cubic spiral of Chen et al. (2018), 2-50-2, with b cases."""
    theta = [np.load(HERE / "spiral.npz")[name] for name in "abcd"]
    rng, truth = np.random.default_rng(1), np.array([[-0.1, 2.0], [-2.0, -0.1]])
    z0 = np.array([[2.0, 0.0]])
    if b > 1:
        angle, radius = rng.uniform(0, 2 * np.pi, b), rng.uniform(0.6, 2.0, b)
        z0 = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    cubic = lambda t, z: ((z.reshape(b, 2) ** 3) @ truth).ravel()
    end = solve_ivp(cubic, (0, 25.0), z0.ravel(), "DOP853", rtol=1e-10, atol=1e-12)
    target = end.y[:, -1].reshape(b, 2) + 0.1 * rng.normal(size=(1, b, 2))[0]

    def field(xp, t, z, theta):
        return xp.tanh((z * z * z) @ theta[0] + theta[1]) @ theta[2] + theta[3]

    def symbolic(ca, z, theta):
        w1, b1 = ca.reshape(theta[:100], 50, 2), theta[100:150]
        w2, b2 = ca.reshape(theta[150:250], 2, 50), theta[250:252]
        return w2 @ ca.tanh(w1 @ z**3 + b1) + b2

    def rows(z, theta):
        u, n = z**3, len(z)
        h = np.tanh(u @ theta[0] + theta[1])
        inner = np.einsum("bh,hd->bdh", 1 - h**2, theta[2])  # df_d / d(argument of tanh)
        f_z = np.einsum("bdh,eh->bde", inner, theta[0]) * (3 * z**2)[:, None]
        by_w1 = np.einsum("be,bdh->bdeh", u, inner).reshape(n, 2, 100)
        by_w2 = np.einsum("bh,de->bdhe", h, np.eye(2)).reshape(n, 2, 100)
        by_b2 = np.broadcast_to(np.eye(2), (n, 2, 2))
        return f_z, np.concatenate([by_w1, inner, by_w2, by_b2], axis=2)

    name = "spiral net" if b == 1 else f"spiral net, batch of {b}"
    return Problem(name, field, symbolic if b == 1 else None, theta, z0, 25.0, target, rows)


def lotka_volterra() -> Problem:
    def field(xp, t, z, theta):
        a, x, y = theta[0], z[..., 0], z[..., 1]
        xy = x * y
        return xp.stack([a[0] * x - a[1] * xy, a[3] * xy - a[2] * y])

    def symbolic(ca, z, a):
        return ca.vertcat(a[0] * z[0] - a[1] * z[0] * z[1], a[3] * z[0] * z[1] - a[2] * z[1])

    def rows(z, theta):
        (x, y), a = z[0], theta[0]
        f_z = np.array([[a[0] - a[1] * y, -a[1] * x], [a[3] * y, a[3] * x - a[2]]])
        return f_z[None], np.array([[[x, -x * y, 0, 0], [0, 0, -y, x * y]]])

    theta = [np.array([1.5, 1.0, 3.0, 1.0])]
    z0, target = np.array([[1.0, 1.0]]), np.array([[1.5, 0.7]])
    return Problem("Lotka-Volterra", field, symbolic, theta, z0, 10.0, target, rows)


def linear(d: int = 50) -> Problem:
    rng = np.random.default_rng(2)
    skew = rng.normal(size=(d, d))
    skew = (skew - skew.T) / np.sqrt(2 * d)
    matrix = 1.5 * skew - 0.15 * np.eye(d) + 0.05 * rng.normal(size=(d, d)) / np.sqrt(d)
    z0 = rng.normal(size=(1, d))
    target = 0.2 * rng.normal(size=(1, 1, d))[0]

    def field(xp, t, z, theta):
        return z @ theta[0]

    def symbolic(ca, z, theta):
        return ca.reshape(theta, d, d) @ z

    return Problem(f"linear, D = {d}", field, symbolic, [matrix], z0, 10.0, target)


def linear_reference(problem: Problem) -> np.ndarray:
    """z(t1) = z0 exp(theta t1); the adjoint of its derivative is that of the transposed matrix."""
    matrix, t1 = problem.theta[0], problem.t1
    whole = expm(matrix * t1)
    missed = problem.z0[0] @ whole - problem.target[0]
    outer = np.outer(problem.z0[0], missed)
    theta_bar = t1 * expm_frechet(matrix.T * t1, outer, compute_expm=False)
    return problem.flat([theta_bar], whole @ missed)


PROBLEMS = {
    "spiral": lambda: spiral(1),
    "batch": lambda: spiral(20),
    "lotka-volterra": lotka_volterra,
    "linear": linear,
}
