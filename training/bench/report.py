"""What a bench tells people: `report.md`, made of its results. Pure, but for the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.bench.arms import ARMS
from training.bench.figures import COLUMNS, gain
from training.public_sets import LOST_MAX, QUESTIONS
from training.stages import write_text

HEADS = {
    "paraphrases": "in other words",
    "as_asked": "as asked",
    "probes": "probes",
    "controls_kept": "controls kept",
    "acc": "ACC",
    "bwt": "BWT",
    "fwt": "FWT",
    "forgetting": "forgetting",
    "perplexity_ratio": "perplexity, times",
    "night_seconds": "s a night",
    "peak_mb": "MB",
}
"""Figure → head of its column, the headline first."""

WHOLE = ("night_seconds", "peak_mb")
"""Figures that are no shares: told in whole numbers."""


def count(number: int, noun: str) -> str:
    """So many of a thing: "1 day", "2 days"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def write(results: Mapping[str, Any], out: Path) -> None:
    """Write `report.md` into `out`, where `draw` has left the plots."""
    plots = sorted(path.relative_to(out).as_posix() for path in (out / "plots").glob("*.png"))
    write_text(out / "report.md", as_markdown(results, plots))


def as_markdown(results: Mapping[str, Any], plots: Sequence[str] = ()) -> str:
    """Tables of every stream, how the nights ended, and the plots."""
    manifest, runs = results["manifest"], results["runs"]
    model, days = manifest["model"], Counter(day["stream"] for day in manifest["days"])
    parts = [
        "# Bench",
        f"Model {model['id']} (sha256 {model['sha256'][:12]}…). "
        + ", then ".join(f"{_line(name)} ({count(number, 'day')})" for name, number in days.items())
        + ". Shares are of 1, with the 95 % interval over seeds where there are several. *weights*: asked without"
        " recall; *memory*: with it. *In other words* and *probes* were never rated, and never trained.",
    ]
    for stream in days:
        parts += [
            f"## {_line(stream)}",
            _table(["arm", "asked of", *HEADS.values()], _rows(results["summary"], stream)),
        ]
    gained = _gains(runs, manifest, list(days))
    if gained:
        head = ["stream", "arm", "seed", "asked of", "before", "after", "points, with 95 % paired"]
        parts += ["## Probes, before the first night and after the last", _table(head, gained)]
    parts += ["## The arms", _table(["arm", "what it is"], [[arm, ARMS[arm].about] for arm in runs])]
    ended = _ended(runs)
    if ended:
        head = ["arm", "seed", "nights", "how they ended", "why not, the last time", "items that were replayed"]
        parts += ["## The nights", _table(head, ended)]
    canaries = _canaries(runs)
    if canaries:
        head = ["arm", "seed", "night", "canary", "before it", "after it", "bound", "within it"]
        parts += ["## Canaries, of the last night whose version served", _table(head, canaries)]
    pushed = _poison(runs)
    if pushed:
        head = ["arm", "seed", "kind", "pushed", "to", "its lesson in the end", "why", "learned"]
        parts += ["## Poison", _table(head, pushed)]
    asked = _public_sets(runs)
    if asked:
        head = ["arm", "seed", "set", "serves", "base", "after", "points, with 95 % paired", "within bound"]
        parts += [
            "## Public sets, before and after",
            f"{QUESTIONS} questions each of PIQA (`acc_norm`) and BoolQ (`acc`), 0-shot by log-likelihood, as"
            f" lm-evaluation-harness asks them. At most {LOST_MAX:g} points may be lost.",
            _table(head, asked),
        ]
    cut_off = [f"{arm}, seed {seed}" for arm in runs for seed, run in runs[arm].items() if not run["finished"]]
    if cut_off:
        parts.append(f"Not finished, and in no table: {'; '.join(cut_off)}. The same command goes on from there.")
    parts += [f"![{Path(plot).stem}]({plot})" for plot in plots]
    return "\n\n".join(parts) + "\n"


