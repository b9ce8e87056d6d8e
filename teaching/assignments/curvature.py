"""Products with the Hessian and with the Gauss-Newton matrix of a loss through an ODE."""

import numpy as np
from autograd import grad, jacobian

from teaching.keys import Function, Numbers
from teaching.sheets import Given, Question, Text

ABOUT = dict(
    title="Two matrices that are not there",
    chapter="book/curvature/second-order",
    difficulty="hard",
    minutes=45,
    outcome=(
        "multiply with a Hessian for a few times the price of a gradient, and say what Gauss and Newton"
        " leave out"
    ),
    misconception="The Gauss-Newton matrix is the Hessian.",
    notes=(
        "Differences of gradients pass the tolerance, if the step is chosen with care; say so, and ask what"
        " it costs to choose it. The two products agree where the residual is zero: let them move `aim`"
        " there."
    ),
)


def draw(rng):
    aim = np.round(rng.uniform(0.5, 1.5, 2) * rng.choice([-1, 1], 2), 2)
    freq, coupling = (float(np.round(rng.uniform(*r), 2)) for r in [(0.8, 2.0), (0.3, 0.8)])
    theta0 = np.round(rng.uniform(0.4, 1.2, 3), 2)
    direction = np.round(rng.uniform(-1, 1, 3), 2)
    steps, h = 12, 0.12
    source = f"""import autograd.numpy as anp
import numpy as np
from autograd import grad

aim = np.array({aim.tolist()})

def field(t, z, theta):
    return anp.array([theta[0]*anp.tanh(z[1]) + {coupling}*anp.cos({freq}*t),
                      -theta[1]*z[0] - theta[2]*z[1]**2])

def end(theta):
    \"\"\"{steps} steps of Heun's method.\"\"\"
    z, h = anp.array([0.4, 0.7]), {h}
    for n in range({steps}):
        k_1 = field(n*h, z, theta)
        z = z + h/2*(k_1 + field(n*h + h, z + h*k_1, theta))
    return z

def loss(theta):
    return 0.5*anp.sum((end(theta) - aim)**2)

theta, w = np.array({theta0.tolist()}), np.array({direction.tolist()})"""

    class Work:
        """What autograd makes of the given source; once."""

        space = None

        @classmethod
        def parts(cls):
            if cls.space is None:
                cls.space = {}
                exec(source, cls.space)
            return cls.space["end"], cls.space["loss"]

    known = {}

    def once(what, theta, work):
        """Each matrix is computed once for each theta."""
        place = what, theta.tobytes()
        if place not in known:
            known[place] = work(theta)
        return known[place]

    def hessian(theta, w):
        return once("H", theta, jacobian(grad(Work.parts()[1]))) @ w

    def jacobian_of(theta):
        return once("J", theta, jacobian(Work.parts()[0]))

    def gauss_newton(theta, w):
        J = jacobian_of(theta)
        return J.T @ (J @ w)

    def rest(theta, w):
        return hessian(theta, w) - gauss_newton(theta, w)

    def outer(theta, w):
        g = once("g", theta, grad(Work.parts()[1]))
        return g * (g @ w)

    test = np.random.default_rng(9)
    inputs = [
        [np.round(test.uniform(0.3, 1.3, 3), 2).tolist(), np.round(test.uniform(-1, 1, 3), 2).tolist()]
        for _ in range(3)
    ]
    w = direction
    return [
        Text(
            "A loss of the end of a path, through steps of Heun's method, so that all derivatives are"
            " exact. $H$ is its Hessian in $\\theta$, and $G=z_\\theta^{\\mathsf T}L_{zz}z_\\theta$ its"
            " Gauss-Newton matrix, with $z_\\theta$ the Jacobian of `end`."
        ),
        Given(source),
        Question(
            "hessian_product",
            3,
            "A function `hessian_product(theta, w)` that returns $Hw$.",
            Function(
                hessian,
                inputs,
                {
                    "this is the Gauss-Newton product G w; the curvature of the path is missing": (
                        gauss_newton
                    ),
                    "this is what Gauss and Newton leave out, H w - G w": rest,
                    "this is the gradient times (gradient times w), a matrix of rank one": outer,
                    "this is twice the product": lambda t, w: 2 * hessian(t, w),
                },
            ),
            "def hessian_product(theta, w):\n    return grad(lambda p: anp.dot(grad(loss)(p), w))(theta)",
            stub="def hessian_product(theta, w):\n    return ...",
            form="look('hessian_product', hessian_product, 'function')",
        ),
        Question(
            "gauss_newton_product",
            2,
            "A function `gauss_newton_product(theta, w)` that returns $Gw$: a Jacobian-vector product and "
            "a vector-Jacobian product, or the Jacobian itself.",
            Function(
                gauss_newton,
                inputs,
                {
                    "this is H w; Gauss and Newton leave the curvature of the path out": hessian,
                    "this is the gradient times (gradient times w): L_zz, not the square of L_z": outer,
                },
            ),
            "def gauss_newton_product(theta, w):\n    from autograd import jacobian\n    J ="
            " jacobian(end)(theta)\n    return J.T @ (J @ w)",
            stub="def gauss_newton_product(theta, w):\n    return ...",
            form="look('gauss_newton_product', gauss_newton_product, 'function')",
        ),
        Question(
            "left_out",
            1,
            "At the given `theta` and `w`: $w^{\\mathsf T}(H-G)w$.",
            Numbers(
                w @ rest(theta0, w),
                {"this is w H w": w @ hessian(theta0, w), "this is w G w": w @ gauss_newton(theta0, w)},
            ),
            "left_out = w @ (hessian_product(theta, w) - gauss_newton_product(theta, w))",
            form="look('left_out', left_out, 1)",
        ),
    ]
