"""A picture of the TCP connection table by memory, one line a ratio, both axes logarithmic; one self-contained SVG."""

import math
from collections.abc import Sequence

from kubedyno.advisor import maps

WIDTH, HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 130, 40, 50
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
_LOW_GIB, _HIGH_GIB = 1, 2048
RATIOS = (0.0025, 0.01, 0.08)


def plot(ratios: Sequence[float] = RATIOS, mark_gib: float | None = None) -> str:
    """Return an SVG of entries over memory.

    Args:
        ratios: One line for each.
        mark_gib: Where to draw a vertical line, such as this host's memory.
    """
    low, high = math.log2(maps.CT_TCP_AUTO_MIN / 2), math.log2(maps.LIMIT_MAX * 2)

    def x(gib: float) -> float:
        share = math.log2(gib / _LOW_GIB) / math.log2(_HIGH_GIB / _LOW_GIB)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * share

    def y(entries: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (math.log2(entries) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">Entries of the TCP connection table by memory of the node</text>',
    ]
    for power in range(int(low) + 1, int(high) + 1):
        parts += [
            f'<path d="M{_LEFT} {y(2**power):.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{y(2**power) + 4:.1f}" text-anchor="end">{2**power:,}</text>',
        ]
    for power in range(0, int(math.log2(_HIGH_GIB)) + 1, 2):
        parts.append(
            f'<text x="{x(2**power):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{2**power} GiB</text>'
        )
    parts.append(
        f'<text x="{_LEFT}" y="{HEIGHT - 8}" fill="#555">formula of {maps.SOURCE}; 131,072 is the least</text>'
    )
    for number, ratio in enumerate(ratios):
        colour = _COLOURS[number % len(_COLOURS)]
        points = []
        for step in range(math.ceil(math.log2(_HIGH_GIB)) * 8 + 1):
            gib = 2 ** (step / 8)
            entries = maps.dynamic(int(gib * 2**30), ratio, 1)[0].ct_tcp
            points.append(f"{x(gib):.1f},{y(entries):.1f}")
        parts += [
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{WIDTH - _RIGHT + 8}" y="{_TOP + 18 * (number + 1)}" fill="{colour}">ratio {ratio:g}</text>',
        ]
    if mark_gib is not None and _LOW_GIB <= mark_gib <= _HIGH_GIB:
        parts += [
            f'<path d="M{x(mark_gib):.1f} {_TOP}V{HEIGHT - _BOTTOM}" stroke="#888" stroke-dasharray="4 3"/>',
            f'<text x="{x(mark_gib) + 4:.1f}" y="{_TOP + 10}" fill="#555">{mark_gib:.4g} GiB</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
