"""Whether an adapter is for the weights that would serve it, told from heads of files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from assistant.engine import AdapterFiles
from assistant.fits import check_fit
from assistant.local import WEIGHTS_FILE
from memory.errors import ModelUnavailable

Q = "model.layers.0.self_attn.q_proj"


def safetensors(file: Path, **shapes: tuple[int, ...]) -> None:
    """A file of zeros with such shapes, dots written as two underscores."""
    head, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        head[name.replace("__", ".")] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Weights of one layer: 8 in, 6 out."""
    folder = tmp_path / "model"
    folder.mkdir()
    safetensors(folder / "model.safetensors", **{f"{Q}.weight": (6, 8)})
    return folder


def adapter(folder: Path, a: tuple[int, int], b: tuple[int, int], **config: object) -> AdapterFiles:
    """A LoRA on that layer."""
    path = folder / "v1"
    path.mkdir()
    factors = {f"base_model.model.{Q}.lora_A.weight": a, f"base_model.model.{Q}.lora_B.weight": b}
    safetensors(path / WEIGHTS_FILE, **factors)
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2} | config))
    return AdapterFiles("v1", "0" * 64, path)


def test_one_that_fits(tmp_path: Path, model: Path) -> None:
    """Nothing is said."""
    check_fit(adapter(tmp_path, (2, 8), (6, 2)), model)


def test_modules_that_the_models_files_call_otherwise_are_passed_over(tmp_path: Path, model: Path) -> None:
    """The engine finds out, as it loads them."""
    safetensors(model / "model.safetensors", another__weight=(3, 3))
    check_fit(adapter(tmp_path, (2, 99), (98, 2)), model)


@pytest.mark.parametrize(
    ("a", "b", "config", "told"),
    [
        ((4, 8), (6, 4), {}, f"has rank 4 in {Q}, and its adapter_config.json says 2"),
        ((2, 8), (6, 3), {}, f"has rank 3 in {Q}, and its adapter_config.json says 2"),
        ((2, 9), (6, 2), {}, f"was trained for another model: {Q} has 8 there where it has 9"),
        ((2, 8), (7, 2), {}, f"was trained for another model: {Q} has 6 there where it has 7"),
        ((2, 8), (6, 2), {"peft_type": "IA3"}, "is no LoRA (peft_type 'IA3', r 2)"),
        ((2, 8), (6, 2), {"r": None}, "is no LoRA (peft_type 'LORA', r None)"),
        ((2, 8), (6, 2), {"lora_alpha": "x"}, "has no strength (lora_alpha 'x')"),
        ((2, 8), (6, 2), {"lora_alpha": float("inf")}, "has no strength (lora_alpha 'inf')"),
    ],
)
def test_one_that_does_not(
    tmp_path: Path, model: Path, a: tuple[int, int], b: tuple[int, int], config: dict[str, object], told: str
) -> None:
    """One line that says what does not fit."""
    with pytest.raises(ModelUnavailable) as raised:
        check_fit(adapter(tmp_path, a, b, **config), model)
    assert str(raised.value) == f"adapter v1 {told}: let another version serve"


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("model.layers.9.self_attn.q_proj", "was trained for another model: there is no model.layers.9"),
        ("model.layers.0.attention.q_proj", None),
        ("model.layers.0.self_attn.experts.base_layer", None),
    ],
)
def test_half_of_an_adapter_does_not_serve(tmp_path: Path, model: Path, module: str, told: str | None) -> None:
    """PEFT would pass over a layer that the model has not. Within one, names may be other than those of the files."""
    files = adapter(tmp_path, (2, 8), (6, 2))
    names = [f"base_model.model.{name}.lora_{factor}.weight" for name in (Q, module) for factor in "AB"]
    safetensors(files.path / WEIGHTS_FILE, **dict(zip(names, [(2, 8), (6, 2)] * 2, strict=True)))
    if told is None:
        check_fit(files, model)
        return
    with pytest.raises(ModelUnavailable, match=told):
        check_fit(files, model)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 3.4e38])
def test_weights_are_numbers(tmp_path: Path, model: Path, number: float) -> None:
    """However large."""
    files = adapter(tmp_path, (2, 8), (6, 2))
    file = files.path / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-4] + struct.pack("<f", number))
    if number == 3.4e38:
        check_fit(files, model)
        return
    with pytest.raises(ModelUnavailable, match="has weights that are no numbers"):
        check_fit(files, model)


HEADLESS = json.dumps({"x": {"shape": [2, 2]}}).encode()
SHORT = json.dumps({"x": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        b"{}",
        (2).to_bytes(8, "little") + b"][",
        len(HEADLESS).to_bytes(8, "little") + HEADLESS,
        len(SHORT).to_bytes(8, "little") + SHORT + b"abc",
    ],
)
def test_what_can_not_be_read(tmp_path: Path, model: Path, content: bytes) -> None:
    """Bytes that are no safetensors."""
    files = adapter(tmp_path, (2, 8), (6, 2))
    (files.path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelUnavailable, match="adapter v1 can't be read"):
        check_fit(files, model)
