"""A linear system, its adjoint row and the gradient, for a matrix that is not symmetric."""

import numpy as np

from teaching.keys import Numbers
from teaching.sheets import Given, Question, Text, draw_matrix, literal

ABOUT = dict(
    title="One more solve",
    chapter="book/warm-up/static-adjoint",
    difficulty="easy",
    minutes=25,
    outcome="compute the gradient of a loss of a system's solution with one more linear solve",
    misconception="The second solve has the same matrix as the first.",
    notes=(
        "Who solves with $A$ in place of $A^{\\mathsf T}$ would notice nothing if the matrix were"
        " symmetric: ask for an example of their own in which it shows. The sign of $\\lambda$ is the"
        " book's, $\\psi=L-\\lambda c$; who adds the constraint has minus this row and the same gradient."
    ),
)


def draw(rng):
    A = np.zeros((3, 3))
    while np.linalg.cond(A) > 12:  # nothing near a matrix that cannot be solved with
        A0 = np.round(draw_matrix(rng, (3, 3)) + np.diag([3.0, 3.5, 4.0]), 2)
        A1, theta = draw_matrix(rng, (3, 3)), float(np.round(rng.uniform(0.3, 0.9), 2))
        A = A0 + theta * A1
    b, aim = draw_matrix(rng, 3, 1, 3), draw_matrix(rng, 3)
    u = np.linalg.solve(A, b)
    lam, untransposed = np.linalg.solve(A.T, u - aim), np.linalg.solve(A, u - aim)
    slope = -lam @ A1 @ u
    given = "\n".join(
        ["import numpy as np", ""]
        + [f"{n} = {literal(v)}" for n, v in dict(A0=A0, A1=A1, b=b, aim=aim, theta=theta).items()]
    )
    return [
        Text(
            "The unknowns $u$ solve $A(\\theta)\\,u=b$ with $A(\\theta)=A_0+\\theta A_1$, that is "
            "$c(u,\\theta)=A(\\theta)u-b=0$. The loss is $L=\\tfrac12|u-u^*|^2$ with $u^*$ = `aim`. "
            "Signs as in the book: $\\psi=L-\\lambda c$."
        ),
        Given(given),
        Question(
            "u",
            1,
            "Solve for $u$.",
            Numbers(u, {"this is the solution for theta = 0": np.linalg.solve(A0, b)}),
            "u = np.linalg.solve(A0 + theta*A1, b)",
            form="look('u', u, 3)",
        ),
        Question(
            "lam",
            3,
            "Give the adjoint row $\\lambda$.",
            Numbers(
                lam,
                {
                    "this solves with A; the row stands on the left, so it takes A transposed": untransposed,
                    "this row is that of psi = L + lambda c; the book subtracts": -lam,
                    "this is L_u itself; it still has to be divided by the matrix": u - aim,
                },
            ),
            "lam = np.linalg.solve((A0 + theta*A1).T, u - aim)",
            form="look('lam', lam, 3)",
        ),
        Question(
            "dL_dtheta",
            2,
            "Give $\\mathrm dL/\\mathrm d\\theta$. (You can test it: move $\\theta$ a little.)",
            Numbers(
                slope,
                {
                    "it is minus lambda times c_theta": -slope,
                    "this uses a row that solves with A, not with its transpose": -untransposed @ A1 @ u,
                    "c_theta is A_1 u, not A u": -lam @ A @ u,
                    "this uses L_u in place of the row": -(u - aim) @ A1 @ u,
                },
            ),
            "dL_dtheta = -lam @ A1 @ u",
            form="look('dL_dtheta', dL_dtheta, 1)",
        ),
    ]
