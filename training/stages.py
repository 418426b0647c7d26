"""What a night has finished lies in its folder, one file a stage, so that a night that was cut off goes on from there.

Every file appears whole or not at all: written beside, flushed to the disk, renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` so that a reader, or the next start after a power cut, sees the old file or the new."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True))


def write_text(path: Path, text: str) -> None:
    """See `write_json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        # Half of it is of no use to anybody, and may be half of what somebody said.
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_texts(path: Path) -> dict[str, str]:
    """What was kept there, key → text; of a file that can't be read nothing."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make the files right in `folder`, and their names, durable."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


class Finished:
    """The finished stages of one night, valid for one set of inputs.

    Args:
        folder: the night's.
        inputs: everything that the outcome depends on, as JSON; others than last time start over.
        writing: the context in which a stage's file is written; it may refuse that.
    """

    def __init__(
        self, folder: Path, inputs: Any, writing: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.folder, self._writing, self._anew = folder, writing, False
        stamp = folder / "inputs.json"
        if _read(stamp) != inputs:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(stamp, inputs)

    def once(self, stage: str, work: Callable[[], Any]) -> Any:
        """The JSON result of `stage`: read, where an earlier run got so far, else worked out and kept. What follows one
        that was worked out anew is so, too.
        """
        file = self.folder / f"{stage}.json"
        if self._anew or _read(file) is None:
            found, self._anew = work(), True
            with self._writing():
                write_json(file, found)
        return json.loads(file.read_text("utf-8"))


def _read(file: Path) -> Any:
    """What is in it, or None: a file that is damaged is as good as none."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
