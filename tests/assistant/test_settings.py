"""Settings: which source wins, and one clear line for what can't be taken."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from assistant.settings import FILE, load
from assistant.settings import Settings as DaySettings
from memory.errors import BadInput
from memory.testing import NOON
from training.settings import NightSettings, Settings


def refusal(home: Path, environ: dict[str, str] | None = None, **overrides: object) -> str:
    """The line with which these settings are refused."""
    with pytest.raises(BadInput) as caught:
        load(Settings, environ=environ or {}, home=home, **overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


def write(home: Path, text: str) -> Path:
    """The settings file of a home."""
    (home / FILE).write_text(text, encoding="utf-8")
    return home


def test_without_sources_the_defaults_hold(tmp_path: Path) -> None:
    """A fresh home needs no file."""
    settings = load(Settings, environ={}, home=tmp_path)
    assert (settings.port, settings.model, settings.night.epochs) == (7860, "embedded", Settings().night.epochs)
    assert settings.models == tmp_path / "models"


def test_the_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    """Each source overrules the ones after it, setting by setting, in the night's table too."""
    write(tmp_path, 'port = 1\nmodel = "file"\nhost = "::1"\n[night]\nepochs = 1\nrank = 1\nseed = 1\n')
    environ = {"NIGHTSCHOOL_PORT": "2", "NIGHTSCHOOL_MODEL": "env", "NIGHTSCHOOL_NIGHT__EPOCHS": "2"}
    environ["NIGHTSCHOOL_NIGHT__RANK"] = "2"
    settings = load(Settings, environ=environ, home=tmp_path, port=3, host=None, night={"epochs": 3})
    assert (settings.port, settings.model, settings.host) == (3, "env", "::1")
    assert (settings.night.epochs, settings.night.rank, settings.night.seed) == (3, 2, 1)


def test_the_home_of_the_environment_holds_the_file(tmp_path: Path) -> None:
    """`NIGHTSCHOOL_HOME` says where to look for the file."""
    write(tmp_path, "port = 1\n")
    settings = load(Settings, environ={"NIGHTSCHOOL_HOME": str(tmp_path)})
    assert (settings.home, settings.port) == (tmp_path, 1)


def test_variables_of_other_programs_are_not_ours(tmp_path: Path) -> None:
    """Only the prefix counts."""
    assert load(Settings, environ={"PORT": "x", "NIGHT": "y"}, home=tmp_path).port == 7860


def test_relative_homes_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command is started in must not decide later where data lies."""
    monkeypatch.chdir(tmp_path)
    assert load(Settings, environ={}, home=Path("here")).home == tmp_path / "here"
    assert load(Settings, environ={"HOME": "/"}, home=Path("~/x")).home == Path("~/x").expanduser()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1", "unknown setting 'prot': the settings are answer_seconds, "),
        ("[night]\nepocs = 1", "unknown setting 'night.epocs': the settings are alpha, answer_tokens, "),
        ("port = 'x'", "setting 'port' is 'x': input should be a valid integer"),
        ("port = 70000", "setting 'port' is '70000': input should be less than or equal to 65535"),
        ("weights = 'half'", "setting 'weights' is 'half': input should be 'auto', 'packed' or 'unpacked'"),
        ("nightly_at = '25:00'", "setting 'nightly_at' is '25:00'"),
        ("night = 3", "setting 'night' is '3'"),
        ("[night]\nepochs = 0", "setting 'night.epochs' is '0': input should be greater than or equal to 1"),
        ("[night]\nscales = [1.0, 'x']", "setting 'night.scales.1' is 'x'"),
        ("port =", "nightschool.toml can't be read"),
        ("port = 1\nport = 2", "nightschool.toml can't be read"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    """It names the setting and what is allowed, also within the night's table."""
    assert refusal(write(tmp_path, text)).startswith(named)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("NIGHTSCHOOL_PROT", "1", "unknown setting 'prot'"),
        ("NIGHTSCHOOL_NIGHT__EPOCS", "1", "unknown setting 'night.epocs': the settings are alpha"),
        ("NIGHTSCHOOL_PORT", "", "setting 'port' is ''"),
        ("NIGHTSCHOOL_MODELS_DIR", "", "setting 'models_dir' is '': value error, name a folder"),
        ("NIGHTSCHOOL_PORT", "eighty", "setting 'port' is 'eighty'"),
        ("NIGHTSCHOOL_PORT__X", "1", "setting 'port' is"),
        ("NIGHTSCHOOL_NIGHT", "3", "setting 'night' is '3'"),
        ("NIGHTSCHOOL_NIGHT", "{", "setting 'night' is '{': write it as JSON, like {\"epochs\": 3}"),
        ("NIGHTSCHOOL_NIGHT__SCALES", "1.0,0.5", "setting 'night.scales' is '1.0,0.5': write it as JSON, like [1.0, "),
        ("NIGHTSCHOOL_NIGHT__SCALES", "[0]", "setting 'night.scales.0' is '0': input should be greater than 0"),
        ("NIGHTSCHOOL_NIGHT__SCALES", "[1, 2.5]", "setting 'night.scales.1' is '2.5': input should be less than or eq"),
        ("NIGHTSCHOOL_NIGHT__SCALES", "[]", "setting 'night.scales' is '[]'"),
        ("NIGHTSCHOOL_NIGHT__SCALES__X", "1", "setting 'night.scales' is"),
        ("NIGHTSCHOOL_NIGHT__KL_WEIGHT", "inf", "setting 'night.kl_weight' is 'inf': input should be a finite number"),
        ("NIGHTSCHOOL_NIGHT__KNOWN_NLL", "nan", "setting 'night.known_nll' is 'nan': input should be a finite number"),
        ("NIGHTSCHOOL_RECALL_SHARE", "nan", "setting 'recall_share' is 'nan': input should be a finite number"),
        ("NIGHTSCHOOL_NIGHT__LEASE_SECONDS", "1e30", "setting 'night.lease_seconds' is '1e30': input should be less"),
        ("NIGHTSCHOOL_NIGHT__BISECT_MINUTES", "1e30", "setting 'night.bisect_minutes' is '1e30': input should be less"),
        ("NIGHTSCHOOL_NIGHT__MAX_MINUTES", "1e30", "setting 'night.max_minutes' is '1e30': input should be less"),
    ],
)
def test_a_bad_variable_is_refused_in_one_line(tmp_path: Path, name: str, value: str, named: str) -> None:
    """The same line, whichever source it came from."""
    assert refusal(tmp_path, {name: value}).startswith(named)


