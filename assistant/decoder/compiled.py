"""Where compiled code is kept for the next start: compiling takes ten seconds, reading the result one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import platformdirs

SOURCES = ("forward.py", "packing.py", "vectors.py")
"""What is compiled."""

KEPT = 3
"""Versions of the decoder whose code is kept: who goes back to the one before finds it."""


def folder() -> Path:
    """Named by all that the code depends on: numba itself looks at a function's own file, not at what it calls."""
    base = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("nightschool", appauthor=False)
    digest = hashlib.sha256(numba.__version__.encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return Path(base) / "compiled" / digest.hexdigest()[:16]


def _prepare() -> None:
    kept = folder()
    with suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
        os.utime(kept)
        older = sorted(kept.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for forgotten in older[KEPT:]:
            shutil.rmtree(forgotten, ignore_errors=True)
    numba.config.CACHE_DIR = str(kept)


_prepare()


def jit(function: Callable[..., Any]) -> Any:
    """Compile on the first call, without Python's lock. Where nothing can be kept, the next start compiles again."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)
