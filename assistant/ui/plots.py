"""Plots for the learning page, as SVG that takes the page's colours. Pure; each says in words what it shows.

Drawn by hand rather than by a plotting library: a dozen lines of markup each, which follow light and dark by
themselves, need no script, and cost the page no import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 380, 190, 42, 24, 12, 12

Series = tuple[str, Sequence[float | None]]
"""A name, and a value for each place on the x axis (None: there is none)."""


def lines(title: str, labels: Sequence[str], series: Sequence[Series], *, percent: bool = False) -> str:
    """A line a series over the same places, with its legend. `percent`: values are shares, the axis is 0 to 100 %."""
    values = [value for _, found in series for value in found if value is not None]
    if not values:
        return ""
    least, most = (0.0, 1.0) if percent else (min(0.0, *values), max(values) or 1.0)
    span = (most - least) or 1.0

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (place / max(len(labels) - 1, 1))

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - least) / span)

    marks = "".join(
        f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(at):.1f}' y2='{y(at):.1f}'/>"
        f"<text class='end' x='{LEFT - 6}' y='{y(at) + 4:.1f}'>{_number(at, percent)}</text>"
        for at in (least, least + span / 2, most)
    )
    every, last = max(1, len(labels) // 8), len(labels) - 1
    names = "".join(
        f"<text class='mid' x='{x(i):.1f}' y='{HEIGHT - 8}'>{escape(label)}</text>"
        for i, label in enumerate(labels)
        # The last is always named, and none so near it that they would be written over each other.
        if i == last or (i % every == 0 and last - i >= every)
    )
    drawn = "".join(_line(n, found, x, y) for n, (_, found) in enumerate(series))
    legend = "".join(
        f"<span><i class='s{n}'></i>{escape(name)}: {_number(_last(found), percent)}</span>"
        for n, (name, found) in enumerate(series)
    )
    told = "; ".join(f"{name} {_told(found, percent)}" for name, found in series)
    return (
        f"<figure class='card plot'><figcaption>{escape(title)}</figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(title)}: {escape(told)}'>"
        f"{marks}{names}{drawn}</svg><div class='legend'>{legend}</div></figure>"
    )


def matrix(title: str, names: Sequence[str], rows: Sequence[Sequence[float | None]], corner: str) -> str:
    """A table of shares in which the better is the darker: row i after night i, column j for night j's lessons."""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>{''.join(_cell(value) for value in row)}</tr>"
        for name, row in zip(names, rows, strict=True)
    )
    return (
        f"<figure class='card plot'><figcaption>{escape(title)}</figcaption><div class='matrix'><table><thead><tr>"
        f"<th scope='col'>{escape(corner)}</th>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def _cell(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    strong = " strong" if value > 0.55 else ""
    return f"<td class='share{strong}' style='--share: {value:.2f}'>{value:.0%}</td>"


def _line(n: int, values: Sequence[float | None], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    points = [(x(i), y(value)) for i, value in enumerate(values) if value is not None]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    # A single value is no line, and many dots are none either.
    dots = (
        "".join(f"<circle class='s{n}' cx='{a:.1f}' cy='{b:.1f}' r='3'/>" for a, b in points)
        if len(points) < 30
        else ""
    )
    return f"<polyline class='s{n}' points='{path}'/>{dots}"


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _told(values: Sequence[float | None], percent: bool) -> str:
    known = [value for value in values if value is not None]
    return f"from {_number(known[0], percent)} to {_number(known[-1], percent)}" if known else "nothing"


def _number(value: float | None, percent: bool) -> str:
    if value is None:
        return "-"
    if percent:
        return f"{value:.0%}"
    return f"{value:.2f}" if abs(value) < 10 and value != round(value) else f"{value:.0f}"
