"""How fast it serves and learns, side by side with what else is installed here, in one run on one machine.

Read `measure` first. One conversation, many users, a night, a switch of versions; each engine is measured alone, with
nothing else of ours running. What is not installed is said to be so, and how it would be.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from assistant.engine import AdapterFiles, Engine
from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import ModelFiles, sha256_of
from assistant.remote import RemoteEngine
from assistant.rendering import read_tokenizer, render
from assistant.upstream import Upstream
from memory.records import Message
from training.bench import night_speed, peer_speed, peers, talk_speed
from training.bench.report import count
from training.bench.talk_speed import Figures
from training.examples import Dialogue, asked, rows
from training.general import fixed_text, replayed
from training.settings import NightSettings

Say = Callable[[str], None]

RANK = 16
"""Of the adapters that answer, as a night's are."""

NIGHT_ROWS = 48
NIGHT_ROWS_GPU = 500
"""Enough for seconds of training, beside which the first products on a card cost little."""

NIGHT_EPOCHS = 2
NIGHT_WORDS = 40
"""Words of a row's answer, from the text that ships with the package: about as long as lessons are."""


def measure(
    files: ModelFiles,
    copies: Path,
    *,
    users: Sequence[int],
    tokens: int,
    user_tokens: int,
    parts: Sequence[str],
    say: Say,
) -> Figures:
    """All figures of `parts` (`one_conversation`, `users`, `night`, `switch`), as `--json` prints them.

    Args:
        copies: where unpacked weights are kept.
        users: numbers of users at once.
        tokens: of one conversation's answer, and `user_tokens`, of each user's.

    Raises: NightschoolError: a peer that is installed does not start.
    """
    found: Figures = {"machine": machine(), "model": files.model_id}
    if "night" in parts:
        # First: each training has a process of its own, and wants the memory.
        found["night"] = night(files, copies, say=say)
    with tempfile.TemporaryDirectory(prefix="nightschool-speed-") as scratch:
        one, many = Figures(), {str(count): Figures() for count in users}
        engine = LocalEngine(files, copies=copies)
        say("loading the model")
        engine.load()
        adapters = [random_adapter(engine, Path(scratch) / f"v{i}", seed=i) for i in (1, 2)]
        say("warming up")
        found["start"] = {"local": talk_speed.warmed(engine)}
        _measured(engine, adapters[0], "local", one, many, parts, tokens, user_tokens, say)
        if "one_conversation" in parts and (limit := memory_limit(engine)):
            found["memory_limit"] = limit
            one["local"]["share_of_memory_limit"] = round(one["local"]["tokens_per_s"] / limit["tokens_per_s"], 2)
        if "one_conversation" in parts:
            say("a second turn")
            found["second_turn"] = {"local": talk_speed.second_turn(engine, adapters[0])}
        if "switch" in parts:
            say("switching versions")
            found["switch"] = {"local": talk_speed.switch(engine, adapters)}
            say("switching versions under load")
            found["switch_under_load"] = {"local": talk_speed.switch_under_load(engine, adapters)}
        if "night" in parts:
            say("chatting beside a night")
            with talk_speed.training_of(night_work(engine, copies)) as training:
                beside = talk_speed.beside_a_night(engine, adapters[0], training, tokens)
            found["beside_a_night"] = {"local": beside}
        engine.close()
        if "one_conversation" in parts:
            say("plain generate()")
            one["transformers"] = peer_speed.generate_alone(files, adapters[0], tokens)
            say("llama.cpp")
            one["llama.cpp"] = peer_speed.llama_cpp(tokens)
        _vllm(files, adapters, found, one, many, parts, tokens, user_tokens, Path(scratch), say)
    if "one_conversation" in parts:
        found["one_conversation"] = one
    if "users" in parts:
        found["users"] = many
    return found


def machine() -> Figures:
    """What it was measured on."""
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        return {"device": card.name, "memory_gb": round(card.total_memory / 1e9, 1)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"device": "cpu", "cores": cores, "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)}


def memory_limit(engine: LocalEngine) -> Figures | None:
    """Tokens a second that a card could say at most, were reading the weights once a token all that it did: its
    bandwidth, as measured in copying, over the bytes of all that is multiplied, as bitsandbytes holds it. None where
    there is no card.
    """
    import torch

    with engine.using(None) as model:
        if model.device.type != "cuda":
            return None
        # The input's table is looked up in; where it is the head too it is counted as that.
        looked_up = None if model.config.tie_word_embeddings else model.get_input_embeddings().weight
        held = [p for p in model.parameters() if p is not looked_up]
        scales = [p.quant_state.absmax for p in held if getattr(p, "quant_state", None)]
        read = sum(t.numel() * t.element_size() for t in [*held, *scales])
    one = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)
    times = []
    for _ in range(8):
        event: Any = torch.cuda.Event
        events = [event(enable_timing=True) for _ in range(2)]
        events[0].record()
        other.copy_(one)
        events[1].record()
        torch.cuda.synchronize()
        times.append(events[0].elapsed_time(events[1]) / 1e3)
    bandwidth = 2 * one.numel() / median(times)
    return {
        "bytes_a_token": read,
        "terabytes_per_s": round(bandwidth / 1e12, 2),
        "tokens_per_s": round(bandwidth / read, 1),
    }


# ---------------------------------------------------------------------- serving


