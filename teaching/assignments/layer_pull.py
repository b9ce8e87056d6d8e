"""Write the pulls of a layer by hand: a vector-Jacobian product for its input and its weights."""

import numpy as np

from teaching.keys import Function
from teaching.sheets import Given, Question, Text, literal

ABOUT = dict(
    title="The pulls of a layer",
    chapter="book/warm-up/vector-jacobian-products",
    difficulty="medium",
    minutes=30,
    outcome="write the vector-Jacobian products of a layer, without forming a Jacobian",
    misconception="A row goes through a matrix as a column does.",
    notes=(
        "The matrix is square, so that a missing transpose runs without an error. Whoever has only "
        "$\\bar x$ right usually wrote $\\bar W$ as $x^{\\mathsf T}$ times the row, which is its transpose."
    ),
)

# name, function, slope: of the nonlinearity, as source and for the key
KINDS = {
    "tanh": (np.tanh, lambda s: 1 - np.tanh(s) ** 2, "np.tanh(s)", "1 - np.tanh(s)**2"),
    "sin": (np.sin, np.cos, "np.sin(s)", "np.cos(s)"),
    "softplus": (
        lambda s: np.log1p(np.exp(s)),
        lambda s: 1 / (1 + np.exp(-s)),
        "np.log1p(np.exp(s))",
        "1/(1 + np.exp(-s))",
    ),
    "softsign": (
        lambda s: s / (1 + np.abs(s)),
        lambda s: 1 / (1 + np.abs(s)) ** 2,
        "s/(1 + np.abs(s))",
        "1/(1 + np.abs(s))**2",
    ),
}


def draw(rng):
    name = rng.choice(sorted(KINDS))
    _, slope, source, slope_source = KINDS[name]
    skip = float(np.round(rng.uniform(0.4, 1.6), 2))
    stretch = float(np.round(rng.uniform(1.2, 2.4), 2))
    x, W = np.round(rng.normal(size=3), 2), np.round(rng.normal(size=(3, 3)), 2)
    b, row = np.round(rng.normal(size=3), 2), np.round(rng.normal(size=3), 2)

    def pull(x, W, b, row, transpose=True, skips=True, slopes=True, turned=False, stretched=True):
        inner = row * (stretch if stretched else 1) * (slope(W @ x + b) if slopes else 1)
        x_bar = (inner @ W if transpose else W @ inner) + (skip * row if skips else 0)
        return x_bar, (np.outer(x, inner) if turned else np.outer(inner, x)), inner

    def slip(**change):
        return lambda *args: pull(*args, **change)

    test = np.random.default_rng(5)
    inputs = [
        [
            test.normal(size=3).tolist(),
            test.normal(size=(3, 3)).tolist(),
            test.normal(size=3).tolist(),
            test.normal(size=3).tolist(),
        ]
        for _ in range(4)
    ]
    key = Function(
        pull,
        inputs,
        {
            "the row meets W from the left: row @ W, not W @ row": slip(transpose=False),
            "the input also goes round the layer: the skip is missing": slip(skips=False),
            "the slope of the nonlinearity is missing": slip(slopes=False),
            "W_bar is transposed: its shape is (outputs, inputs), as that of W": slip(turned=True),
            "the factor before the nonlinearity is missing": slip(stretched=False),
            "W_bar is transposed, and x_bar takes W where the row stands on its left": slip(
                transpose=False, turned=True
            ),
        },
    )
    given = (
        f"import numpy as np\n\ndef layer(x, W, b):\n    s = W @ x + b\n    return {literal(skip)}*x +"
        f" {literal(stretch)}*({source})\n\nx, W = {literal(x)}, {literal(W)}\nb, row = {literal(b)},"
        f" {literal(row)}"
    )
    solution = (
        "def pull(x, W, b, row):\n    s = W @ x + b\n"
        f"    inner = row*{literal(stretch)}*({slope_source})\n"
        f"    return inner @ W + {literal(skip)}*row, np.outer(inner, x), inner"
    )
    check = (
        "h, found = 1e-6, pull(x, W, b, row)\nif found is not ...:\n    for i, part in enumerate(('x', 'W',"
        " 'b')):\n        direction = np.random.default_rng(i).normal(size=np.shape((x, W, b)[i]))\n       "
        " moved = [a + h*direction if i == j else a for j, a in enumerate((x, W, b))]\n        slope = row"
        " @ (layer(*moved) - layer(x, W, b))/h\n        print(part, 'yours',"
        " round(float(np.sum(found[i]*direction)), 5), ' differences', round(slope, 5))"
    )
    return [
        Text(
            f"A layer adds its input, {skip:g} times, to {stretch:g} times a nonlinearity ({name}), entry"
            " by entry. $\\lambda$ (`row`) is the gradient of a loss with respect to the layer's output."
        ),
        Given(given),
        Question(
            "pull",
            6,
            "Write `pull(x, W, b, row)`, which returns $(\\bar x, \\bar W, \\bar b)$: the gradients with"
            " respect to the input, the weights and the offset, in the shapes of these. No loops, no"
            " Jacobian, no differences.",
            key,
            solution,
            stub="def pull(x, W, b, row):\n    return ...",
            form="look('pull', pull, 'function')",
        ),
        Text("A test that you can always make: differences along a direction."),
        Given(check),
    ]
