"""Tiny models with random weights for the decoder, and engines over them that are warm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from assistant.models import ModelFiles
from tests.assistant.test_local import TEMPLATE, save_adapter, save_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than matrices of this size."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A Llama of 100,000 random weights."""
    return save_model(tmp_path_factory.mktemp("decoded"), TEMPLATE)


@pytest.fixture(scope="session")
def adapters(tiny: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterFiles]:
    """Three versions for it: v1, v2, v3."""
    folder: Path = tmp_path_factory.mktemp("versions")
    return [save_adapter(tiny.path, folder / f"v{seed}", seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def plain(tiny: ModelFiles) -> LocalEngine:
    """The reference: transformers and PEFT."""
    engine = LocalEngine(tiny, weights="unpacked")
    engine.close()
    return engine


@pytest.fixture
def warm(tiny: ModelFiles) -> Iterator[LocalEngine]:
    """An engine whose answers come from the decoder."""
    engine = LocalEngine(tiny, weights="unpacked")
    assert engine.warm() is None
    yield engine
    engine.close()
