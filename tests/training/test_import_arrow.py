"""What an import costs: the three packages are there before anything heavy is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch faiss peft gradio transformers sentence_transformers bitsandbytes accelerate matplotlib scipy sacrebleu"
    " optuna numba llvmlite"
)
LIGHT = [
    "memory, assistant, training",
    "training.nightly, training.testing, training.teacher",
    "training.bench",
    "assistant.turn, assistant.local, assistant.models, assistant.testing",
    "memory.ledger, memory.recall, memory.testing",
]


def run(code: str) -> str:
    """What a fresh Python prints for `code`, started in the repository."""
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout


def test_imports_are_light() -> None:
    """No torch, FAISS or page is loaded by importing the packages, their stories and their fakes."""
    code = "import sys\n" + "".join(
        f"import {names}\nprint([name for name in {HEAVY.split()!r} if name in sys.modules])\n" for names in LIGHT
    )
    assert run(code).splitlines() == ["[]"] * len(LIGHT)


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("memory.ledger, memory.recall", ["assistant", "training", "app"]),
        ("assistant.turn, assistant.local, assistant.feedback", ["training", "app"]),
    ],
)
def test_the_arrow(package: str, above: list[str]) -> None:
    """Nothing is imported by a package that stands below it."""
    assert run(f"import sys, {package}\nprint([name for name in {above!r} if name in sys.modules])") == "[]\n"
