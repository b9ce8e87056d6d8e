"""The contenders: make(problem, rtol) gives a function without arguments that returns the gradient.

`calls` counts what a contender asks of f in its first run, which is not timed: evaluations on the way
forth and on the way back; a batch of n nodes counts n. What is compiled cannot be counted so.
"""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from problems import Problem

PEERS: dict[str, Callable] = {}  # name: make


def atol_of(rtol: float) -> float:
    return rtol / 100


class Counter:
    """f, and how often it is asked."""

    def __init__(self, problem: Problem, xp, field=None):
        self.problem, self.xp, self.calls, self.on = problem, xp, 0, False

    def __call__(self, t, z, theta):
        if self.on:
            self.calls += max(1, int(np.prod(np.shape(z))) // self.problem.z0.size)
        return self.problem.field(self.xp, t, z, theta)


def autograd_names():
    import autograd.numpy as anp

    class AUTOGRAD:
        tanh = staticmethod(anp.tanh)
        stack = staticmethod(lambda columns: anp.stack(columns, axis=-1))

    return AUTOGRAD


def adjode(problem: Problem, rtol: float):
    import autograd.numpy as anp
    from autograd import grad
    from autograd.tracer import isbox

    from adjode import odeint

    counter, times = Counter(problem, autograd_names()), np.array([0.0, problem.t1])

    def f(t, z, theta):
        if counter.on and isbox(t):
            raise TypeError("what counts calls is called, not replayed: a replayed evaluation is one, too")
        return counter(t, z, theta)

    def loss(z0, theta):
        end = odeint(f, z0, times, theta, rtol=rtol, atol=atol_of(rtol))[-1]
        return 0.5 * anp.sum((end - problem.target) ** 2)

    def run():
        z0_bar, theta_bar = grad(loss, (0, 1))(problem.z0, problem.theta)
        return problem.flat(theta_bar, z0_bar)

    return run, counter


def autograd_odeint(problem: Problem, rtol: float):
    import autograd.numpy as anp
    from autograd import grad
    from autograd.builtins import tuple as nest
    from autograd.scipy.integrate import odeint

    f, shape = Counter(problem, autograd_names()), problem.z0.shape
    times, options = np.array([0.0, problem.t1]), {"rtol": rtol, "atol": atol_of(rtol), "mxstep": 20000}
    slope = lambda y, t, *theta: anp.reshape(f(t, anp.reshape(y, shape), theta), (-1,))

    def loss(args):
        z0, *theta = args
        ys = odeint(slope, anp.reshape(z0, (-1,)), times, nest(tuple(theta)), **options)
        return 0.5 * anp.sum((anp.reshape(ys[-1], shape) - problem.target) ** 2)

    def run():
        z0_bar, *theta_bar = grad(loss)((problem.z0, *problem.theta))
        return problem.flat(theta_bar, z0_bar)

    return run, f


def torchdiffeq(adjoint: bool, method: str, **options):
    def make(problem: Problem, rtol: float):
        import torch
        import torchdiffeq as library

        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)

        class TORCH:
            tanh = staticmethod(torch.tanh)
            stack = staticmethod(lambda columns: torch.stack(columns, dim=-1))

        f = Counter(problem, TORCH)

        class Field(torch.nn.Module):
            def __init__(self):
                super().__init__()
                parts = [torch.nn.Parameter(torch.tensor(part)) for part in problem.theta]
                self.theta = torch.nn.ParameterList(parts)

            def forward(self, t, z):
                return f(t, z, list(self.theta))

        field, target = Field(), torch.tensor(problem.target)
        times = torch.tensor([0.0, problem.t1])
        solve = library.odeint_adjoint if adjoint else library.odeint
        tolerances = {"rtol": rtol, "atol": atol_of(rtol), "method": method}

        def run():
            field.zero_grad(set_to_none=True)
            z0 = torch.tensor(problem.z0, requires_grad=True)
            end = solve(field, z0, times, **tolerances, **options)[-1]
            (0.5 * ((end - target) ** 2).sum()).backward()
            return problem.flat([part.grad.numpy() for part in field.theta], z0.grad.numpy())

        return run, f if adjoint else None

    return make


