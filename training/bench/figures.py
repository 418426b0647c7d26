"""From the records of nights to figures: the R matrix of a run, what it scores, and the summary over seeds. Pure.

A record's `answers[column][item id]` holds the answers to an item, as asked first and then to its paraphrases, and
whether each was right. A column is `weights` (asked without recall) or `memory` (with it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, Literal

from memory.records import NightStatus
from training.bench import metrics
from training.statistics import gain_at_least

Column = Literal["weights", "memory"]
COLUMNS: tuple[Column, ...] = ("weights", "memory")

SHARE, CHANGE, AMOUNT = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)

FIGURES = {
    "as_asked": SHARE,
    "paraphrases": SHARE,
    "probes": SHARE,
    "controls_kept": SHARE,
    "acc": SHARE,
    "bwt": CHANGE,
    "fwt": CHANGE,
    "forgetting": SHARE,
    "perplexity_ratio": AMOUNT,
    "night_seconds": AMOUNT,
    "peak_mb": AMOUNT,
}
"""Figure → between which values it lies."""

Record = Mapping[str, Any]


def lived(records: Sequence[Record], manifest: Mapping[str, Any], nights: int) -> dict[str, Any]:
    """A run as `results.json` tells it; `finished` when all of its `nights` have been."""
    return {
        "finished": len(records) == nights + 1,
        "R": {column: matrix(records, manifest, column) for column in COLUMNS},
        "nights": list(records),
    }


def summary(runs: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """By arm → column → stream → figure → {mean, low, high} over the seeds that are finished."""
    streams = dict.fromkeys(day["stream"] for day in manifest["days"])
    told: dict[str, Any] = {}
    for arm, seeds in runs.items():
        finished = [run["nights"] for run in seeds.values() if run["finished"]]
        if finished:
            told[arm] = {
                column: {stream: _over_seeds(finished, manifest, column, stream) for stream in streams}
                for column in COLUMNS
            }
    return told


def matrix(records: Sequence[Record], manifest: Mapping[str, Any], column: Column) -> list[list[float]]:
    """R: a row for each record, a column for each day of all streams; see `training.bench.metrics`."""
    of_day = [
        [item_id for item_id, item in manifest["items"].items() if item["day"] == day]
        for day in range(1, len(manifest["days"]) + 1)
    ]
    return [[mean(asked_right(record, column, item_id) for item_id in ids) for ids in of_day] for record in records]


def score(
    record: Record, manifest: Mapping[str, Any], column: Column, stream: str, *, split: str, paraphrases: bool = False
) -> float | None:
    """Share in [0, 1] of right answers after one night, as asked or to all paraphrases; None where there are none."""
    marks = [
        right
        for item_id in items_of(manifest, stream, split)
        for right in (_right(record, column, item_id)[1:] if paraphrases else _right(record, column, item_id)[:1])
    ]
    return mean(marks) if marks else None


def items_of(manifest: Mapping[str, Any], stream: str, split: str) -> list[str]:
    """Ids of a stream's items of one split."""
    return [i for i, item in manifest["items"].items() if item["stream"] == stream and item["split"] == split]


def asked_right(record: Record, column: Column, item_id: str) -> bool:
    """Whether an item was answered right, as asked."""
    return _right(record, column, item_id)[0]


def figures(
    records: Sequence[Record], manifest: Mapping[str, Any], column: Column, stream: str
) -> dict[str, float | None]:
    """What one finished run scores on one stream in the end. Shares are of 1; `FIGURES` names them all."""
    r, last = matrix(records, manifest, column), records[-1]
    days = [number for number, day in enumerate(manifest["days"], start=1) if day["stream"] == stream]
    return {
        "as_asked": score(last, manifest, column, stream, split="teach"),
        "paraphrases": score(last, manifest, column, stream, split="teach", paraphrases=True),
        "probes": score(last, manifest, column, stream, split="probe"),
        "controls_kept": _controls_kept(records, manifest, column, stream),
        "acc": metrics.acc(r, days),
        "bwt": metrics.bwt(r, days),
        "fwt": metrics.fwt(r, days),
        "forgetting": metrics.forgetting(r, days),
        "perplexity_ratio": perplexity_ratio(records),
        "night_seconds": _of_nights(records, mean, "seconds"),
        "peak_mb": _of_nights(records, max, "peak_mb"),
    }


def gain(records: Sequence[Record], manifest: Mapping[str, Any], column: Column, stream: str) -> dict[str, Any] | None:
    """How many of a stream's probes were right before the first night and after the last: {asked, before, after, low,
    high}, the last two the bounds of the net gain as a share of them, at 95 %: exact, of the share of gains among those
    that changed. None for a stream without any.
    """
    marks = [
        (asked_right(records[0], column, item_id), asked_right(records[-1], column, item_id))
        for item_id in items_of(manifest, stream, "probe")
    ]
    if not marks:
        return None
    gained, lost = marks.count((False, True)), marks.count((True, False))
    return {
        "asked": len(marks),
        "before": sum(before for before, _ in marks),
        "after": sum(after for _, after in marks),
        "low": gain_at_least(gained, lost, len(marks), chance=0.025),
        "high": -gain_at_least(lost, gained, len(marks), chance=0.025) + 0.0,
    }


def perplexity_ratio(records: Sequence[Record]) -> float:
    """Perplexity on fixed text of what serves in the end, over the base's. 1 where no night was published."""
    base = serves = None
    for night in _nights(records):
        told = night.get("perplexity")
        if told and base is None:
            base = told["before"]
        if night["status"] == "promoted":
            serves = told["after"] if told else base
    return serves / base if serves and base else 1.0


def _over_seeds(
    runs: Sequence[Sequence[Record]], manifest: Mapping[str, Any], column: Column, stream: str
) -> dict[str, Any]:
    told = [figures(records, manifest, column, stream) for records in runs]
    return {name: metrics.interval((one[name] for one in told), within=bounds) for name, bounds in FIGURES.items()}


def _controls_kept(records: Sequence[Record], manifest: Mapping[str, Any], column: Column, stream: str) -> float | None:
    """Of the controls that were right before the first night, as asked, the share that is right after the last."""
    held = [i for i in items_of(manifest, stream, "control") if asked_right(records[0], column, i)]
    return mean(asked_right(records[-1], column, item_id) for item_id in held) if held else None


def _right(record: Record, column: Column, item_id: str) -> list[bool]:
    marks: list[bool] = record["answers"][column][item_id]["right"]
    return marks


def _nights(records: Sequence[Record]) -> Iterator[Mapping[str, Any]]:
    yield from (record["outcome"] for record in records if record["outcome"])


def _of_nights(records: Sequence[Record], combine: Callable[[list[float]], float], name: str) -> float | None:
    # Where there was nothing to learn, there was no night to speak of.
    busy = [night for night in _nights(records) if night["status"] != NightStatus.NOTHING_TO_LEARN]
    values = [night[name] for night in busy if night.get(name) is not None]
    return combine(values) if values else None
