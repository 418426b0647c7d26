"""Which version serves, changed by hand: only one that fits the model, and whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from assistant.local import WEIGHTS_FILE
from assistant.turn import adapter_folder
from assistant.versions import promote, roll_back
from memory import testing as nouns
from memory.errors import BadInput, ModelUnavailable
from memory.ledger import Ledger
from memory.records import NightStatus


@pytest.fixture
def ledger() -> Ledger:
    """Without any version."""
    return Ledger.in_memory()


def publish(ledger: Ledger, home: Path, model_id: str) -> str:
    """The next version, trained for `model_id` and active; returns its name."""
    night_id, at = f"n{len(ledger.nights()) + 1}", nouns.NOON
    ledger.request_night(nouns.night(night_id))
    ledger.begin_night(night_id, holder="test", at=at, ttl=timedelta(minutes=1))
    made = replace(nouns.adapter(ledger.name_adapter(night_id), night_id=night_id), model_id=model_id)
    ledger.end_night(night_id, holder="test", status=NightStatus.PROMOTED, reasons=[], at=at, adapter=made)
    folder = adapter_folder(home, made.version)
    folder.mkdir(parents=True)
    # Of which the hash of `nouns.adapter` is.
    (folder / WEIGHTS_FILE).write_text(made.version)
    return made.version


def active(ledger: Ledger) -> str:
    """The version that serves."""
    found = ledger.active_adapter()
    return found.version if found else "base"


def test_a_version_of_another_model_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """The line names both models, and what serves now serves on."""
    publish(ledger, tmp_path, "owner/old")
    publish(ledger, tmp_path, "owner/new")
    with pytest.raises(BadInput) as caught:
        promote(ledger, tmp_path, "v1", model="owner/new")
    told = "v1 was trained for the model owner/old, and owner/new is configured: choose another version, or base"
    assert str(caught.value) == told
    assert active(ledger) == "v2"
    promote(ledger, tmp_path, "v1", model="owner/old")
    assert active(ledger) == "v1"


def test_the_base_fits_every_model(ledger: Ledger, tmp_path: Path) -> None:
    """There is nothing trained about it."""
    publish(ledger, tmp_path, "owner/old")
    promote(ledger, tmp_path, "base", model="owner/new")
    assert active(ledger) == "base"


def test_a_folder_may_be_named_in_any_way(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where one stands, from one's own home, or in full: a version bears its whole path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    publish(ledger, tmp_path, str(tmp_path / "my-model"))
    for name in ("my-model", "./my-model", "~/my-model", str(tmp_path / "my-model")):
        promote(ledger, tmp_path, "base", model=name)
        promote(ledger, tmp_path, "v1", model=name)
        assert active(ledger) == "v1"


def test_rolling_back_passes_over_versions_of_other_models(ledger: Ledger, tmp_path: Path) -> None:
    """To the one before that fits, or to the base; also from one that does not fit itself."""
    for model in ("new", "old", "new", "old"):
        publish(ledger, tmp_path, f"owner/{model}")
    assert roll_back(ledger, tmp_path, model="owner/new") == "v3"
    assert roll_back(ledger, tmp_path, model="owner/new") == "v1"
    assert roll_back(ledger, tmp_path, model="owner/new") == active(ledger) == "base"


def test_a_damaged_version_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """What serves now serves on."""
    publish(ledger, tmp_path, "owner/new")
    publish(ledger, tmp_path, "owner/new")
    (adapter_folder(tmp_path, "v1") / WEIGHTS_FILE).write_text("damaged")
    with pytest.raises(ModelUnavailable, match="v1 is damaged"):
        roll_back(ledger, tmp_path, model="owner/new")
    assert active(ledger) == "v2"
