"""The partner of a Runge-Kutta scheme, and a step of it."""

import numpy as np

from teaching.keys import Numbers
from teaching.sheets import Given, Question, Text, draw_matrix, literal

ABOUT = dict(
    title="The partner of a scheme",
    chapter="book/rigour/discrete-adjoint",
    difficulty="medium",
    minutes=30,
    outcome="say which scheme backpropagation through a Runge-Kutta step is for the adjoint equation",
    misconception="The adjoint equation is solved with the same scheme, backwards.",
    notes=(
        "Three stages by hand are nine short calculations; a loop is welcome. The last question goes"
        " through without the partner at all, by $\\lambda_n=\\lambda_{n+1}R(hJ)$: a good test of the"
        " first."
    ),
)


def draw(rng):
    weights = rng.dirichlet([4, 4, 4])
    b = np.round(weights, 2)
    b[2] = round(1 - b[0] - b[1], 2)
    a = np.zeros((3, 3))
    a[1, 0], a[2, 0], a[2, 1] = np.round(rng.uniform(0.2, 0.8, 3), 2)
    J, row, h = draw_matrix(rng, (2, 2)), draw_matrix(rng, 2), float(np.round(rng.uniform(0.2, 0.4), 2))
    partner = b[None, :] - b[None, :] * a.T / b[:, None]
    defect = b[:, None] * a + (b[:, None] * a).T - np.outer(b, b)

    def step(matrix):
        k = [matrix]
        for i in (1, 2):
            k.append(matrix @ (np.eye(2) + h * sum(a[i, j] * k[j] for j in range(i))))
        return np.eye(2) + h * sum(b[i] * k[i] for i in range(3))

    back = row @ step(J)
    return [
        Text(
            "An explicit scheme of three stages, with coefficients `a` and weights `b` of which none is"
            " zero. Backpropagation through its step is a step of the *partner* $a^*$ on the adjoint"
            " equation, with the same weights; it is read in the direction of time, from $\\lambda_n$ to"
            " $\\lambda_{n+1}$."
        ),
        Given(
            "import numpy as np\n\n"
            f"a = {literal(a)}\nb = {literal(b)}\nJ, row, h = {literal(J)}, {literal(row)}, {h}"
        ),
        Question(
            "partner",
            3,
            "The coefficients $a^*$, an array of shape (3, 3).",
            Numbers(
                partner,
                {
                    "a_ij stands where a_ji should: the partner looks the other way": (
                        b[None, :] - b[None, :] * a / b[:, None]
                    ),
                    "b_i and b_j are exchanged in the quotient": b[None, :] - b[:, None] * a.T / b[None, :],
                    "this is b_j a_ji / b_i; subtract it from b_j": b[None, :] * a.T / b[:, None],
                    "the factor b_j / b_i is missing": b[None, :] - a.T,
                    "this is the scheme itself; backpropagation is another one": a,
                    "this is the partner, transposed": partner.T,
                },
            ),
            "partner = np.array([[b[j] - b[j]*a[j, i]/b[i] for j in range(3)] for i in range(3)])",
            form="look('partner', partner, (3, 3))",
        ),
        Question(
            "defect",
            1,
            "$\\sigma_{ij}=b_ia_{ij}+b_ja_{ji}-b_ib_j$, which is zero in a symplectic scheme; shape (3, 3).",
            Numbers(
                defect,
                {
                    "b_i b_j is subtracted once, and is in the diagonal, too": defect + np.diag(b**2),
                    "each product has its own weight: b_i with a_ij": (
                        b[None, :] * a + (b[None, :] * a).T - np.outer(b, b)
                    ),
                },
            ),
            "defect = b[:, None]*a + (b[:, None]*a).T - np.outer(b, b)",
            form="look('defect', defect, (3, 3))",
        ),
        Question(
            "row_before",
            2,
            "One step of length $h$ for $\\dot z=Jz$, and the row $\\lambda_{n+1}$ = `row` after it: "
            "what is $\\lambda_n$?",
            Numbers(
                back,
                {
                    "the row stands to the left: this is J times a column": step(J) @ row,
                    "this is the exact flow's row, not the step's": row @ _exponential(h * J),
                    "this steps forwards; the row is carried back by the transposed step, not its inverse": (
                        row @ np.linalg.inv(step(J))
                    ),
                },
            ),
            "K = []\nfor i in range(3):\n    K.append(J @ (np.eye(2) + h*sum((a[i, j]*K[j] for j in"
            " range(i)), np.zeros((2, 2)))))\nrow_before = row @ (np.eye(2) + h*sum(b[i]*K[i] for i in"
            " range(3)))",
            form="look('row_before', row_before, 2)",
        ),
    ]


def _exponential(matrix):
    total, term = np.eye(2), np.eye(2)
    for n in range(1, 20):
        term = term @ matrix / n
        total = total + term
    return total
