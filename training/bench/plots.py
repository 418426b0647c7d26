"""What a bench shows: score a night, the R matrix, loss, and an adapter's strength against gain and damage.

Made of the results alone. No window is opened: figures are drawn by matplotlib's Agg, straight into PNG files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Literal

from training.bench.arms import ARMS
from training.bench.figures import COLUMNS, score
from training.bench.metrics import averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Split = Literal["teach", "probe"]

MEASURES: dict[str, tuple[Split, bool]] = {
    "as asked": ("teach", False),
    "in other words": ("teach", True),
    "probes": ("probe", False),
}
"""Row of the plot of scores → which items, and whether their paraphrases."""

TERMS = {
    "nll": "NLL of wanted tokens",
    "kl": "KL to the base",
    "match": "squared change of log-probabilities (nats²)",
    "lead": "lost of the base's lead (nats)",
    "preference": "preference",
}
"""Term of a step's loss → what it is called."""

CANARIES = {
    "length": "words a general answer",
    "repetition": "word triples repeated",
    "refusals": "general answers refused",
    "flattery": "answers that open with praise",
    "leaks": "unrelated requests answered as taught",
    "flips": "right answers taken back",
}
"""Canary → what it measures, in the plot of strengths: shares but for the first."""

NUMBERED = 12
"""Days up to which the cells of a matrix bear their numbers."""


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """Draw into `folder` what there is data for; what an earlier draw left and this one does not is taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in (("scores", scores), ("r-matrix", matrices), ("loss", losses), ("strength", strengths)):
        figure = plot(results)
        if figure is None:
            (folder / f"{name}.png").unlink(missing_ok=True)
            continue
        beside = folder / f".{name}.png"
        figure.savefig(beside, format="png", dpi=110)
        beside.replace(folder / f"{name}.png")


def scores(results: Mapping[str, Any]) -> Figure | None:
    """Score after each night: a row for each measure, a column for each stream, a colour for each arm."""
    manifest, runs = results["manifest"], results["runs"]
    streams = list(dict.fromkeys(day["stream"] for day in manifest["days"]))
    any_record = next(_records(runs), None)
    if any_record is None:
        return None
    rows = [
        name
        for name, (split, other) in MEASURES.items()
        if any(score(any_record, manifest, "weights", s, split=split, paraphrases=other) is not None for s in streams)
    ]
    figure, axes = _grid(len(rows), len(streams), width=4.5, height=2.8)
    for row, measure in enumerate(rows):
        for column, stream in enumerate(streams):
            _score_lines(axes[row][column], runs, manifest, stream, measure)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=8, title="dashed: with memory")
    return figure


def matrices(results: Mapping[str, Any]) -> Figure | None:
    """R of each finished arm, the mean over its seeds: nights downwards, days across."""
    found = {
        (arm, column): averaged(shape)
        for arm, seeds in results["runs"].items()
        for column in COLUMNS
        if (shape := [run["R"][column] for run in seeds.values() if run["finished"]])
    }
    if not found:
        return None
    arms = list(dict.fromkeys(arm for arm, _ in found))
    days = results["manifest"]["days"]
    figure, axes = _grid(
        len(arms), len(COLUMNS), width=max(4.0, 0.3 * len(days) + 1.5), height=max(3.6, 0.12 * len(days) + 1.5)
    )
    for (arm, column), r in found.items():
        ax = axes[arms.index(arm)][COLUMNS.index(column)]
        image = ax.imshow(r, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        ax.set_title(f"{arm}, {column}", fontsize=10)
        ax.set_xlabel("items of day")
        ax.set_ylabel("after night")
        _days_axis(ax, days)
        every = 1 + (len(r) - 1) // 20
        ax.set_yticks(range(0, len(r), every), [str(night) for night in range(0, len(r), every)], fontsize=7)
        if len(r[0]) <= NUMBERED:
            for i, line in enumerate(r):
                for j, value in enumerate(line):
                    shade = "white" if value < 0.6 else "black"
                    ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=shade)
        figure.colorbar(image, ax=ax)
    return figure


def losses(results: Mapping[str, Any]) -> Figure | None:
    """Each step's loss by its terms, night after night, of each arm's first seed that was trained."""
    curves: dict[str, list[list[Mapping[str, float]]]] = {}
    for arm, seeds in results["runs"].items():
        for run in seeds.values():
            trainings = [night["training"] for night in _nights(run) if night.get("training")]
            if trainings and arm not in curves:
                curves[arm] = [training["losses"] for training in trainings]
    if not curves:
        return None
    figure, axes = _grid(len(curves), 1, width=8.0, height=2.6)
    for row, (arm, nights) in enumerate(curves.items()):
        ax = axes[row][0]
        steps = [step for night in nights for step in night]
        for term, name in TERMS.items():
            values = [step.get(term, 0.0) for step in steps]
            if any(values):
                ax.plot(range(1, len(steps) + 1), values, linewidth=0.9, label=name)
        ends = 0
        for night in nights[:-1]:
            ends += len(night)
            ax.axvline(ends + 0.5, color="grey", linewidth=0.5, linestyle=":")
        ax.set_title(f"{arm}: loss, a dotted line between nights", fontsize=10)
        ax.set_xlabel("step")
        ax.set_ylabel("nats")
        ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def strengths(results: Mapping[str, Any]) -> Figure | None:
    """What the nights' exams found at each strength λ: gain on the lessons, controls kept, and the canaries."""
    nights = {
        arm: [sittings for run in seeds.values() for night in _nights(run) if (sittings := night.get("strengths"))]
        for arm, seeds in results["runs"].items()
    }
    nights = {arm: found for arm, found in nights.items() if found}
    if not nights:
        return None
    panels: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "gain on tonight's lessons": _gain,
        "controls kept": _kept,
        "perplexity, after / before": _perplexity,
        **{title: partial(_canary, name) for name, title in CANARIES.items()},
    }
    figure, axes = _grid(3, -(-len(panels) // 3), width=3.6, height=3.0)
    for ax, (title, value) in zip(axes.flat, panels.items(), strict=True):
        for number, (arm, found) in enumerate(nights.items()):
            for place, sittings in enumerate(found):
                points = sorted((s["strength"], y) for s in sittings if (y := value(s)) is not None)
                # A line joins what one night's exams found: which nights are examined at which strength is no accident.
                if points:
                    label = arm if place == 0 else None
                    ax.plot(*zip(*points, strict=True), ".-", color=f"C{number}", alpha=0.6, linewidth=0.8, label=label)
        if not ax.lines:
            ax.set_axis_off()
            continue
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("strength λ of the adapter")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=6, fontsize=8, title="a line is one night")
    return figure


def _days_axis(ax: Axes, days: Sequence[Mapping[str, Any]]) -> None:
    """Days across: numbered where there is room, and where several streams follow each other, with their names."""
    every = 1 + (len(days) - 1) // 20
    ax.set_xticks(range(0, len(days), every), [str(day + 1) for day in range(0, len(days), every)], fontsize=7)
    begins = [day for day in range(1, len(days)) if days[day]["stream"] != days[day - 1]["stream"]]
    if not begins:
        return
    for day in begins:
        ax.axvline(day - 0.5, color="white", linewidth=1.2)
    names = ax.secondary_xaxis("top")
    names.set_xticks([0, *begins])
    names.set_xticklabels(
        [days[day]["stream"] for day in (0, *begins)], rotation=45, ha="left", fontsize=7, parse_math=False
    )


def _score_lines(ax: Axes, runs: Mapping[str, Any], manifest: Mapping[str, Any], stream: str, measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    split, other = MEASURES[measure]
    for number, (arm, seeds) in enumerate(runs.items()):
        for column in COLUMNS:
            lived = [
                [score(record, manifest, column, stream, split=split, paraphrases=other) for record in run["nights"]]
                for run in seeds.values()
            ]
            means = [mean(known) for night in _transposed(lived) if (known := [x for x in night if x is not None])]
            style, label = ("-", arm) if column == "weights" else ("--", None)
            if ARMS[arm].at_once and len(means) > 1:
                # One night for all days: a level to compare with, not a course.
                ax.axhline(means[-1], linestyle=style, color=f"C{number}", linewidth=0.8, label=label)
            elif means:
                ax.plot(means, style, color=f"C{number}", marker=".", linewidth=1.2, label=label)
    if not ax.lines:
        ax.set_axis_off()
        return
    # The name is somebody's: a dollar sign in it begins no formula.
    ax.set_title(f"{stream}: {measure}", fontsize=10, parse_math=False)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("after night")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _gain(sitting: Mapping[str, Any]) -> float | None:
    tonight = sitting["kinds"].get("tonight")
    return (tonight["after"] - tonight["before"]) / tonight["total"] if tonight else None


def _kept(sitting: Mapping[str, Any]) -> float | None:
    controls = sitting["kinds"].get("control")
    return 1 - controls["lost"] / controls["before"] if controls and controls["before"] else None


def _perplexity(sitting: Mapping[str, Any]) -> float | None:
    return float(sitting["perplexity_ratio"])


def _canary(name: str, sitting: Mapping[str, Any]) -> float | None:
    """None in what was recorded before canaries were kept."""
    found: Mapping[str, float] = sitting.get("canaries", {})
    return found.get(name)


def _transposed(rows: Sequence[Sequence[float | None]]) -> Iterator[list[float | None]]:
    """Columns of rows that may differ in length."""
    for place in range(max(map(len, rows), default=0)):
        yield [row[place] for row in rows if place < len(row)]


def _records(runs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (record for seeds in runs.values() for run in seeds.values() for record in run["nights"])


def _nights(run: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (record["outcome"] for record in run["nights"] if record["outcome"])


def _grid(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    # Not by pyplot: a figure of its own needs no display, and is gone when it is drawn.
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)
