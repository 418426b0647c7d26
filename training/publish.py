"""Placing an adapter where the day can find it. Until the ledger names its version active, nobody looks there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.local import MANIFEST
from assistant.models import sha256_of
from training.stages import sync_folder, sync_tree, write_json


def place(source: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Copy an adapter's folder to its published place: flushed first, then renamed, so that it is whole or not there.

    A manifest beside the weights holds every file's sha256 and `facts`. A `target` that is there already is what a
    night left that was killed before its last transaction; it is replaced.
    """
    beside = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, beside)
    hashes = {path.name: sha256_of(path) for path in sorted(beside.iterdir())}
    write_json(beside / MANIFEST, {"version": target.name, "sha256": hashes, **facts})
    sync_tree(beside)
    if target.exists():
        shutil.rmtree(target)
    beside.rename(target)
    sync_folder(target.parent)
