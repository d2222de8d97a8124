"""Charts as inline SVG: lines over time and stacked areas, with axes, units and a legend. No script, no font."""

from collections.abc import Mapping, Sequence

from kubedyno.report.escaping import escape

WIDTH, HEIGHT = 760, 220
# The unit stands above the axis, in the top's room.
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 24, 44
# How wide a letter of an axis is, at most.
_LETTER = 7
# Okabe and Ito's palette: told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#999999")


def ticks_to(top: float) -> list[float]:
    """Return at most six round values from 0 to at least `top`."""
    if top <= 0:
        return [0, 1]
    step = 10.0 ** len(str(int(top)))
    for divisor in (1, 2, 4, 5, 10, 20, 40, 50, 100, 200, 400, 500, 1000):
        if top / (step / divisor) >= 3:
            step /= divisor
            break
    count = -(-top // step)
    return [step * i for i in range(int(count) + 1)]


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value / 1e6:.4g}M"


def _frame(title: str, unit: str, seconds: float, ticks: Sequence[float]) -> list[str]:
    top = ticks[-1]
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for tick in ticks:
        y = _y(tick, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in ticks_to(seconds):
        if tick <= seconds:
            x = _x(tick, seconds)
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 28}" text-anchor="middle">{_number(tick)} s</text>'
            )
    return [*parts, _unit(unit)]


def _unit(unit: str) -> str:
    return f'<text class="tick" x="{_LEFT - 6}" y="11" text-anchor="end">{escape(unit)}</text>'


def _x(second: float, seconds: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (second / seconds if seconds else 0)


def _y(value: float, top: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    x = float(_LEFT)
    for index, name in enumerate(names):
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="{HEIGHT - 16}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text class="tick" x="{x + 14:.0f}" y="{HEIGHT - 7}">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    return parts


def steps(title: str, unit: str, series: Mapping[str, Sequence[float]], every_s: float = 1.0) -> str:
    """Draw one step line a series; value i holds from i times `every_s` on, for as long.

    Args:
        title: For readers that do not see the picture.
        unit: Of the values, e.g. "1/s".
        series: Name → values; equal lengths.
        every_s: Between two values.
    """
    seconds = max((len(values) for values in series.values()), default=0) * every_s
    ticks = ticks_to(max((max(values, default=0) for values in series.values()), default=0))
    parts = _frame(title, unit, seconds, ticks)
    for index, values in enumerate(series.values()):
        points = []
        for i, value in enumerate(values):
            y = _y(value, ticks[-1])
            points.append(f"{_x(i * every_s, seconds):.1f},{y:.1f} {_x((i + 1) * every_s, seconds):.1f},{y:.1f}")
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(points)}"/>')
    return "".join([*parts, *_legend(list(series)), "</svg>"])


def intervals(
    title: str, unit: str, labels: Sequence[str], series: Mapping[str, Sequence[tuple[float, float] | None]]
) -> str:
    """Draw a dot for each mean, with a bar as wide as its interval; labels stand side by side, series next to each other.

    Args:
        title: For readers that do not see the picture.
        unit: Of the values, e.g. "ms".
        labels: One a group of dots; where one is too long to stand below, numbers do, and a dot that is pointed at tells.
        series: Name → (mean, half the interval's width) for each label, None where there is no value.
    """
    tops = [mean + half for values in series.values() for each in values if each for mean, half in [each]]
    ticks = ticks_to(max(tops, default=0))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for tick in ticks:
        y = _y(tick, ticks[-1])
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    parts.append(_unit(unit))
    room = (WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    fit = all(_LETTER * len(label) <= room for label in labels)
    for place, label in enumerate(labels):
        x = _x(place + 0.5, len(labels))
        text = escape(label) if fit else place + 1
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{text}</text>')
    for index, (name, values) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        for place, each in enumerate(values):
            if each is None:
                continue
            mean, half = each
            x = _x(place + (index + 1) / (len(series) + 1), len(labels))
            low, high = _y(max(mean - half, 0), ticks[-1]), _y(mean + half, ticks[-1])
            told = escape(f"{labels[place]}: {name} {mean:.4g}" + (f" ± {half:.2g}" if half else "") + f" {unit}")
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}" stroke-width="2"/>'
            )
            parts.append(
                f'<circle cx="{x:.1f}" cy="{_y(mean, ticks[-1]):.1f}" r="4" fill="{colour}"><title>{told}</title></circle>'
            )
    return "".join([*parts, *_legend(list(series)), "</svg>"])


