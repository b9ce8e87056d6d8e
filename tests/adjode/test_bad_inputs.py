"""What is wrong, what was given, what to do: one line for each way to go wrong."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import adjode

F = lambda t, z, theta: theta * z
Z0 = np.array([1.0, 2.0])


def problem(f=F, z0=Z0, t0=0.0, t1=1.0, theta=0.5):
    return adjode.InitialValueProblem(f, z0, t0, t1, theta)


def terminal(fun=lambda z, theta: anp.sum(z)):
    return adjode.Loss(terminal=fun)


def odeint(f=F, z0=Z0, ts=(0.0, 1.0), theta=0.5, **options):
    return adjode.odeint(f, z0, ts, theta, **options)


def slope(loss, **options):
    return adjode.gradient(problem(**options), loss)


def seen(ts):
    return adjode.Loss(observations=adjode.Observations(ts, lambda i, z: anp.sum(z)))


BAD = {
    "f": (lambda: problem(f=3), TypeError, "`f` must be callable as f.t, z, theta.; got int"),
    "z0 complex": (lambda: problem(z0=[1j]), TypeError, "`z0` must be real numbers; got complex128"),
    "z0 text": (lambda: odeint(z0="one"), TypeError, "`z0` must be real numbers; got <U3 in 'one'"),
    "z0 nan": (lambda: problem(z0=[1.0, np.nan]), ValueError, r"`z0` must be finite; entry \(1,\) is nan"),
    "theta text": (lambda: odeint(theta={"a": ["b"]}), TypeError, "`theta` must be real .* in 'b'"),
    "theta none": (lambda: odeint(theta=None), TypeError, "`theta` must be real numbers; got object"),
    "theta inf": (lambda: odeint(theta=(1.0, np.inf)), ValueError, "`theta` must be finite"),
    "theta bool": (lambda: problem(theta=True), TypeError, "`theta` must be real numbers; got bool"),
    "t0 t1": (lambda: problem(t1=0.0), ValueError, "`t1` must differ from `t0`; both are 0.0"),
    "t1 inf": (lambda: problem(t1=np.inf), ValueError, "`t1` must be finite"),
    "list": (lambda: odeint(f=lambda t, z, th: [z[0], z[1]]), TypeError,
             r"must be an array; got list. Use autograd.numpy.array\(\[...\]\)"),
    "none": (lambda: odeint(f=lambda t, z, th: None), TypeError, "must be an array; got NoneType"),
    "shape": (lambda: odeint(f=lambda t, z, th: z[None]), ValueError,
              r"f\(t, z, theta\) must have shape \(2,\); got \(1, 2\)"),
    "complex f": (lambda: odeint(f=lambda t, z, th: z * 1j), TypeError, "must be real; got complex128"),
    "nan f": (lambda: odeint(f=lambda t, z, th: z * np.nan), adjode.IntegrationError,
              r"not finite at the start, t = 0.0: \[nan nan\]"),
    "ts shape": (lambda: odeint(ts=[[0.0, 1.0]]), ValueError, r"`ts` must have shape \(n,\)"),
    "ts empty": (lambda: odeint(ts=[]), ValueError, r"`ts` must have shape \(n,\) with n > 0"),
    "ts order": (lambda: odeint(ts=[0.0, 2.0, 1.0, 3.0]), ValueError,
                 r"strictly increase or strictly decrease; ts\[1\] = 2.0, ts\[2\] = 1.0"),
    "ts twice": (lambda: odeint(ts=[0.0, 1.0, 1.0]), ValueError, r"ts\[1\] = 1.0, ts\[2\] = 1.0"),
    "rtol": (lambda: odeint(rtol=-1e-3), ValueError, "`rtol` must be a positive number; got -0.001"),
    "atol": (lambda: odeint(atol=0), ValueError, "`atol` must be a positive number; got 0"),
    "rtol nan": (lambda: odeint(rtol=np.nan), ValueError, "`rtol` must be a positive number; got nan"),
    "rtol text": (lambda: odeint(rtol="tight"), ValueError, "`rtol` must be .* number; got tight"),
    "atol traced": (lambda: grad(lambda a: anp.sum(odeint(atol=a)))(1e-8), ValueError,
                    "`atol` must be a positive number; got Autograd ArrayBox"),
    "adjoint": (lambda: odeint(adjoint="magic"), ValueError,
                "`adjoint` must be one of discrete, backsolve, interpolated, quadrature, checkpointed; "
                "got 'magic'"),
    "method": (lambda: odeint(method="rk4"), ValueError, "got 'rk4'. A scheme .* adjode.solve_fixed"),
    "store": (lambda: adjode.solve(problem(), store="all"), ValueError, "`store` must be .* got 'all'"),
    "n_steps": (lambda: adjode.solve_fixed(problem(), adjode.rk4(), 0), ValueError,
                "`n_steps` must be a positive integer; got 0"),
    "partner of a name": (lambda: adjode.adjoint_tableau("rk4"), TypeError, "ButcherTableau, .*; got str"),
    "defect of a name": (lambda: adjode.symplectic_defect("rk4"), TypeError, "ButcherTableau, .*; got str"),
    "tableau": (lambda: adjode.solve_fixed(problem(), adjode.rk4, 5), TypeError,
                r"`tableau` must be a ButcherTableau, such as rk4\(\); got function"),
    "n_steps float": (lambda: adjode.solve_fixed(problem(), adjode.rk4(), 1.5), ValueError, "got 1.5"),
    "stops outside": (lambda: adjode.solve(problem(), ts=[0.5, 2.0]), ValueError,
                      "`ts` must lie between t0 = 0.0 and t1 = 1.0"),
    "stops behind the end": (lambda: adjode.solve(problem(), ts=[0.5, 1.0, 2.0]), ValueError,
                             "it runs from 0.5 to 2"),
    "stops against": (lambda: adjode.solve(problem(), ts=[0.6, 0.5]), ValueError, "run from t0 to t1"),
    "no loss": (adjode.Loss, ValueError, "at least one of terminal, running, observations"),
    "loss kind": (lambda: adjode.Loss(terminal=3), TypeError, "`terminal` must be callable as"),
    "running kind": (lambda: adjode.Loss(running=3), TypeError, "`running` must be callable as"),
    "seen kind": (lambda: adjode.Loss(observations=[1.0]), TypeError, "Observations.*; got list"),
    "loss shape": (lambda: slope(terminal(lambda z, th: z)), ValueError,
                   r"terminal\(z, theta\) must have shape \(\); got \(2,\)"),
    "seen loss shape": (lambda: slope(adjode.Loss(observations=adjode.Observations([1.0], lambda i, z: z))),
                        ValueError, r"fun\(i, z\) must have shape \(\); got \(2,\)"),
    "loss that captures": (lambda: grad(lambda a: slope(terminal(lambda z, th: a * z[0])).t1)(1.0), TypeError,
                           r"terminal\(z, theta\) is a traced value .* it captures one. Pass"),
    "loss nan": (lambda: slope(terminal(lambda z, th: z[0] + anp.where(z[0] > 0, np.nan, 0.0))),
                 adjode.IntegrationError, "the loss is not finite: nan"),
    "seen shape": (lambda: adjode.adjoint_discrete(
        problem(), adjode.Loss(observations=adjode.Observations([1.0], lambda i, z: z)),
        adjode.solve(problem())), ValueError, r"fun\(i, z\) must return a scalar; got ndarray of shape"),
    "terminal shape": (lambda: adjode.adjoint_discrete(
        problem(), terminal(lambda z, th: z), adjode.solve(problem())), ValueError,
        r"terminal\(z, theta\) must return a scalar; got ndarray of shape \(2,\)"),
    "running shape": (lambda: slope(adjode.Loss(running=lambda t, z, th: z)), ValueError,
                      r"running\(t, z, theta\) must have shape \(\); got \(2,\)"),
    "seen late": (lambda: slope(seen([0.5, 1.5])), ValueError, "`ts` must lie between"),
    "seen row": (lambda: adjode.adjoint_discrete(
        problem(z0=np.ones((2, 3))), adjode.Loss(observations=adjode.Observations(
            [1.0], lambda i, z: anp.sum(z**2), lambda i, z: 2 * z.T)),
        adjode.solve(problem(z0=np.ones((2, 3))))), ValueError,
        r"grad\(i, z\) must have shape \(2, 3\); got \(3, 2\)"),
    "no node": (lambda: adjode.adjoint_discrete(problem(), seen([0.123]), adjode.solve(problem())),
                ValueError, r"no node of its own at the observation time ts\[0\] = 0.123; solve with ts="),
    "one node": (lambda: adjode.adjoint_discrete(
        problem(), seen([0.5, 0.5 + 1e-14]), adjode.solve_fixed(problem(), adjode.rk4(), 2)),
        ValueError, r"no node of its own at the observation time ts\[1\]"),
    "no stages": (lambda: adjode.adjoint_discrete(
        problem(), terminal(), adjode.solve(problem(), store="stops")), ValueError, "needs the stages"),
    "no dense": (lambda: adjode.adjoint_interpolated(
        problem(), terminal(), adjode.solve_fixed(problem(), adjode.rk4(), 4)), ValueError,
        "this adjoint needs trajectory.dense; use adjode.solve"),
    "no dense either": (lambda: adjode.adjoint_quadrature(
        problem(), terminal(), adjode.solve(problem(), store="stages")), ValueError,
        "this adjoint needs trajectory.dense"),
    "other z0": (lambda: adjode.adjoint_discrete(
        problem(), terminal(), adjode.solve(problem(z0=Z0 + 1))), ValueError, "not one of this problem"),
    "other t1": (lambda: adjode.adjoint_discrete(
        problem(), terminal(), adjode.solve(problem(t1=2.0))), ValueError, "not one of this problem"),
    "no cost": (lambda: adjode.adjoint_discrete(
        problem(), adjode.Loss(running=lambda t, z, th: z[0]), adjode.solve(problem())), ValueError,
        "running cost; solve with running=loss.running"),
    "mlp sizes": (lambda: adjode.mlp([2, 8, 3], seed=0), ValueError, "`sizes` must begin and end"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_the_message_says_what_is_wrong(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def in_place(t, z, theta):
    out = np.zeros(2)
    out[0], out[1] = theta * z[0], z[1]
    return out


LOST = {
    "array": lambda t, z, theta: np.array([theta * z[0], -z[1]]),
    "stack": lambda t, z, theta: np.stack([theta * z[0], -z[1]]),
    "asarray": lambda t, z, theta: np.asarray(theta * z),
    "where": lambda t, z, theta: np.where(z > 0, theta * z, z),
    "float": lambda t, z, theta: anp.array([theta * float(z[0]), -z[1]]),
    "in place": in_place,
}


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve", "interpolated", "quadrature", "checkpointed"])
@pytest.mark.parametrize("name", LOST)
def test_a_field_that_autograd_cannot_trace_is_never_a_zero_gradient(name, adjoint):
    with pytest.raises((TypeError, ValueError)) as caught:
        grad(lambda theta: anp.sum(odeint(LOST[name], theta=theta, adjoint=adjoint)))(0.5)
    notes = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "use autograd.numpy" in notes


def shifted(z, data):
    z -= data
    return z


IN_PLACE = {
    "f writes to z": (lambda t, z, theta: shifted(z, 3.0) * theta, terminal()),
    "f writes to theta": (lambda t, z, theta: shifted(theta, 0.1) * z, terminal()),
    "terminal": (F, terminal(lambda z, theta: anp.sum(shifted(z, 3.0) ** 2))),
    "running": (F, adjode.Loss(running=lambda t, z, theta: anp.sum(shifted(z, 3.0) ** 2))),
    "observations": (F, adjode.Loss(observations=adjode.Observations(
        [0.5, 1.0], lambda i, z: anp.sum(shifted(z, 3.0) ** 2)))),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_field_or_a_loss_that_writes_in_place_is_refused(name):
    # it would change the stored states, and the gradient with them
    f, loss = IN_PLACE[name]
    with pytest.raises(ValueError, match="read-only"):
        adjode.gradient(problem(f=f, theta=np.array([0.5, 0.5])), loss)


def test_a_loss_that_autograd_cannot_trace_is_refused():
    loss = terminal(lambda z, theta: np.array([z[0] * theta]))
    with pytest.raises(TypeError, match=r"use autograd.numpy in place"):
        adjode.adjoint_discrete(problem(), loss, adjode.solve(problem()))


def test_errors_of_numerics_are_runtime_errors():
    assert issubclass(adjode.IntegrationError, RuntimeError)
    assert issubclass(adjode.GradientError, adjode.IntegrationError)
