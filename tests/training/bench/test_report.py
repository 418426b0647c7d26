"""What a bench shows: the tables, and plots that are not empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from memory.errors import NightschoolError
from training.bench import plots, report

if TYPE_CHECKING:
    from tests.training.bench.conftest import World

PLOTS = ["loss.png", "r-matrix.png", "scores.png", "strength.png"]


def test_report_and_plots(drawing: World, tmp_path: Path) -> None:
    """Every arm in both columns in the table of each stream, every plot drawn and shown."""
    out = tmp_path / "out"
    drawing.bench(out, arms="memory,joint", seeds="0,1")
    text = (out / "report.md").read_text("utf-8")
    assert sorted(path.name for path in (out / "plots").iterdir()) == PLOTS
    for name in PLOTS:
        pixels = np.asarray(Image.open(out / "plots" / name).convert("L"))
        assert min(pixels.shape) > 200
        assert pixels.std() > 5
        assert f"](plots/{name})" in text
    for stream in ("trees", "stars"):
        table = text.split(f"## {stream}\n\n")[1].split("\n\n")[0].splitlines()
        assert [line.split(" | ")[:2] for line in table[2:]] == [
            [f"| {arm}", column] for arm in ("memory", "joint") for column in ("weights", "memory")
        ]
    assert "| joint | 1 | 3 | 3 promoted |  | 0 |" in text
    assert "| joint | 1 | 3 | flips | 0.00 | 0.00 | 0.00 to 0.25 | yes |" in text
    assert "trees (2 days), then stars (1 day)" in text
    # One stream has probes; without nights every seed is the same.
    gains = text.split("## Probes, before the first night and after the last\n\n")[1].split("\n\n")[0]
    assert len(gains.splitlines()) == 2 + (1 + 2) * 2


def figures(**given: tuple[float | None, float | None, float | None]) -> dict[str, Any]:
    """Figures of a stream, nothing known of those that are not given."""
    names = ("mean", "low", "high")
    return {name: dict(zip(names, given.get(name, (None, None, None)), strict=True)) for name in report.HEADS}


def test_cells() -> None:
    """A mean with its interval where there is one, whole numbers for seconds, a dash for what is not defined."""
    told = figures(acc=(0.5, 0.25, 0.75), bwt=(-0.125, -0.125, -0.125), night_seconds=(61.4, 61.4, 61.4))
    nothing = figures()
    results = {
        "manifest": {"model": {"id": "m", "sha256": "0" * 64}, "days": [{"stream": "s", "session": 1}], "items": {}},
        "summary": {"joint": {"weights": {"s": told}, "memory": {"s": nothing}}},
        "runs": {"joint": {"0": {"finished": True, "nights": []}}},
    }
    lines = report.as_markdown(results).splitlines()
    (weights,) = [line for line in lines if line.startswith("| joint | weights")]
    assert weights.count("–") == len(report.HEADS) - 3  # noqa: RUF001 - the table's dash
    assert "| 0.50 [0.25, 0.75] | -0.12 |" in weights
    assert "| 61 |" in weights


def test_why_nights_were_rejected_is_told(world: World, tmp_path: Path) -> None:
    """With how many, and what cut off a run that is in no table."""
    world.teacher.controls_lost = 40
    world.bench(tmp_path / "out", arms="nll", nights=1)
    world.teacher.breaks = {"train": RuntimeError("no\nmore | memory")}
    with pytest.raises(NightschoolError):
        world.bench(tmp_path / "out", arms="joint", nights=1)
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "| nll | 0 | 1 | 1 rejected | damages: " in text
    assert "Not finished, and in no table: joint, seed 0." in text


def test_plots_of_nothing(tmp_path: Path) -> None:
    """Before anything is finished there is nothing to draw, and what an earlier draw left is taken away."""
    results = {"manifest": {"days": [{"stream": "s", "session": 1}], "items": {}}, "summary": {}, "runs": {}}
    tmp_path.joinpath("loss.png").write_text("old")
    plots.draw(results, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_nights_no_loss_is_drawn(drawing: World, tmp_path: Path) -> None:
    """Only what there is data for."""
    drawing.bench(tmp_path / "out", arms="base")
    assert sorted(path.name for path in (tmp_path / "out" / "plots").iterdir()) == ["r-matrix.png", "scores.png"]


def test_a_name_is_no_formula(drawing: World, tmp_path: Path) -> None:
    """A stream may be called as it likes: matplotlib would typeset what stands between dollar signs, or fail at it."""
    star = json.loads(drawing.streams[1].read_text("utf-8"))
    named = drawing.stream("named", [star | {"stream": "price $x_$"}])
    drawing.bench(tmp_path / "out", arms="base", streams=[named])
    assert (tmp_path / "out" / "plots" / "scores.png").is_file()


def sitting(strength: float, **canaries: float) -> dict[str, Any]:
    """What a record keeps of an exam at a strength."""
    control = {"total": 4, "before": 4, "after": 3, "lost": 1}
    return {"strength": strength, "perplexity_ratio": 1.01, "kinds": {"control": control}} | (
        {"canaries": canaries} if canaries else {}
    )


def test_every_canary_is_drawn_against_the_strength() -> None:
    """Each in a panel of its own; nights that were recorded before canaries were kept have none to show."""
    told = {"length": 12.0, "repetition": 0.1, "refusals": 0.2, "flattery": 0.3, "leaks": 0.4, "flips": 0.5}
    night = {"outcome": {"strengths": [sitting(1.25, **told), sitting(1.0)]}}
    figure = plots.strengths({"runs": {"joint": {"0": {"nights": [night]}}}})
    assert figure is not None
    drawn = {ax.get_title(): [tuple(line.get_data()[1]) for line in ax.lines] for ax in figure.axes}
    assert {title: drawn[title] for title in plots.CANARIES.values()} == {
        title: [(told[name],)] for name, title in plots.CANARIES.items()
    }
    assert drawn["controls kept"] == [(0.75, 0.75)]


def test_a_name_of_two_lines(world: World, tmp_path: Path) -> None:
    """A stream may be called as it likes: its heading and the sentence that names it stay lines of their own."""
    star = json.loads(world.streams[1].read_text("utf-8"))
    world.bench(
        tmp_path / "out", arms="base", streams=[world.stream("two", [star | {"stream": "a\n\n## The arms\nb"}])]
    )
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Bench",
        "## a ## The arms b",
        "## The arms",
    ]
    assert "a ## The arms b (1 day). " in text
