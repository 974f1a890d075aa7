"""The picture of docs/architecture.md, drawn from what the modules import: ``make docs``.

A box is a package; in it stand its folders and, on a line of names, its single modules. A row
imports only from the rows below it. An arrow that follows from two others is left out.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from source_tree import MODULES, PACKAGES, ROOT, imports, package, room

log = logging.getLogger(__name__)

PICTURE = ROOT / "docs" / "architecture.svg"
Arrows = Mapping[str, set[str]]

_LETTER, _LINE, _PAD = 8, 16, 9
_ROW_GAP, _NODE_GAP, _BOX_GAP, _MARGIN = 30, 14, 34, 16
_LONGEST_LINE = 40
_STYLE = """
text { font: 12px ui-monospace, monospace; fill: #1c2733 }
.package { fill: #f3f6f9; stroke: #9fb0c0 }
.folder { fill: #d6e8f7; stroke: #4d7ea8 }
.modules { fill: #fff; stroke: #b9c4ce; stroke-dasharray: 3 2 }
.title { font-weight: bold }
.arrow { stroke: #7d8fa0; fill: none; marker-end: url(#head) }
.between { stroke: #34506b; stroke-width: 2 }
"""
_HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0 0 8 4 0 8z" fill="#7d8fa0"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class Node:
    """A folder, or the single modules of one row."""

    name: str
    """Its key in the arrows."""
    lines: tuple[str, ...]
    folder: bool

    @property
    def width(self) -> int:
        """Pixels."""
        return max(map(len, self.lines)) * _LETTER + 2 * _PAD

    @property
    def height(self) -> int:
        """Pixels."""
        return len(self.lines) * _LINE + _PAD


@dataclass(frozen=True, slots=True)
class Box:
    """A package: its rows from the top, and the arrows between them."""

    name: str
    rows: tuple[tuple[Node, ...], ...]
    arrows: Arrows

    @property
    def width(self) -> int:
        """Pixels."""
        return max([len(self.name) * 8, *map(_row_width, self.rows)]) + 2 * _MARGIN

    @property
    def height(self) -> int:
        """Pixels."""
        rows = sum(map(_row_height, self.rows)) + _ROW_GAP * (len(self.rows) - 1)
        return rows + _LINE + 3 * _PAD


def ranks(arrows: Arrows) -> dict[str, int]:
    """Return the length of the longest way down from each name; the arrows form no circle."""
    levels: dict[str, int] = {}

    def rank(name: str) -> int:
        if name not in levels:
            levels[name] = max((rank(other) + 1 for other in arrows[name]), default=0)
        return levels[name]

    for name in arrows:
        rank(name)
    return levels


def without_detours(arrows: Arrows) -> dict[str, set[str]]:
    """Leave out each arrow that a longer way already says (the transitive reduction)."""
    below: dict[str, set[str]] = {}
    for name in sorted(arrows, key=ranks(arrows).__getitem__):
        below[name] = arrows[name].union(*(below[other] for other in arrows[name]))
    return {
        name: {o for o in others if not any(o in below[via] for via in others)}
        for name, others in arrows.items()
    }


def raised_to_neighbours(rank: Mapping[str, int], arrows: Arrows) -> dict[str, int]:
    """Raise each name to just below the lowest that has an arrow to it: arrows are short."""
    raised = dict(rank)
    for name in sorted(arrows, key=rank.__getitem__, reverse=True):
        above = [raised[other] for other, below in arrows.items() if name in below]
        raised[name] = min(above) - 1 if above else rank[name]
    return raised


def package_arrows() -> dict[str, set[str]]:
    """Return which package imports which."""
    arrows: dict[str, set[str]] = {name: set() for name in PACKAGES}
    for name in MODULES:
        arrows[package(name)] |= {package(o) for o in imports(name)} & PACKAGES.keys()
    return {name: others - {name} for name, others in arrows.items()}


def room_arrows(own: str) -> dict[str, set[str]]:
    """Return which folder or single module of a package imports which."""
    arrows: dict[str, set[str]] = {}
    for name in MODULES:
        if package(name) == own and name != own:
            used = {room(o) for o in imports(name) if o in MODULES and package(o) == own}
            arrows.setdefault(room(name), set()).update(used - {room(name), ""})
    return arrows


def box(own: str) -> Box:
    """Arrange a package."""
    arrows = room_arrows(own)
    rank = ranks(arrows)
    packages = (n for n, path in MODULES.items() if path.name == "__init__.py")
    folders = {room(name) for name in packages if package(name) == own}
    names = {name: name if name in folders else f"modules {rank[name]}" for name in arrows}
    rows = []
    for level in range(max(rank.values()), -1, -1):
        here = sorted(name for name in arrows if rank[name] == level)
        row = [Node(name, (f"{name}/",), True) for name in here if name in folders]
        loose = [name for name in here if name not in folders]
        if loose:
            row.append(Node(f"modules {level}", _wrapped(loose), False))
        rows.append(tuple(row))
    joined: dict[str, set[str]] = {name: set() for name in names.values()}
    for name, others in arrows.items():
        joined[names[name]] |= {names[other] for other in others}
    return Box(own, tuple(rows), without_detours(joined))


def draw() -> str:
    """Return the picture, as SVG."""
    arrows = package_arrows()
    rank = raised_to_neighbours(ranks(arrows), arrows)
    levels = [
        [box(name) for name in PACKAGES if rank[name] == level]
        for level in range(max(rank.values()), -1, -1)
    ]
    width = max(sum(b.width + _BOX_GAP for b in boxes) for boxes in levels) + _BOX_GAP
    places: dict[str, tuple[int, int]] = {}
    drawn: list[str] = []
    top = _BOX_GAP
    for boxes in levels:
        left = (width - sum(b.width + _BOX_GAP for b in boxes) + _BOX_GAP) // 2
        for one in boxes:
            places[one.name] = (left, top)
            drawn += _draw_box(one, left, top)
            left += one.width + _BOX_GAP
        top += max(b.height for b in boxes) + 2 * _BOX_GAP
    sizes = {one.name: one for boxes in levels for one in boxes}
    between = []
    for name, others in without_detours(arrows).items():
        for other in sorted(others):
            start = (places[name][0] + sizes[name].width // 2, places[name][1] + sizes[name].height)
            left, upper = places[other]
            inside = (left + _BOX_GAP, left + sizes[other].width - _BOX_GAP)
            end = (min(max(start[0], inside[0]), inside[1]), upper)
            between.append(_arrow(start, end, "arrow between"))
    size = f'viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    white = '<rect width="100%" height="100%" fill="#fff"/>'
    parts = [opening, f"<style>{_STYLE}</style>", _HEAD, white, *between, *drawn, "</svg>"]
    return "\n".join(parts) + "\n"


def _draw_box(one: Box, left: int, top: int) -> list[str]:
    centre = left + one.width // 2
    title = f'<text class="title" x="{left + _PAD}" y="{top + _LINE + 2}">{one.name}</text>'
    frame = _rectangle("package", left, top, one.width, one.height)
    nodes, places = [], {}
    y = top + _LINE + 2 * _PAD
    for row in one.rows:
        x = centre - _row_width(row) // 2
        for node in row:
            places[node.name] = (x + node.width // 2, y, y + node.height)
            nodes += _draw_node(node, x, y)
            x += node.width + _NODE_GAP
        y += _row_height(row) + _ROW_GAP
    lines = [
        _arrow((places[name][0], places[name][2]), places[other][:2], "arrow")
        for name in one.arrows
        for other in sorted(one.arrows[name])
    ]
    return [frame, title, *lines, *nodes]


def _draw_node(node: Node, x: int, y: int) -> list[str]:
    kind = "folder" if node.folder else "modules"
    texts = [
        f'<text x="{x + _PAD}" y="{y + _LINE * (k + 1) - 1}">{escape(line)}</text>'
        for k, line in enumerate(node.lines)
    ]
    return [_rectangle(kind, x, y, node.width, node.height), *texts]


def _rectangle(kind: str, x: int, y: int, width: int, height: int) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'


def _arrow(start: tuple[int, int], end: tuple[int, int], kind: str) -> str:
    return f'<path class="{kind}" d="M{start[0]} {start[1]} {end[0]} {end[1]}"/>'


def _row_width(row: Iterable[Node]) -> int:
    return sum(node.width + _NODE_GAP for node in row) - _NODE_GAP


def _row_height(row: Iterable[Node]) -> int:
    return max(node.height for node in row)


def _wrapped(names: list[str]) -> tuple[str, ...]:
    lines = [names[0]]
    for name in names[1:]:
        longer = f"{lines[-1]}, {name}"
        if len(longer) <= _LONGEST_LINE:
            lines[-1] = longer
        else:
            lines[-1] += ","
            lines.append(name)
    return tuple(lines)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    PICTURE.write_text(draw(), "utf-8")
    log.info("drew %s", PICTURE)