def test_settings_of_several_values_come_from_the_environment_as_json(tmp_path: Path) -> None:
    """A list, or the night's table; one of its settings by name wins over the table."""
    environ = {"NIGHTSCHOOL_NIGHT__SCALES": "[1, 0.5]", "NIGHTSCHOOL_NIGHT": '{"scales": [2], "epochs": 2, "rank": 3}'}
    environ |= {"NIGHTSCHOOL_NIGHT__RANK": "4", "NIGHTSCHOOL_SYSTEM_PROMPT": "[be brief]"}
    settings = load(Settings, environ=environ, home=tmp_path)
    assert (settings.night.scales, settings.night.epochs, settings.night.rank) == ((1.0, 0.5), 2, 4)
    assert settings.system_prompt == "[be brief]"


def test_every_number_that_is_taken_can_be_computed_with(tmp_path: Path) -> None:
    """The greatest lease and the greatest time to look are times that a clock can add."""
    for name in ("lease_seconds", "bisect_minutes", "max_minutes"):
        (most,) = (rule.le for rule in NightSettings.model_fields[name].metadata if hasattr(rule, "le"))
        assert NOON + timedelta(minutes=most) > NOON


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """Whoever made it meant something."""
    (tmp_path / FILE).mkdir()
    assert refusal(tmp_path) == f"nightschool.toml can't be read: [Errno 21] Is a directory: '{tmp_path / FILE}'"


def test_a_bad_override_is_refused_in_one_line(tmp_path: Path) -> None:
    """What the command line hands over goes the same way."""
    assert refusal(tmp_path, port=-1).startswith("setting 'port' is '-1'")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8."""
    (tmp_path / FILE).write_bytes(b"model = '\xff'")
    assert refusal(tmp_path).startswith("nightschool.toml can't be read")


def test_a_home_of_nobody_is_refused() -> None:
    """There is no such user's home."""
    with pytest.raises(BadInput, match="can't be read"):
        load(Settings, environ={}, home=Path("~nobody-of-that-name/x"))


def test_settings_can_not_be_changed(tmp_path: Path) -> None:
    """They are read once and handed on."""
    settings = load(Settings, environ={}, home=tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_making_settings_reads_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `load` was not given is a default, whatever the variables of the process say."""
    monkeypatch.setitem(os.environ, "NIGHTSCHOOL_PORT", "1")
    assert load(DaySettings, environ={}, home=tmp_path).port == 7860