def stacked(title: str, unit: str, series: Mapping[str, Sequence[float]], every_s: float = 1.0) -> str:
    """Draw the series as areas on top of each other, the first one lowest; value i holds from i times `every_s` on."""
    count = max((len(values) for values in series.values()), default=0)
    totals = [sum(values[i] for values in series.values()) for i in range(count)]
    seconds = count * every_s
    ticks = ticks_to(max(totals, default=0))
    parts = _frame(title, unit, seconds, ticks)
    base = [0.0] * count
    for index, values in enumerate(series.values()):
        upper = [low + value for low, value in zip(base, values, strict=True)]
        forth = [
            f"{_x((i + d) * every_s, seconds):.1f},{_y(upper[i], ticks[-1]):.1f}" for i in range(count) for d in (0, 1)
        ]
        back = [
            f"{_x((i + d) * every_s, seconds):.1f},{_y(base[i], ticks[-1]):.1f}"
            for i in reversed(range(count))
            for d in (1, 0)
        ]
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polygon fill="{colour}" fill-opacity="0.75" points="{" ".join([*forth, *back])}"/>')
        base = upper
    return "".join([*parts, *_legend(list(series)), "</svg>"])


def curve(
    title: str,
    unit: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    marks: Sequence[tuple[float, str]],
    gap: float = float("inf"),
) -> str:
    """Draw lines through points.

    Args:
        title: For readers that do not see the picture.
        unit: Of the values.
        series: Name → (x, value), ascending by x.
        marks: Places on the x axis and what stands there; the last one ends the axis.
        gap: Points further from each other than this are not joined: there was nothing in between.
    """
    right = max([marks[-1][0], *(points[-1][0] for points in series.values() if points)])
    ticks = ticks_to(max((value for points in series.values() for _, value in points), default=0))
    parts = _frame(title, unit, 0, ticks)[: 1 + 2 * len(ticks)]
    parts.append(_unit(unit))
    for x, text in marks:
        place = _x(x, right)
        # The last one may stand at the picture's edge.
        anchor = "end" if place > WIDTH - _RIGHT - _LEFT / 2 else "middle"
        parts.append(
            f'<text class="tick" x="{place:.1f}" y="{HEIGHT - 28}" text-anchor="{anchor}">{escape(text)}</text>'
        )
    for index, points in enumerate(series.values()):
        colour = COLOURS[index % len(COLOURS)]
        for piece in _pieces(points, gap):
            line = " ".join(f"{_x(x, right):.1f},{_y(value, ticks[-1]):.1f}" for x, value in piece)
            parts.append(
                f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round" points="{line}"/>'
            )
    return "".join([*parts, *_legend(list(series)), "</svg>"])


def _pieces(points: Sequence[tuple[float, float]], gap: float) -> list[list[tuple[float, float]]]:
    """Return points in runs without a gap; one alone is two at its place, so that it is seen."""
    pieces: list[list[tuple[float, float]]] = []
    for point in points:
        if pieces and point[0] - pieces[-1][-1][0] <= gap:
            pieces[-1].append(point)
        else:
            pieces.append([point])
    return [piece if len(piece) > 1 else piece * 2 for piece in pieces]


def bars(title: str, unit: str, rows: Sequence[tuple[str, Sequence[float], float]], names: Sequence[str]) -> str:
    """Draw a horizontal bar a row, its parts side by side, with a mark at a limit (0: none).

    Args:
        title: For readers that do not see the picture.
        unit: Of the values.
        rows: Label, the parts' values, the limit.
        names: Of the parts.
    """
    top = ticks_to(max((max(sum(values), limit) for _, values, limit in rows), default=0))[-1]
    left, step = 200, 18
    height = len(rows) * step + 40
    scale = (WIDTH - left - 90) / top
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for number, (label, values, limit) in enumerate(rows):
        y, x = number * step + 4, float(left)
        short = label if len(label) <= 30 else f"{label[:29]}…"
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(short)}</text>')
        for index, value in enumerate(values):
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{value * scale:.1f}" height="{step - 4}" fill="{COLOURS[index]}"/>'
            )
            x += value * scale
        told = _number(round(sum(values), 3)) + (f" of {_number(limit)}" if limit else "")
        place = max(x, left + limit * scale) + 6
        parts.append(f'<text class="tick" x="{place:.1f}" y="{y + 11}">{told} {escape(unit)}</text>')
        if limit:
            edge = left + limit * scale
            parts.append(
                f'<line x1="{edge:.1f}" x2="{edge:.1f}" y1="{y - 1}" y2="{y + step - 3}" stroke="#d55e00" stroke-width="2"/>'
            )
    x = float(left)
    for index, name in enumerate(names):
        parts.append(f'<rect x="{x:.0f}" y="{height - 16}" width="10" height="10" fill="{COLOURS[index]}"/>')
        parts.append(f'<text class="tick" x="{x + 14:.0f}" y="{height - 7}">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    return "".join([*parts, "</svg>"])
