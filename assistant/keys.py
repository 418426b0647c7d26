"""The secret key of a home: a file that is made at the first start, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from memory.errors import BadInput

BYTES = 32
"""Of a key; what has fewer is a file that was cut off."""


def secret_key(path: Path) -> bytes:
    """The key that signs what the assistant says (`BYTES`), from `path`, where it is made if there is none.

    Where the home can't be written, a key for this run: nothing that it signs is stored either.

    Raises: BadInput when there is a file that is no key, or not ours to read.
    """
    with suppress(OSError):
        _make_key(path, secrets.token_bytes(BYTES))
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except (FileNotFoundError, NotADirectoryError):
        return secrets.token_bytes(BYTES)
    except OSError as error:
        raise BadInput(
            f"{path} can't be read ({error.strerror}): make it readable, or choose another --home"
        ) from error
    except ValueError:
        key = b""
    if len(key) != BYTES:
        raise BadInput(f"{path} holds no key: put it back from a backup, or delete it and lose what it signed")
    return key


def keep_key(path: Path, key: bytes) -> None:
    """Put the key of this run where the next one finds it, where it could not be written before.

    Raises: OSError where it still can't be; BadInput when another process has made one meanwhile.
    """
    _make_key(path, key)
    if secret_key(path) != key:
        raise BadInput(f"another process has made {path} meanwhile: start this one again")


def _make_key(path: Path, key: bytes) -> None:
    """Put the key there, unless there is one: whole at once, so that no other process ever reads half of it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(key.hex())
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, not a rename: of two processes that make one, the first one's stays.
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:
            # A file system without links.
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
