"""What a cell needs from the cells above."""

import ast
import symtable
import sys
from importlib.util import find_spec


def lacking(source):
    """The imports of a cell that Python does not have yet, as lines of code."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    found = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    found |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    top = sorted({name.partition(".")[0] for name in found})
    return "\n".join(f"import {name}" for name in top if not has(name))


def has(name):
    return name in sys.modules or find_spec(name) is not None


def needs(sources, number, stamps):
    """The cells above that have to run before cell ``number``, in order.

    They make, or change, what it uses, and have not run yet (stamp 0); or a cell further down, that ran
    after them, has given one of their names to something else; or one of these cells would do so.
    """
    wanted, found = set(names(sources[number])[1]), []
    below = [(names(sources[j])[0], stamps[j]) for j in range(number + 1, len(sources)) if stamps[j]]
    for i in reversed(range(number)):
        made, used = names(sources[i])
        shared = wanted if "*" in made else made & wanted
        if "*" not in made and not shared:
            continue
        taken = any(theirs & shared for theirs, stamp in below if stamp > stamps[i])
        if taken or not stamps[i]:
            found.append(i)
        wanted |= used
    for i in range(number):  # what runs again takes back the names that the cells after it have made anew
        if any(names(sources[i])[0] & names(sources[j])[0] & wanted for j in found if j < i):
            found.append(i)
    return sorted(set(found))


def names(source):
    """The names that a cell makes or changes, and those that it uses before it makes them."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set(), set()
    made, used = set(), set()
    for statement in tree.body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        used |= outside(table) - made
        made |= {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
        made |= changed(statement)
    return made, used


def outside(table, top=True):
    """The names of the cell's world that some code reads, in its functions too."""
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found.union(*(outside(child, top=False) for child in table.get_children()))


def changed(statement):
    """What is changed without being named anew: ``x[0] = 1``, ``list.append(x)``, a star import."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.alias) and node.name == "*":
            found.add("*")
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            found.add(owner(node))
    value = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        found.add(owner(value.func))
    return found - {"", "plt"}  # pyplot begins anew in each cell


def owner(node):
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
