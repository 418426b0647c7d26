"""The same conversation by what else is installed: plain `generate()` here, llama.cpp in an environment of its own.

Plain dicts of figures, as `training.bench.talk_speed` has them, or how the peer would be installed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

from assistant.engine import AdapterFiles
from assistant.models import ModelFiles
from assistant.rendering import read_tokenizer, render
from memory.errors import NightschoolError
from training.bench import peers
from training.bench.talk_speed import ROUNDS, STORY, Figures


def generate_alone(files: ModelFiles, adapter: AdapterFiles, tokens: int) -> Figures:
    """What anybody gets from transformers, bitsandbytes and PEFT as they are: the same NF4 weights and adapter."""
    import torch
    import transformers
    from peft import PeftModel

    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    quantised = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    base = transformers.AutoModelForCausalLM.from_pretrained(
        str(files.path),
        dtype=dtype,
        quantization_config=quantised,
        device_map={"": "cuda" if on_gpu else "cpu"},
        local_files_only=True,
    )
    tokenizer = read_tokenizer(files.path)
    model = PeftModel.from_pretrained(base, str(adapter.path)).eval()
    inputs = tokenizer(render(tokenizer, files.model_id, STORY), return_tensors="pt", add_special_tokens=False).to(
        model.device
    )
    times: list[float] = []

    class Watch:
        def put(self, value: Any) -> None:
            times.append(perf_counter())

        def end(self) -> None:
            """Nothing."""

    taken = []
    with torch.inference_mode():
        for count in [4, *[tokens] * ROUNDS]:
            times.clear()
            began = perf_counter()
            model.generate(**inputs, max_new_tokens=count, do_sample=False, streamer=Watch())
            # The first that is put is the prompt.
            taken.append((times[1] - began, times[-1] - times[1], len(times) - 2))
    return {
        "tokens_per_s": round(median(said / took for _, took, said in taken[1:]), 1),
        "first_token_s": round(median(first for first, _, _ in taken[1:]), 3),
    }


LLAMA = """
import json, sys, time
from statistics import median
from llama_cpp import Llama
model, tokens, rounds, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
llama = Llama(model, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
messages = json.loads(sys.argv[5])
taken = []
for count in [4] + [tokens] * rounds:
    llama.reset()
    began, times = time.perf_counter(), []
    for chunk in llama.create_chat_completion(messages, max_tokens=count, temperature=0, stream=True):
        if chunk["choices"][0]["delta"].get("content"):
            times.append(time.perf_counter())
    taken.append((times[0] - began, times[-1] - times[0], len(times) - 1))
taken = taken[1:]
print(json.dumps({"tokens_per_s": round(median(said / took for _, took, said in taken), 1),
                  "first_token_s": round(median(first for first, _, _ in taken), 3)}))
"""
"""What llama.cpp's environment runs: the same conversation, greedily."""


def llama_cpp(tokens: int) -> Figures:
    """llama.cpp over a GGUF of the model, through llama-cpp-python in an environment of its own."""
    environment, weights = peers.environment_of(peers.LLAMA_CPP), os.environ.get(peers.GGUF)
    if environment is None or not weights:
        return missing(
            f"{peers.LLAMA_CPP} names no environment with llama-cpp-python, or {peers.GGUF} no GGUF of the model"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    arguments = [weights, str(tokens), str(ROUNDS), str(cores), json.dumps(STORY)]
    command = [str(environment / "bin" / "python"), "-c", LLAMA, *arguments]
    return last_json(command, os.environ, "llama.cpp")


def missing(how: str) -> Figures:
    """In place of figures: what is not installed, and `how` it would be."""
    return {"not_installed": how}


def last_json(command: Sequence[str], environ: Mapping[str, str], what: str) -> Figures:
    """What a program's last line holds. Raises: NightschoolError with its last error."""
    ran = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)  # noqa: S603 - ours
    try:
        found: Figures = json.loads(ran.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        why = ran.stderr.strip().splitlines()[-1:] or [f"it ended with {ran.returncode}"]
        raise NightschoolError(f"{what} could not be measured: {why[0][:300]}") from None
    return found
