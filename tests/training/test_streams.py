"""Reading streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.errors import BadInput
from training import general
from training.streams import read, shipped


def test_the_shipped_stream_is_held_out() -> None:
    """Five facts and ten controls, none of which any night replays or asks in its exam."""
    items = shipped()
    used = {item.question for item in [*general.replayed(), *general.controls()]}
    assert [sum(item.split == split for item in items) for split in ("teach", "control")] == [5, 10]
    assert not [q for item in items for q in (item.question, *item.paraphrases) if q in used]
    assert all(item.right(item.answer) for item in items)


@pytest.mark.parametrize("line", ["no json", "[1, 2]", '{"id": "x"}', "3"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    """One line says where it is."""
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(BadInput, match=r"mine\.jsonl, line 1, is no item of a stream"):
        read(file)


def test_a_missing_stream_is_told(tmp_path: Path) -> None:
    """One line, no traceback."""
    with pytest.raises(BadInput, match="can't be read"):
        read(tmp_path / "none.jsonl")
