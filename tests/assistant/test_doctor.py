"""What `nightschool doctor` finds: every look ends with a finding, whatever is broken."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from assistant import testing
from assistant.doctor import FITS, Finding, examine
from assistant.settings import Settings
from memory import testing as nouns
from memory.ledger import Ledger
from memory.records import NightStatus


def found(home: Path, models_dir: Path | None = None) -> dict[str, Finding]:
    """Findings by what was looked at; each is told in one line."""
    findings = examine(Settings(home=home, models_dir=models_dir))
    assert all(finding.told and "\n" not in finding.told for finding in findings)
    return {finding.what: finding for finding in findings}


def test_a_home_without_models_says_how_to_get_them(tmp_path: Path) -> None:
    """Nothing else is wrong with it."""
    findings = found(tmp_path)
    bad = {what: finding.told for what, finding in findings.items() if not finding.ok}
    assert set(bad) == {"model", "embedder"}
    assert all("run `nightschool fetch`" in told for told in bad.values())
    assert findings["ledger"].told == "none yet: it is made with the first start"
    assert not (tmp_path / "ledger.db").exists()


def test_one_distribution_owns_the_packages(tmp_path: Path) -> None:
    """Also where it is installed in place, as `make chat` does."""
    finding = found(tmp_path)["installation"]
    assert finding.ok, finding.told
    assert finding.told.startswith("nightschool 0.")


def test_a_home_that_can_not_be_made_is_told() -> None:
    """It has no room, and nothing is there to be damaged."""
    findings = found(Path("/proc/nightschool"))
    assert not findings["disk"].ok
    assert findings["ledger"].ok


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    """What needs it is told as well; the rest is looked at all the same."""
    (tmp_path / "ledger.db").write_bytes(b"no database, " * 1000)
    findings = found(tmp_path)
    assert not findings["ledger"].ok
    assert "put a backup in its place" in findings["ledger"].told
    assert findings["hardware"].ok


def test_a_folder_in_the_ledgers_place_is_told(tmp_path: Path) -> None:
    """It is not no ledger."""
    (tmp_path / "ledger.db").mkdir()
    finding = found(tmp_path)["ledger"]
    assert (finding.ok, "it is no file" in finding.told) == (False, True)


def test_a_version_whose_files_are_not_the_published_ones_is_told(tmp_path: Path) -> None:
    """Before somebody asks it something."""
    ledger, at = Ledger.open(tmp_path / "ledger.db"), nouns.NOON
    ledger.request_night(nouns.night("n1"))
    ledger.begin_night("n1", holder="test", at=at, ttl=timedelta(minutes=1))
    made = nouns.adapter(ledger.name_adapter("n1"))
    ledger.end_night("n1", holder="test", status=NightStatus.PROMOTED, reasons=["so"], at=at, adapter=made)
    ledger.close()

    assert "has no adapter_model.safetensors" in found(tmp_path)["adapter"].told
    (tmp_path / "adapters" / "v1").mkdir(parents=True)
    weights = tmp_path / "adapters" / "v1" / "adapter_model.safetensors"
    weights.write_text("other")
    assert "v1 is damaged" in found(tmp_path)["adapter"].told
    # Of which the hash of `nouns.adapter` is.
    weights.write_text("v1")
    assert found(tmp_path)["adapter"].told.startswith("v1 serves, sha256 ")


def test_larger_cards_fit_larger_models() -> None:
    """The table is read from the largest down."""
    assert [least for least, _ in FITS] == sorted((least for least, _ in FITS), reverse=True)


def test_the_embedder_that_is_set_is_looked_at(tmp_path: Path) -> None:
    """And not the one that comes along."""
    settings = Settings(home=tmp_path, models_dir=tmp_path, recall_embedder=str(tmp_path / "mine"))
    (told,) = [finding for finding in examine(settings) if finding.what == "embedder"]
    assert (told.ok, told.told) == (
        False,
        f"{tmp_path / 'mine'} holds no sentence-transformers model (modules.json is missing)",
    )


@pytest.mark.model
def test_a_whole_home_is_well(tmp_path: Path, models_dir: Path) -> None:
    """With models, ledger and a damaged index, which alone is told."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    ledger.add_exchange(nouns.exchange())
    ledger.close()
    findings = found(tmp_path, models_dir)
    assert all(finding.ok for finding in findings.values()), findings
    assert findings["ledger"].told == "1 exchange, 0 lessons"
    assert findings["model"].told.startswith("embedded in ")
    assert findings["embedder"].told.endswith(", 384 numbers a text")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "meta.json").write_text("{")
    assert [what for what, finding in found(tmp_path, models_dir).items() if not finding.ok] == ["index"]


def test_the_server_that_answers_is_looked_at(tmp_path: Path) -> None:
    """What it can do, or why it can't."""
    server = testing.ScriptedServer()
    with server.running() as url:
        settings = Settings(home=tmp_path, engine="remote", remote_url=url, remote_model="base", model="owner/not-here")
        (told,) = [finding for finding in examine(settings) if finding.what == "engine"]
        assert told.told == f"remote: {url} answers, context 4096, tokens are estimated: the weights are not here"
        server.models = ["llama"]
        (told,) = [finding for finding in examine(settings) if finding.what == "engine"]
    assert (told.ok, told.told) == (
        False,
        f"the model's server at {url} serves 'llama', not 'base': set remote_model",
    )
