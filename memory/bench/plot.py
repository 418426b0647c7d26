"""What one more exchange costs, over how many there are: a picture for docs/BENCHMARKS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LINES = (
    ("stored_cpu_p50_ms", "stored: ledger and lexicon", "o-"),
    ("one_more_cpu_ms", "found by meaning: index", "s-"),
    ("words_cpu_p50_ms", "a search by words", "^--"),
    ("cpu_p50_ms", "a search by meaning", "v--"),
)
"""Column of `memory.bench.scale.grow` → what the picture calls it, and how it is drawn."""


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the picture, an SVG that is the same for the same rows."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "nightschool", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for column, name, style in LINES:
            points = [(row["exchanges"], row[column]) for row in rows if column in row]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=name)
        axes.set(xscale="log", xlabel="exchanges", ylabel="milliseconds of the processor", ylim=(0, None))
        axes.set_title("What one more exchange costs, and a search")
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
