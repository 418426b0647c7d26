"""A copy of a model's NF4 weights as plain floats, so that a start on a CPU reads them instead of making them.

Quantising and unpacking the embedded model takes six seconds of every start, most of it the import of what does it;
reading the result takes one. The copy is made at the first load, written whole or not at all, and made anew when it is
missing, was changed, or belongs to other weights. Whoever can't write it loads as before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assistant.models import MANIFEST, ModelFiles, digests_of

LARGEST = 2 * 1024**3
"""Bytes over which no copy is kept: a model of that size gains seconds and costs more disk than all the rest."""

FORMAT = "nf4-double-quantised-1"
"""Part of what the copy is named by: another quantisation gives other values."""


def find(files: ModelFiles, folder: Path) -> Path | None:
    """The copy of `files` under `folder`, its hashes checked, or None where there is none that is whole."""
    copy = _place(files, folder)
    try:
        expected = json.loads((copy / MANIFEST).read_text("utf-8"))["files"]
        found = digests_of([copy / name for name in expected], folder / "hashes.json")
        whole = bool(expected) and all(found[copy / name] == sha256 for name, sha256 in expected.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return copy if whole else None


def keep(model: Any, files: ModelFiles, folder: Path) -> None:
    """Write `model`, unpacked, as the copy of `files`. A disk that is full or read-only is no error."""
    from safetensors import SafetensorError

    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    # safetensors has an error of its own for a disk that is full.
    with suppress(OSError, RuntimeError, ValueError, SafetensorError, Timeout):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            if find(files, folder) is None and size <= min(LARGEST, shutil.disk_usage(folder).free // 2):
                _write(model, files, folder)


def _write(model: Any, files: ModelFiles, folder: Path) -> None:
    for left_behind in folder.glob(".draft-*"):
        # By a process that was killed while it wrote: the lock says that nobody writes now.
        shutil.rmtree(left_behind, ignore_errors=True)
    copy = _place(files, folder)
    draft = folder / f".draft-{copy.name}"
    try:
        draft.mkdir()
        model.save_pretrained(draft)
        sha256 = digests_of(sorted(draft.iterdir()), folder / "hashes.json")
        manifest = {"of": files.sha256, "files": {file.name: digest for file, digest in sha256.items()}}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        shutil.rmtree(copy, ignore_errors=True)
        draft.rename(copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _place(files: ModelFiles, folder: Path) -> Path:
    """By the weights and by what is read with them: the same weights under another config are another model."""
    digest = hashlib.sha256(f"{FORMAT} {files.sha256}".encode())
    for name in ("config.json", "generation_config.json"):
        file = files.path / name
        digest.update(file.read_bytes() if file.is_file() else b"")
    return folder / digest.hexdigest()[:24]
