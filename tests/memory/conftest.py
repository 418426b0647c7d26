"""A second real embedder, made of the first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def second_embedder(embedder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as sentence-transformers 6 writes it: three layers of the real embedder, their mean cut to 128 numbers
    by a linear layer, and tanh. Another model of another length, whose vectors still mean something.
    """
    from safetensors.torch import load_file, save_file
    from torch import eye

    folder = tmp_path_factory.mktemp("models") / "second"
    shutil.copytree(embedder_path, folder, ignore=shutil.ignore_patterns("*.safetensors", "*_Pooling", "*.md"))
    weights = load_file(embedder_path / "model.safetensors")
    cut = {name: value for name, value in weights.items() if not any(f"layer.{n}." in name for n in (3, 4, 5))}
    save_file(cut, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    (folder / "sentence_bert_config.json").write_text('{"transformer_task": "feature-extraction"}')
    steps = {
        "": "base.modules.transformer.Transformer",
        "1_Pooling": "sentence_transformer.modules.pooling.Pooling",
        "2_Dense": "base.modules.dense.Dense",
        "3_Normalize": "base.modules.normalize.Normalize",
    }
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.{kind}"}
        for n, (path, kind) in enumerate(steps.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in ("1_Pooling", "2_Dense"):
        (folder / path).mkdir()
    pooling = {"embedding_dimension": 384, "pooling_mode": "mean", "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    dense = {"in_features": 384, "out_features": 128, "bias": False}
    dense |= {"activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    save_file({"linear.weight": eye(384)[:128].contiguous()}, folder / "2_Dense" / "model.safetensors")
    return folder
