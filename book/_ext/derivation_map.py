"""The derivation map: equations as nodes, "rests on" as arrows; drawn as SVG, and as a nested list.

Shape for the kind (box: definition; hexagon: cited theorem; pill: checked), fill for the verdict.
Each chapter is a band. In a band, an equation stands below everything of the band that it rests on;
a few sweeps put each node near its neighbours.
"""

from html import escape

NODE_W, NODE_H, GAP_X, GAP_Y, MARGIN, TITLE_H = 46, 22, 9, 26, 6, 20
SWEEPS = 8
MOST_IN_A_ROW = 11


def svg(graph, info, title, bands):
    """``graph``: label -> labels that it rests on; ``bands``: (name or "", labels) from above."""
    rows = [
        (name if first else "", row)
        for name, labels in bands
        for first, row in _first(_layers(labels, graph))
    ]
    _untangle([row for _, row in rows], graph)
    width = max((len(r) for _, r in rows), default=1) * (NODE_W + GAP_X) + 2 * MARGIN
    at, titles, y = {}, "", MARGIN
    for name, row in rows:
        if name:
            titles += f'<text class="map-band" x="{MARGIN}" y="{y + 11}">{escape(name)}</text>'
            y += TITLE_H
        for i, label in enumerate(row):
            at[label] = ((i + 0.5) * width / len(row), y + NODE_H / 2)
        y += NODE_H + GAP_Y
    height = y - GAP_Y + MARGIN
    arrows = "".join(
        _arrow(at[p], at[x]) for x, ps in reduced(graph).items() if x in at for p in ps if p in at
    )
    boxes = "".join(_box(at[label], label, info[label]) for label in at)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{1.25 * width:.0f}px" role="group" '
        f'aria-label="{escape(title)}; as a list below">{titles}{arrows}{boxes}</svg>'
    )


def reduced(graph):
    """Without the arrows that a longer way of arrows makes superfluous: they only hide the others."""

    def above(label, seen):
        for p in graph.get(label, ()):
            if p not in seen:
                seen.add(p)
                above(p, seen)
        return seen

    return {
        label: [p for p in ps if not any(p in above(q, set()) for q in ps if q != p)]
        for label, ps in graph.items()
    }


def _first(rows):
    return [(i == 0, row) for i, row in enumerate(rows)]


def _layers(labels, graph):
    depth = {}

    def deep(label, path=()):
        if label in path:
            return 0  # a circle is reported elsewhere; the map must still be drawn
        if label not in depth:
            inside = [p for p in graph[label] if p in graph and p in labels]
            depth[label] = 1 + max((deep(p, (*path, label)) for p in inside), default=-1)
        return depth[label]

    rows = []
    for label in labels:
        level = deep(label)
        rows += [[] for _ in range(level + 1 - len(rows))]
        rows[level].append(label)
    return [r[i : i + MOST_IN_A_ROW] for r in rows for i in range(0, len(r), MOST_IN_A_ROW)]


def _untangle(rows, graph):
    below = {label: [x for x in graph if label in graph[x]] for label in graph}
    for sweep in range(SWEEPS):
        near = graph if sweep % 2 == 0 else below
        for row in rows:
            place = {x: (i + 0.5) / len(r) for r in rows for i, x in enumerate(r)}
            row.sort(key=lambda x: _mean([place[y] for y in near.get(x, ()) if y in place], place[x]))


def _mean(values, otherwise):
    return sum(values) / len(values) if values else otherwise


def _arrow(start, end):
    (x1, y1), (x2, y2) = start, end
    down = 1 if y2 > y1 else -1
    y1, y2 = y1 + down * NODE_H / 2, y2 - down * NODE_H / 2
    bend = (y2 - y1) / 2
    return (
        f'<path class="map-arrow" d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} '
        f'{x2:.1f} {y2 - 3 * down:.1f}"/><path class="map-head" d="M{x2 - 3:.1f} {y2 - 5 * down:.1f} '
        f'L{x2:.1f} {y2:.1f} L{x2 + 3:.1f} {y2 - 5 * down:.1f}Z"/>'
    )


def _box(place, label, info):
    x, y = place[0] - NODE_W / 2, place[1] - NODE_H / 2
    css = f"map-node map-{info['kind']} map-{'holds' if info['holds'] else 'refused'}"
    if info["kind"] == "given":
        c, r, b = 7, x + NODE_W, y + NODE_H
        points = [(x + c, y), (r - c, y), (r, place[1]), (r - c, b), (x + c, b), (x, place[1])]
        shape = f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'
    else:
        corner = 2 if info["kind"] == "definition" else NODE_H / 2
        shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{NODE_W}" height="{NODE_H}" rx="{corner}"/>'
    return (
        f'<a href="{escape(info["uri"])}" class="{css}">'
        f"<title>{escape(label)} ({info['kind']})</title>{shape}"
        f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" font-size="11">({info["number"]})</text></a>'
    )


def nested_list(graph, info, labels):
    """Each equation with what it rests on below it."""
    items = "".join(
        f"<li>{_link(label, info)}"
        + (f"<ul>{''.join(f'<li>{_link(p, info)}</li>' for p in graph[label])}</ul>" if graph[label] else "")
        + "</li>"
        for label in labels
    )
    return f"<ul>{items}</ul>"


def _link(label, info):
    i = info.get(label)
    return (
        f'<a href="{escape(i["uri"])}">({i["number"]}) {escape(label)}</a>, {escape(i["kind"])}'
        if i
        else escape(label)
    )
