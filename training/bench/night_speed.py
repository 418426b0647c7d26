"""A training in a process of its own, for its time and its memory alone: ours, or TRL's `SFTTrainer` on the same rows.

`python -m training.bench.night_speed ours|trl|whole FILE`: the file says which model, rows and settings (see `Work`);
`whole` is ours as a night has it, with its own settings and with replay. The last line that is printed is the outcome
as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory.records import Message

if TYPE_CHECKING:
    from training.settings import NightSettings

REPLAY_WORDS = 16
"""Of an answer that is held: about as many as the 20 tokens that a night lets the base say."""


@dataclass(frozen=True)
class Work:
    """What is trained, as messages with their answers and as tokens: `rows` are (prompt, answer with its end).

    Ours takes the first and makes the second of them, TRL takes the second.
    """

    model: str
    copies: str
    dialogues: Sequence[tuple[Sequence[Message], str]]
    rows: Sequence[tuple[Sequence[int], Sequence[int]]]
    rank: int
    alpha: int
    epochs: int
    batch_rows: int
    learning_rate: float

    @property
    def tokens(self) -> int:
        """Of all rows, in all epochs: both are measured by these, whatever they compute."""
        return self.epochs * sum(len(prompt) + len(answer) for prompt, answer in self.rows)


def installed() -> bool:
    """Whether TRL is there."""
    return find_spec("trl") is not None and find_spec("datasets") is not None


def _tell(share: float, words: str) -> None:
    """How far it is, for who watches."""
    print(f"{share:.3f} {words}", file=sys.stderr, flush=True)  # noqa: T201


def ours(work: Work) -> dict[str, float]:
    """Our loop: its base has unpacked NF4 weights on a CPU, and NF4 on a GPU."""
    from training.settings import NightSettings

    settings = NightSettings(
        rank=work.rank,
        alpha=work.alpha,
        # All of them learn in TRL's, too; a night of ours has the upper ones alone learn, and is faster by that.
        layers=1.0,
        epochs=work.epochs,
        batch_rows=work.batch_rows,
        learning_rate=work.learning_rate,
        known_nll=0.0,
    )
    return _trained(work, settings, replayed=0)


def whole(work: Work) -> dict[str, float]:
    """Our loop over each of the rows as a lesson, as a night trains them, with replay held to the base. Reckoned from
    `work.epochs` how many minutes all of a night's epochs take; what is done once a night counts too often so.
    """
    from training.settings import NightSettings

    usual = NightSettings()
    settings = usual.model_copy(update={"epochs": work.epochs})
    # What the base writes of its own accord is longer: as many short answers have its tokens.
    written = settings.written_rows * settings.written_tokens // settings.replay_tokens
    replayed = settings.replay_rows + settings.neighbour_rows + settings.request_rows + written
    found = _trained(work, settings, replayed=replayed)
    minutes = round(found["seconds"] / 60 * usual.epochs / work.epochs, 2)
    return {"lessons": len(work.dialogues), "epochs_of_a_night": usual.epochs, "minutes_of_a_night": minutes} | found


def _trained(work: Work, settings: NightSettings, *, replayed: int) -> dict[str, float]:
    """Train them, with the first `replayed` prompts once more as replay, under answers of `REPLAY_WORDS`."""
    from assistant.local import LocalEngine
    from assistant.models import ModelFiles, digests_of
    from training import learner
    from training.examples import Dialogue

    folder = Path(work.model)
    sha256 = digests_of(sorted(folder.glob("*.safetensors"))[:1], Path(work.copies).parent / "hashes.json")
    engine = LocalEngine(ModelFiles("bench", folder, *sha256.values()), weights="unpacked", copies=Path(work.copies))
    engine.load()
    dialogues = [Dialogue("wanted", tuple(prompt), answer) for prompt, answer in work.dialogues]
    dialogues += [
        Dialogue("replay", tuple(prompt), " ".join(answer.split()[:REPLAY_WORDS]))
        for prompt, answer in work.dialogues[:replayed]
    ]
    _loaded()
    computed = time.process_time()
    with tempfile.TemporaryDirectory() as target:
        trained = learner.train(
            engine,
            dialogues,
            settings,
            seed=0,
            folder=Path(target),
            progress=_tell,
        )
    return {
        "seconds": trained.seconds,
        "processor_s": round(time.process_time() - computed, 2),
        "steps": trained.steps,
        "loss": round(trained.losses[-1]["nll"], 3),
    }


def trl(work: Work) -> dict[str, float]:
    """TRL's trainer at its fastest here: bfloat16 weights on a CPU, NF4 on a GPU, and no gradient checkpointing."""
    import torch
    import transformers
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    on_gpu = torch.cuda.is_available()
    quantised = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        work.model,
        dtype=torch.bfloat16,
        local_files_only=True,
        **({"quantization_config": quantised, "device_map": {"": 0}} if on_gpu else {}),
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.model, local_files_only=True)
    rows = [
        {"input_ids": [*prompt, *answer], "labels": [*[-100] * len(prompt), *answer]} for prompt, answer in work.rows
    ]
    with tempfile.TemporaryDirectory() as target:
        config = SFTConfig(
            output_dir=target,
            num_train_epochs=work.epochs,
            per_device_train_batch_size=work.batch_rows,
            learning_rate=work.learning_rate,
            lr_scheduler_type="cosine",
            gradient_checkpointing=False,
            bf16=True,
            use_cpu=not on_gpu,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            seed=0,
        )
        lora = LoraConfig(r=work.rank, lora_alpha=work.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(
            model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora
        )
        _loaded()
        began, computed = time.monotonic(), time.process_time()
        trainer.train()
        seconds, computed = time.monotonic() - began, time.process_time() - computed
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": round(seconds, 2),
        "processor_s": round(computed, 2),
        "steps": trainer.state.global_step,
        "loss": round(float(losses[-1]), 3),
    }


def _loaded() -> None:
    """From here on counts what a GPU holds at most: loading a model may for a moment need more than training it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_mb() -> float:
    """Most memory that this process has held at once, in MB: of the GPU, where there is one, while it trained."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (1e6 if sys.platform == "darwin" else 1e3), 1)


def write(work: Work, file: Path) -> None:
    """For `main` to read."""
    file.write_text(json.dumps(asdict(work)))


def main(how: str, file: str) -> None:
    """Train, and print what it took."""
    import torch

    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    given: dict[str, Any] = json.loads(Path(file).read_text())
    work = Work(**given)
    found = {"ours": ours, "trl": trl, "whole": whole}[how](work)
    # A whole night trains other rows besides.
    speed = {} if how == "whole" else {"tokens_per_s": round(work.tokens / found["seconds"], 1)}
    told = {**speed, "peak_mb": peak_mb(), **found}
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
