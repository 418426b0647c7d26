"""Public sets at the end of a run: each version asked once, the base beside it, the answers kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant.engine import AdapterFiles
from assistant.local import check_adapter
from training.bench import PublicSets
from training.progress import Progress
from training.public_sets import Question, Scores

if TYPE_CHECKING:
    from tests.training.bench.conftest import World

QUESTIONS = {
    "piqa": [Question("piqa-1", "To open:", (" turn", " sing"), 0)],
    "boolq": [Question(f"boolq-{n}", "Is it?", (" no", " yes"), 1) for n in range(4)],
}


class Asked:
    """Public sets whose base is right on everything; a version is wrong on one question of BoolQ."""

    def __init__(self) -> None:
        self.versions: list[str | None] = []
        self.sets = PublicSets(QUESTIONS, self.score)

    def score(self, adapter: AdapterFiles | None, progress: Progress) -> Scores:
        if adapter is not None:
            check_adapter(adapter)
        self.versions.append(adapter.version if adapter else None)
        progress(1.0, "question 5/5")
        likely = {"piqa": {"piqa-1": [-1.0, -2.0]}, "boolq": {f"boolq-{n}": [-2.0, -1.0] for n in range(4)}}
        if adapter is not None:
            likely["boolq"]["boolq-2"] = [-1.0, -2.0]
        return likely


def test_what_serves_in_the_end_beside_the_base(world: World, tmp_path: Path) -> None:
    """In the results and the report, with every answer; a run without nights is the base itself."""
    asked, out = Asked(), tmp_path / "out"
    found = world.bench(out, arms="base,joint", public=asked.sets)
    assert asked.versions == [None, "v3"]
    joint = found["runs"]["joint"]["0"]["public_sets"]
    assert joint["adapter"] == "v3"
    boolq = joint["sets"]["boolq"]
    assert (boolq["before"], boolq["after"], boolq["difference"], boolq["holds"]) == (1, 0.75, -25, False)
    assert boolq["answers"]["boolq-2"] == [1, 1, 0]
    base = found["runs"]["base"]["0"]["public_sets"]
    assert (base["adapter"], base["sets"]["boolq"]["difference"]) == ("base", 0)
    report = (out / "report.md").read_text("utf-8")
    assert "| joint | 0 | boolq | v3 | 100.0% | 75.0% | -25.0 [-25.0, +23.8] | no |" in report
    assert json.loads((out / "results.json").read_bytes()) == json.loads(json.dumps(found))


def test_a_finished_bench_gets_them_later(world: World, tmp_path: Path) -> None:
    """Without living through its days again, and no version is asked twice."""
    asked, out = Asked(), tmp_path / "out"
    first = world.bench(out)
    assert first["runs"]["joint"]["0"]["public_sets"] is None
    assert "Public sets" not in (out / "report.md").read_text("utf-8")
    calls = list(world.teacher.calls)
    later = world.bench(out, public=asked.sets)
    assert world.bench(out, public=asked.sets) == later
    assert world.teacher.calls == calls
    assert asked.versions == [None, "v3"]
    assert later["summary"] == first["summary"]


@pytest.mark.parametrize("damaged", ["base.json", "runs/joint/seed-0/public-sets.json"])
def test_damaged_files_are_made_again(world: World, tmp_path: Path, damaged: str) -> None:
    """What can't be read is asked anew, and the results are the same."""
    asked, out = Asked(), tmp_path / "out"
    first: Any = world.bench(out, nights=1, public=asked.sets)
    file = out / damaged if "/" in damaged else out / "public-sets" / damaged
    file.write_text("{")
    (out / "runs" / "joint" / "seed-0" / "public-sets.json").unlink()
    assert world.bench(out, nights=1, public=asked.sets) == first
