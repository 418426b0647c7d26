"""A folder in sentence-transformers' format, read with transformers alone: an encoder, a pooling, linear layers behind.

`modules.json` names the steps. Both spellings of the format are read, that of sentence-transformers up to 5 and that
from 6 on; what is not known here is refused by its name, since vectors by another rule than the published one would be
near nothing. This module does not know who embeds, or what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.errors import ModelUnavailable

Vectors = NDArray[np.float32]

ACTIVATIONS = ("Identity", "Tanh")
"""Of a linear layer: modules of torch."""
LEGACY = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
"""How sentence-transformers up to 5 writes a pooling, and from 6 on."""
MOST_TOKENS = 8192
"""Of a text, whatever a model's files say: some say 10**30."""


@dataclass(frozen=True)
class Encoder:
    """A loaded model. `name` is its fingerprint, `dimensions` the length of a vector."""

    name: str
    dimensions: int
    tokenizer: Any
    model: Any
    window: int
    """The most tokens of a text that it reads."""
    pool: Callable[[Any, Any], Any]
    """Hidden states (batch, tokens, width) and the mask (batch, tokens) → (batch, width)."""
    layers: Sequence[Callable[[Any], Any]]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """A text's tokens pooled, through the layers, scaled to length 1."""
        import torch

        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.window, return_tensors="pt")
        with torch.inference_mode():
            pooled = self.pool(self.model(**tokens).last_hidden_state, tokens["attention_mask"])
            for layer in self.layers:
                pooled = layer(pooled)
            return np.asarray(torch.nn.functional.normalize(pooled, dim=-1).numpy(), dtype=np.float32)


def load(path: Path) -> Encoder:
    """The model in the folder `path`. Raises: ModelUnavailable."""
    name = fingerprint(path)
    # Here, not above: it brings torch, and whoever only needs the protocol must not wait for that.
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        pool, layers, dimensions = _steps(path)
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        model = AutoModel.from_pretrained(str(path), local_files_only=True, dtype="float32").eval()
        window = _window(path, tokenizer, model)
        return Encoder(name, dimensions or int(model.config.hidden_size), tokenizer, model, window, pool, layers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(f"the embedder in {path} can't be loaded: {_first_line(error)}") from error


def fingerprint(path: Path) -> str:
    """`sentence-transformers:` and 16 hex digits of the sha256 over the weights and what is read with them.

    Raises: ModelUnavailable.
    """
    try:
        files = sorted(f for f in path.rglob("*") if f.suffix in {".safetensors", ".bin", ".json", ".txt"})
        if not any(f.name == "modules.json" for f in files):
            raise ModelUnavailable(f"{path} holds no sentence-transformers model (modules.json is missing)")
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ModelUnavailable(f"the embedder in {path} can't be read: {error.strerror}") from error
    return f"sentence-transformers:{digest.hexdigest()[:16]}"


def _steps(path: Path) -> tuple[Callable[[Any, Any], Any], list[Callable[[Any], Any]], int | None]:
    """(pooling, linear layers, length of what the last of them gives) as `modules.json` names them."""
    pool: Callable[[Any, Any], Any] | None = None
    layers: list[Callable[[Any], Any]] = []
    dimensions = None
    for module in _json(path / "modules.json"):
        folder = path / module["path"]
        match str(module["type"]).rpartition(".")[2]:
            case "Transformer" | "Normalize":
                # The first is what AutoModel loads, the second what `encode` does in any case.
                continue
            case "Pooling":
                pool = _pooling(_json(folder / "config.json"))
            case "Dense":
                layer, dimensions = _dense(folder)
                layers.append(layer)
            case unknown:
                raise ValueError(f"modules.json names {unknown[:40]!r}, which is not known here")
    if pool is None:
        raise ValueError("modules.json names no pooling")
    return pool, layers, dimensions


def _pooling(config: dict[str, Any]) -> Callable[[Any, Any], Any]:
    modes = [name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_") and on]
    if "pooling_mode" in config:
        modes = [config["pooling_mode"]]
    known = LEGACY | {mode: mode for mode in LEGACY.values()}
    match [known.get(f"pooling_mode_{mode}", known.get(mode)) for mode in modes if isinstance(mode, str)]:
        case ["mean"]:
            return _mean
        case ["cls"]:
            return _first
        case _:
            told = ", ".join(str(mode) for mode in modes)[:80] or "none"
            raise ValueError(f"its pooling is {told}; known here are the mean of the tokens and the first one (cls)")


def _mean(hidden: Any, mask: Any) -> Any:
    weights = mask.unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1)


def _first(hidden: Any, _mask: Any) -> Any:
    return hidden[:, 0]


def _dense(folder: Path) -> tuple[Callable[[Any], Any], int]:
    """A linear layer with its activation, and the length of what it gives."""
    import torch
    from safetensors.torch import load_file

    config = _json(folder / "config.json")
    activation = str(config["activation_function"]).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ValueError(f"{folder.name} has the activation {activation[:40]!r}; known are {', '.join(ACTIVATIONS)}")
    linear = torch.nn.Linear(int(config["in_features"]), int(config["out_features"]), bias=bool(config["bias"]))
    weights = folder / "model.safetensors"
    states = (
        load_file(weights) if weights.exists() else torch.load(folder / "pytorch_model.bin", "cpu", weights_only=True)
    )
    linear.load_state_dict({name.removeprefix("linear."): value.float() for name, value in states.items()})
    return torch.nn.Sequential(linear, getattr(torch.nn, activation)()).eval(), linear.out_features


def _window(path: Path, tokenizer: Any, model: Any) -> int:
    """The most tokens that the model was made for, by its own word, or else by its tokenizer's."""
    file = path / "sentence_bert_config.json"
    told = _json(file).get("max_seq_length") if file.exists() else None
    places = getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS
    return min(int(told or tokenizer.model_max_length), int(places), MOST_TOKENS)


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
