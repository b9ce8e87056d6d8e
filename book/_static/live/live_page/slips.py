"""The signs and transposes of a check that a reader may get wrong."""

import ast
import re

CHECKS = {"check", "verdict"}  # compare two sides as they are written
STATED = {"premise", "definition", "given", "expression"}
MEASURED = {"numeric", "order", "bound"}  # compute both sides
SPARED = {"wrong", "still", "cases", "rtol", "statement", "scalar", "instance", "mistakes", "key"}


def slips(source):
    """The places in a cell where one slip would make a check wrong: ``[start, end, instead, what]``."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    named = definitions(tree)
    found = {}
    for call in calls(tree, CHECKS | MEASURED):
        kinds = MEASURED if called(call) in MEASURED else CHECKS
        parts = call.args[1:3] if kinds is MEASURED else call.args
        parts = [*parts, *(k.value for k in call.keywords if k.arg == "using" and kinds is CHECKS)]
        if len(call.args) > 2 and (place := whole(call.args[2], source)):
            found[place, place] = ("-", "the sign")
        queue, seen = list(parts), set()
        while queue:
            part = queue.pop()
            collect(part, source, found)
            for node in ast.walk(part):
                if isinstance(node, ast.Name) and node.id in named and node.id not in seen:
                    seen.add(node.id)
                    queue.append(named[node.id])
    return [[*place, *what] for place, what in sorted(found.items())]


def called(call):
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def calls(tree, names):
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) in names]


def definitions(tree):
    """What each name of the cell stands for: an expression, or a function."""
    found = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = statement.value
    return found


def whole(side, source):
    """Where a minus would stand that turns a whole side round; None if it has signs of its own."""
    side = side.body if isinstance(side, ast.Lambda) else side
    product = isinstance(side, ast.BinOp) and isinstance(side.op, ast.Mult | ast.MatMult | ast.Div)
    if product or isinstance(side, ast.Call):
        return Places(source).start(side)
    return None


class Places:
    """Where the parts of a source stand in it; the columns of ``ast`` count bytes."""

    def __init__(self, source):
        self.source, self.starts = source, [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def offset(self, line, column):
        text = self.source[self.starts[line - 1] :].split("\n", 1)[0]
        return self.starts[line - 1] + len(text.encode()[:column].decode())

    def start(self, node):
        return self.offset(node.lineno, node.col_offset)

    def end(self, node):
        return self.offset(node.end_lineno, node.end_col_offset)


def collect(part, source, found):
    """Signs between terms, signs in front of them, and transposes."""
    places = Places(source)

    spared = set()
    for node in ast.walk(part):
        if isinstance(node, ast.Call):
            wrong = [k.value for k in node.keywords if k.arg in SPARED]
            spared |= {id(inner) for value in wrong for inner in ast.walk(value)}
        if isinstance(node, ast.Subscript | ast.Slice):
            spared |= {id(inner) for inner in ast.walk(getattr(node, "slice", node))}
    for node in ast.walk(part):
        if id(node) in spared:
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            here = places.end(node.left)
            there = places.start(node.right)
            sign = "+" if isinstance(node.op, ast.Add) else "-"
            place = here + between(source[here:there], sign)
            found[place, place + 1] = ("-" if sign == "+" else "+", "the sign")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if not isinstance(node.operand, ast.Constant):
                place = places.start(node)
                found[place, place + 1] = ("", "the minus")
        elif isinstance(node, ast.Attribute) and node.attr == "T":
            found[places.end(node.value), places.end(node)] = ("", "the transpose")


def between(gap, sign):
    """Where the sign stands in the text between two terms: brackets, comments and ends of lines."""
    bare = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), gap)
    return bare.index(sign)
