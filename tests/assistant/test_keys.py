"""The key of a home: made once, never overwritten, and for its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from assistant.keys import keep_key, secret_key
from memory.errors import BadInput

NOWHERE = Path("/proc/nightschool")
"""A home that nobody can make, root included."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "home"


def test_the_key_is_made_once_and_for_its_owner_alone(home: Path) -> None:
    """Also where the home is not there yet; 32 bytes that stay the same."""
    key = secret_key(home / "secret.key")
    assert len(key) == 32
    assert secret_key(home / "secret.key") == key
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
    assert [file.name for file in home.iterdir()] == ["secret.key"]


def test_where_no_key_can_be_kept_there_is_one_for_this_run() -> None:
    """Nothing that it signs is stored either."""
    assert len(secret_key(NOWHERE / "secret.key")) == 32


def test_the_key_of_a_run_is_kept_once_it_can_be(home: Path) -> None:
    """What it signed verifies after the next start too; a key that another process made meanwhile stays."""
    key = secret_key(NOWHERE / "secret.key")
    with pytest.raises(OSError, match="No such file"):
        keep_key(NOWHERE / "secret.key", key)
    keep_key(home / "secret.key", key)
    keep_key(home / "secret.key", key)
    assert secret_key(home / "secret.key") == key
    with pytest.raises(BadInput, match=r"another process has made .*secret\.key meanwhile: start this one again"):
        keep_key(home / "secret.key", bytes(32))
    assert secret_key(home / "secret.key") == key


@pytest.mark.parametrize("content", ["", "\n", "no hex", "ab", "ab" * 31])
def test_a_damaged_key_is_told(home: Path, content: str) -> None:
    """It is never taken for a key, nor overwritten."""
    home.mkdir()
    (home / "secret.key").write_text(content)
    with pytest.raises(BadInput, match=r"secret\.key holds no key: put it back from a backup"):
        secret_key(home / "secret.key")
    assert (home / "secret.key").read_text() == content
