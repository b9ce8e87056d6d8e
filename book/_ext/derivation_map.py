"""The derivation map: equations as nodes, "rests on" as arrows; drawn as SVG, and as a nested list.

Shape for the kind (box: definition; hexagon: cited theorem; pill: checked), fill for the verdict.
Layers by longest path from the roots, and a few sweeps that put each node near what it rests on.
"""

from html import escape

NODE_W, NODE_H, GAP_X, GAP_Y, MARGIN = 58, 26, 10, 34, 6
SWEEPS = 6
MOST_IN_A_ROW = 9


def layers(graph):
    """Rows of labels; each label stands below everything that it rests on."""
    depth = {}

    def deep(label, path=()):
        if label in path:
            return 0  # a circle is reported elsewhere; the map must still be drawn
        if label not in depth:
            depth[label] = 1 + max((deep(p, (*path, label)) for p in graph.get(label, ())), default=-1)
        return depth[label]

    rows = []
    for label in graph:
        level = deep(label)
        rows += [[] for _ in range(level + 1 - len(rows))]
        rows[level].append(label)
    rows = [r[i : i + MOST_IN_A_ROW] for r in rows for i in range(0, len(r), MOST_IN_A_ROW)]
    return _untangle(rows, graph)


def _untangle(rows, graph):
    below = {label: [x for x in graph if label in graph[x]] for label in graph}
    for sweep in range(SWEEPS):
        place = {x: (i + 0.5) / len(row) for row in rows for i, x in enumerate(row)}
        near = graph if sweep % 2 == 0 else below
        for row in rows:
            row.sort(key=lambda x: _mean([place[y] for y in near.get(x, ()) if y in place], place[x]))
    return rows


def _mean(values, otherwise):
    return sum(values) / len(values) if values else otherwise


def svg(graph, info, title):
    rows = layers(graph)
    width = max((len(r) for r in rows), default=1) * (NODE_W + GAP_X) + 2 * MARGIN
    height = len(rows) * (NODE_H + GAP_Y) - GAP_Y + 2 * MARGIN
    at = {}
    for y, row in enumerate(rows):
        for x, label in enumerate(row):
            at[label] = ((x + 0.5) * width / len(row), MARGIN + y * (NODE_H + GAP_Y) + NODE_H / 2)
    lines = "".join(_arrow(at[p], at[label]) for label in graph for p in graph[label] if p in at)
    boxes = "".join(_box(at[label], label, info[label]) for label in at)
    return (f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
            f'aria-label="{escape(title)}; the same as a list below">{lines}{boxes}</svg>')


def _arrow(start, end):
    (x1, y1), (x2, y2) = start, end
    y1, y2 = y1 + NODE_H / 2, y2 - NODE_H / 2
    bend = (y2 - y1) / 2
    return (f'<path class="map-arrow" d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} '
            f'{x2:.1f} {y2 - 3:.1f}"/><path class="map-head" d="M{x2 - 3:.1f} {y2 - 5:.1f} L{x2:.1f} {y2:.1f} '
            f'L{x2 + 3:.1f} {y2 - 5:.1f}Z"/>')


def _box(place, label, info):
    x, y = place[0] - NODE_W / 2, place[1] - NODE_H / 2
    css = f'map-node map-{info["kind"]} map-{"holds" if info["holds"] else "refused"}'
    if info["kind"] == "given":
        c = 8
        pts = [(x + c, y), (x + NODE_W - c, y), (x + NODE_W, y + NODE_H / 2), (x + NODE_W - c, y + NODE_H),
               (x + c, y + NODE_H), (x, y + NODE_H / 2)]
        shape = f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in pts)}"/>'
    else:
        round_ = 2 if info["kind"] == "definition" else NODE_H / 2
        shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{NODE_W}" height="{NODE_H}" rx="{round_}"/>'
    text = f"({info['number']})" if info["kind"] != "elsewhere" else info["number"]
    size = min(13, 1.75 * NODE_W / max(len(text), 1))
    return (f'<a href="{escape(info["uri"])}" class="{css}"><title>{escape(label)} ({info["kind"]})</title>{shape}'
            f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" font-size="{size:.1f}">{escape(text)}</text></a>')


def nested_list(graph, info):
    """Each equation with what it rests on below it."""
    items = "".join(
        f"<li>{_link(label, info)}"
        + (f"<ul>{''.join(f'<li>{_link(p, info)}</li>' for p in graph[label])}</ul>" if graph[label] else "")
        + "</li>"
        for label in graph if info[label]["kind"] != "elsewhere")
    return f"<ul>{items}</ul>"


def _link(label, info):
    i = info[label]
    return f'<a href="{escape(i["uri"])}">{escape(label)}</a> ({escape(i["kind"])})'