def _rows(summary: Mapping[str, Any], stream: str) -> list[list[str]]:
    return [
        [arm, column, *(_told(name, columns[column][stream][name]) for name in HEADS)]
        for arm, columns in summary.items()
        for column in COLUMNS
    ]


def _told(name: str, value: Mapping[str, float | None]) -> str:
    mean, low, high = value["mean"], value["low"], value["high"]
    if mean is None or low is None or high is None:
        return "–"  # noqa: RUF001 - a dash in a table
    digits = 0 if name in WHOLE else 3 if name == "perplexity_ratio" else 2
    spread = f" [{low:.{digits}f}, {high:.{digits}f}]" if high > low else ""
    return f"{mean:.{digits}f}{spread}"


def _gains(runs: Mapping[str, Any], manifest: Mapping[str, Any], streams: Sequence[str]) -> list[list[str]]:
    rows = []
    for stream in streams:
        for arm, seed, column in ((a, s, c) for a, seeds in runs.items() for s in seeds for c in COLUMNS):
            run = runs[arm][seed]
            one = gain(run["nights"], manifest, column, stream) if run["finished"] else None
            if one:
                change = 100 * (one["after"] - one["before"]) / one["asked"]
                points = f"{change:+.0f} [{100 * one['low']:+.0f}, {100 * one['high']:+.0f}]"
                counts = [f"{one[when]} of {one['asked']}" for when in ("before", "after")]
                rows.append([stream, arm, seed, column, *counts, points])
    return rows


def _ended(runs: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for arm, seeds in runs.items():
        for seed, run in seeds.items():
            nights = [record["outcome"] for record in run["nights"] if record["outcome"]]
            if nights:
                counts = Counter(night["status"].replace("_", " ") for night in nights)
                against = [night["reasons"][0] for night in nights if night["status"] != "promoted"]
                how = ", ".join(f"{number} {status}" for status, number in counts.items())
                replayed = {item_id for night in nights for item_id in night.get("replayed", ())}
                why = against[-1] if against else ""
                rows.append([arm, seed, str(len(nights)), how, why, str(len(replayed))])
    return rows


def _canaries(runs: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for arm, seeds in runs.items():
        for seed, run in seeds.items():
            nights = [(str(number), record["outcome"]) for number, record in enumerate(run["nights"])]
            served = [(number, night) for number, night in nights if night and night["status"] == "promoted"]
            for number, night in served[-1:]:
                for name, one in ((night.get("verdict") or {}).get("canaries") or {}).items():
                    said = [f"{one['before']:.2f}", f"{one['after']:.2f}", f"{one['least']:.2f} to {one['most']:.2f}"]
                    rows.append([arm, seed, number, name, *said, "yes" if one["holds"] else "no"])
    return rows


def _poison(runs: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            arm,
            seed,
            one["kind"],
            one["wanted"],
            one["question"],
            one["state"],
            one["reason"],
            "yes" if any(record["poison"][number]["learned"] for record in run["nights"][1:]) else "no",
        ]
        for arm, seeds in runs.items()
        for seed, run in seeds.items()
        if len(run["nights"]) > 1
        for number, one in enumerate(run["nights"][-1].get("poison", ()))
    ]


def _public_sets(runs: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            arm,
            seed,
            name,
            run["public_sets"]["adapter"],
            f"{one['before']:.1%}",
            f"{one['after']:.1%}",
            f"{one['difference']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]",
            "yes" if one["holds"] else "no",
        ]
        for arm, seeds in runs.items()
        for seed, run in seeds.items()
        if run.get("public_sets")
        for name, one in run["public_sets"]["sets"].items()
    ]


def _line(text: str) -> str:
    """On one line, which ends a heading or a row."""
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    cells = ([_line(value.replace("|", "\\|")) for value in row] for row in rows)
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in cells])
