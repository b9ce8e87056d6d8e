"""The quantities that the tests of the checker share."""

from receipts import at, d, dot, function, partial, premise, scalar, var, vector

t, t0, t1 = var("t t_0 t_1")
theta, z_0 = vector("theta"), vector("z_0")
z = function("z", t, theta, z_0)
lam = function("lambda", t, row=True)
f = function("f", t, z, theta)
L = scalar("L", z)
f_z, f_theta, L_z = partial(f, z), partial(f, theta), partial(L, z)
z_theta = d(z, theta)

ode = premise("eq-ode", dot(z, t), f)
start = premise("eq-start", at(z, t, t0), z_0)
adjoint = premise("eq-adjoint", dot(lam, t), -lam * f_z)
terminal = premise("eq-adjoint-terminal", at(lam, t, t1), at(L_z, t, t1))
START = {"eq-start *:*": "only that z_0 does not depend on theta is used"}