def diffrax(solver: str, adjoint: str):
    compiled: dict = {}

    def make(problem: Problem, rtol: float):
        import diffrax as library
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)

        class JAX:
            tanh = staticmethod(jnp.tanh)
            stack = staticmethod(lambda columns: jnp.stack(columns, axis=-1))

        def loss(args, rtol):
            z0, theta = args
            control = library.PIDController(rtol=rtol, atol=atol_of(rtol))
            scheme, kind = getattr(library, solver)(), getattr(library, adjoint)
            backwards = {"solver": scheme, "stepsize_controller": control}
            found = library.diffeqsolve(
                library.ODETerm(lambda t, z, theta: problem.field(JAX, t, z, theta)), scheme,
                0.0, problem.t1, None, z0, theta, stepsize_controller=control, max_steps=100_000,
                adjoint=kind(**backwards) if adjoint == "BacksolveAdjoint" else kind(),
            )  # fmt: skip
            return 0.5 * jnp.sum((found.ys[-1] - problem.target) ** 2)

        args = jnp.asarray(problem.z0), [jnp.asarray(part) for part in problem.theta]
        if problem.name not in compiled:  # once for all tolerances, and not timed
            compiled[problem.name] = jax.jit(jax.grad(loss)).lower(args, jnp.asarray(rtol)).compile()

        def run():
            z0_bar, theta_bar = compiled[problem.name](args, jnp.asarray(rtol))
            return problem.flat(theta_bar, z0_bar)

        return run, None

    return make


def cvodes(problem: Problem, rtol: float):
    """CVODES with its adjoint, called through CasADi: compiled C, and f by CasADi's interpreter."""
    if problem.symbolic is None:
        return None
    import casadi as ca

    d, p = problem.z0.size, sum(part.size for part in problem.theta)
    z, theta, both = ca.SX.sym("z", d), ca.SX.sym("theta", p), ca.MX.sym("both", p + d)
    ode = {"x": z, "p": theta, "ode": problem.symbolic(ca, z, theta)}
    options = {"reltol": rtol, "abstol": atol_of(rtol), "max_num_steps": 10**6}
    end = ca.integrator("end", "cvodes", ode, 0.0, problem.t1, options)(x0=both[p:], p=both[:p])["xf"]
    loss = 0.5 * ca.sumsqr(end - problem.target.ravel())
    gradient = ca.Function("gradient", [both], [ca.gradient(loss, both)])
    start = problem.flat(problem.theta, problem.z0)
    return lambda: np.array(gradient(start)).ravel(), None


def register() -> dict[str, Callable]:
    """Those whose library is installed."""
    seminorm = {"adjoint_options": {"norm": "seminorm"}}
    everyone = {
        "adjode": ("autograd", adjode),
        "autograd odeint": ("autograd", autograd_odeint),
        "torchdiffeq adjoint, dopri5": ("torchdiffeq", torchdiffeq(True, "dopri5")),
        "torchdiffeq adjoint, dopri8, seminorm": ("torchdiffeq", torchdiffeq(True, "dopri8", **seminorm)),
        "torchdiffeq backprop, dopri5": ("torchdiffeq", torchdiffeq(False, "dopri5")),
        "diffrax checkpointed, Tsit5": ("diffrax", diffrax("Tsit5", "RecursiveCheckpointAdjoint")),
        "diffrax checkpointed, Dopri8": ("diffrax", diffrax("Dopri8", "RecursiveCheckpointAdjoint")),
        "diffrax backsolve, Tsit5": ("diffrax", diffrax("Tsit5", "BacksolveAdjoint")),
        "CVODES adjoint (CasADi)": ("casadi", cvodes),
    }
    return {name: make for name, (library, make) in everyone.items() if find_spec(library)}
