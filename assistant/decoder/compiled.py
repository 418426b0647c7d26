"""Where compiled code is kept for the next start: compiling takes ten seconds, reading the result one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
import platformdirs
from filelock import FileLock, Timeout

SOURCES = ("compiled.py", "forward.py", "packing.py", "shape.py", "vectors.py")
"""What is compiled."""

KEPT = 3
"""Versions of the decoder whose code is kept: who goes back to the one before finds it."""


WAIT_SECONDS = 60
"""How long one process waits for another that compiles."""


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


@contextmanager
def one_process() -> Iterator[None]:
    """For who may compile: another process waits, and then reads what it would have compiled itself."""
    lock = FileLock(folder() / "lock", timeout=WAIT_SECONDS)
    with ExitStack() as held:
        # Where nothing can be kept, or somebody compiles for ever, each compiles for itself.
        with suppress(OSError, Timeout):
            held.enter_context(lock)
        yield


def jit(function: Callable[..., Any]) -> Any:
    """Compile on the first call, without Python's lock. Where nothing can be kept, the next start compiles again.

    NumPy's way with divisions by zero: there are none, and looking for them is a quarter of what is compiled.
    """
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)
