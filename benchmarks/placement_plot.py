"""A plot of times against threads, both in powers, as a self-contained SVG."""

from collections.abc import Mapping
from math import log2, log10
from xml.sax.saxutils import escape

Series = tuple[str, dict[int, float]]
"""A name, and milliseconds by threads."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 60, 110, 40, 50
LOWEST_MS, HIGHEST_MS = 0.1, 1000.0
FEWEST, MOST = 32, 512
LOOKS = (("#0072b2", ""), ("#d55e00", "6 3"), ("#009e73", "2 3"), ("#000000", "9 3 2 3"))
"""Colours that the colour-blind tell apart, and dashes for those who see none."""


def plot(series: list[Series], budgets: Mapping[tuple[int, int], str]) -> str:
    """Return the picture: a line for each series, and the budgets (threads, ms) as marks with what they are for."""
    title = "Longest time of a placement by threads and guests"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d"'
        ' font-family="sans-serif" font-size="12">',
        f'<title id="t">{title}</title>',
        f'<desc id="d">{escape(_told(series))}</desc>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
        *_axes(),
    ]
    for (_, points), (colour, dash) in zip(series, LOOKS, strict=True):
        path = " ".join(f"{_x(threads):.1f},{_y(ms):.1f}" for threads, ms in points.items())
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
    lines += _legend(series)
    for (threads, ms), name in budgets.items():
        x, y = _x(threads), _y(ms)
        lines.append(f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0-10l-10 10" stroke="#cc0000" stroke-width="2"/>')
        lines.append(f'<text x="{x - 8:.1f}" y="{y - 8:.1f}" text-anchor="end">budget, {name}: {ms} ms</text>')
    return "\n".join([*lines, "</svg>", ""])


def _axes() -> list[str]:
    lines, bottom, right = [], HEIGHT - BOTTOM, WIDTH - RIGHT
    for threads in (32, 64, 128, 256, 512):
        x = _x(threads)
        lines.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#dddddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{threads}</text>')
    for ms in (0.1, 1, 10, 100, 1000):
        y = _y(ms)
        lines.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#dddddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{ms:g}</text>')
    lines.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">threads of the node</text>')
    lines.append(
        f'<text x="16" y="{(TOP + bottom) / 2}" transform="rotate(-90 16 {(TOP + bottom) / 2})">ms of CPU</text>'
    )
    return lines


def _legend(series: list[Series]) -> list[str]:
    lines = []
    for at, ((name, _), (colour, dash)) in enumerate(zip(series, LOOKS, strict=True)):
        y = TOP + 20 * at + 10
        start = WIDTH - RIGHT + 12
        lines.append(f'<path d="M{start} {y}h26" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        lines.append(f'<text x="{start + 32}" y="{y + 4}">{escape(name)}</text>')
    return lines


def _told(series: list[Series]) -> str:
    """The same in words."""
    rows = (f"{name}: " + ", ".join(f"{ms:.1f} ms at {threads}" for threads, ms in row.items()) for name, row in series)
    return "; ".join(rows)


def _x(threads: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * log2(threads / FEWEST) / log2(MOST / FEWEST)


def _y(ms: float) -> float:
    share = log10(max(ms, LOWEST_MS) / LOWEST_MS) / log10(HIGHEST_MS / LOWEST_MS)
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