def _measured(
    engine: Engine,
    adapter: AdapterFiles | None,
    name: str,
    one: Figures,
    many: Mapping[str, Figures],
    parts: Sequence[str],
    tokens: int,
    user_tokens: int,
    say: Say,
) -> None:
    if "one_conversation" in parts:
        say(f"{name}: one conversation")
        one[name] = talk_speed.conversation(engine, adapter, tokens)
    if "users" in parts:
        for users, figures in many.items():
            say(f"{name}: {count(int(users), 'user')}")
            figures[name] = talk_speed.together(engine, adapter, int(users), user_tokens)


def random_adapter(engine: LocalEngine, folder: Path, *, seed: int, rank: int = RANK) -> AdapterFiles:
    """A LoRA on all linear layers whose values are noise: for speed alone. Its products are not nothing."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    with engine.base() as base:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(base, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=1e-2)
        model.peft_config["default"].base_model_name_or_path = engine.model_id
        model.save_pretrained(str(folder), save_embedding_layers=False)
        model.unload()
    return AdapterFiles(folder.name, sha256_of(folder / WEIGHTS_FILE), folder)


# ---------------------------------------------------------------------- peers


def _vllm(
    files: ModelFiles,
    adapters: Sequence[AdapterFiles],
    found: Figures,
    one: Figures,
    many: Mapping[str, Figures],
    parts: Sequence[str],
    tokens: int,
    user_tokens: int,
    scratch: Path,
    say: Say,
) -> None:
    """A vLLM over the same weights in bfloat16, through our own remote engine, with the same adapter and without: on
    a CPU it multiplies adapters slowly.
    """
    serving = [part for part in ("one_conversation", "users", "switch") if part in parts]
    environment = peers.environment_of(peers.VLLM)
    if environment is None:
        missing = peer_speed.missing(f"{peers.VLLM} names no environment with vLLM")
        if "one_conversation" in parts:
            one["vllm"] = missing
        if "users" in parts:
            for figures in many.values():
                figures["vllm"] = missing
        return
    if not serving:
        return
    say("starting vLLM")
    with (scratch / "vllm.log").open("wb") as log, peers.vllm(environment, files.path, log, rank=RANK) as url:
        upstream = Upstream(url, patience=600)
        with closing(RemoteEngine(upstream, files.model_id, files=files, name="base")) as engine:
            engine.look()
            _measured(engine, adapters[0], "vllm", one, many, parts, tokens, user_tokens, say)
            _measured(engine, None, "vllm, no adapter", one, many, parts, tokens, user_tokens, say)
            if "switch" in parts:
                found["switch"]["vllm"] = talk_speed.switch(engine, adapters)


# ---------------------------------------------------------------------- a night


@dataclass(frozen=True)
class Words:
    """A model's words, without its weights: each training loads those for itself."""

    files: ModelFiles

    @cached_property
    def tokenizer(self) -> Any:
        return read_tokenizer(self.files.path)

    def render(self, prompt: Sequence[Message]) -> str:
        return render(self.tokenizer, self.files.model_id, prompt)


def night_work(engine: LocalEngine | Words, copies: Path) -> night_speed.Work:
    """What a night of these figures trains."""
    import torch

    settings = NightSettings()
    text = " ".join(fixed_text()).split()
    questions = [item.question for item in replayed()]
    dialogues = [
        Dialogue(
            "wanted",
            asked(questions[i % len(questions)]),
            " ".join(text[NIGHT_WORDS * i % len(text) :][:NIGHT_WORDS]),
        )
        for i in range(NIGHT_ROWS_GPU if torch.cuda.is_available() else NIGHT_ROWS)
    ]
    return night_speed.Work(
        model=str(engine.files.path),
        copies=str(copies),
        dialogues=[(one.prompt, one.answer) for one in dialogues],
        rows=[(row.prompt, row.answer) for row in rows(engine, dialogues)],
        rank=settings.rank,
        alpha=settings.alpha,
        epochs=NIGHT_EPOCHS,
        batch_rows=settings.batch_rows,
        learning_rate=settings.learning_rate,
    )


def night(files: ModelFiles, copies: Path, *, say: Say) -> Figures:
    """Tokens a second of training, and its memory: ours, and TRL's where it is installed (`nightschool[trl]`). On a GPU
    also all of a night's training of as many lessons, with a night's own settings.
    """
    import torch

    work = night_work(Words(files), copies)
    with tempfile.TemporaryDirectory(prefix="nightschool-speed-") as folder:
        file = Path(folder) / "work.json"
        night_speed.write(work, file)

        def run(how: str) -> Figures:
            say(f"training: {how}")
            command = [sys.executable, "-P", "-m", "training.bench.night_speed", how, str(file)]
            return peer_speed.last_json(command, os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, how)

        ours = run("ours")
        theirs = run("trl") if night_speed.installed() else peer_speed.missing("TRL: pip install 'nightschool[trl]'")
        whole = {"whole night": run("whole")} if torch.cuda.is_available() else {}
    return {"local": ours, "trl": theirs, **whole}


# ---------------------------------------------------------------------- telling


TOLD = (
    *("start", "one_conversation", "second_turn", "users", "night", "beside_a_night"),
    *("switch", "switch_under_load"),
)
"""The parts of the table, in its order."""


def table(found: Figures) -> Iterator[list[str]]:
    """The figures as lines: what, who, and the numbers."""
    for what in TOLD:
        part = found.get(what, {})
        groups = part.items() if what == "users" else [("", part)]
        for users, engines in groups:
            for name, figures in engines.items():
                told = figures.get("not_installed")
                numbers = f"not installed: {told}" if told else ", ".join(f"{k} {v}" for k, v in figures.items())
                yield [count(int(users), "user") if users else what.replace("_", " "), name, numbers]
