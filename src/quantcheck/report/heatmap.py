"""The damage of a variant's modules as a picture: layers down, projections across, darker is worse."""

import re
from html import escape

from quantcheck.report.located import LocateReport, ModuleRow

__all__ = ["heatmap"]

_LAYER = re.compile(r"(?:^|\.)(?:blk|layers|h|blocks)\.(\d+)\.(.+?)(?:\.weight)?$")
CELL, LEFT, TOP = 26, 120, 96
ELSEWHERE = "other"


def heatmap(report: LocateReport) -> str:
    """An SVG document. What lies outside layers (embeddings, the head) has a row of its own at the bottom."""
    cells: dict[tuple[int | str, str], ModuleRow] = {}
    for row in report.modules:
        place = _LAYER.search(row.module)
        key = (int(place[1]), place[2]) if place else (ELSEWHERE, row.module.removesuffix(".weight"))
        cells[key] = row
    layers: list[int | str] = [*sorted({layer for layer, _ in cells if isinstance(layer, int)})]
    layers += [ELSEWHERE] if any(layer == ELSEWHERE for layer, _ in cells) else []
    kinds = list(dict.fromkeys(kind for _, kind in sorted(cells, key=lambda key: (str(key[0]), key[1]))))
    top = max((row.damage.value or 0.0 for row in report.modules), default=0.0)
    width, height = LEFT + CELL * len(kinds) + 20, TOP + CELL * len(layers) + 20
    title = f"{report.variant}: damage by module, KL on {report.corpus}"
    marks = [_text(10, 20, title, size=13)]
    marks += [f'<g transform="translate({LEFT + CELL * x + 16} {TOP - 8}) rotate(-35)">{_text(0, 0, kind)}</g>'
              for x, kind in enumerate(kinds)]
    marks += [_text(LEFT - 8, TOP + CELL * y + 17, str(layer), anchor="end") for y, layer in enumerate(layers)]
    for (layer, kind), row in cells.items():
        x, y = LEFT + CELL * kinds.index(kind), TOP + CELL * layers.index(layer)
        depth = (max(row.damage.value or 0.0, 0.0) / top) ** 0.5 if top else 0.0
        value = "n/a" if row.damage.value is None else f"{row.damage.value:.3g} nats"
        marks.append(f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{_colour(depth)}">'
                     f"<title>{escape(row.module)}: {value}</title></rect>")
    width = max(width, 16 + 8 * len(title))
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(marks)}</svg>\n')


def _text(x: int, y: int, text: str, *, size: int = 11, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'


def _colour(depth: float) -> str:
    """From nearly white to dark blue: its lightness alone tells the order, in print and to every eye."""
    light, dark = (240, 244, 250), (8, 48, 107)
    red, green, blue = (round(a + (b - a) * depth) for a, b in zip(light, dark, strict=True))
    return f"rgb({red} {green} {blue})"
