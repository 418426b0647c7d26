"""Other programs that are measured beside ours or answer in our place: where they are installed, and how they start.

Each lives in an environment of its own, which whoever wants it names; nothing of them is imported here.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError
from urllib.request import urlopen

from memory.errors import BadInput, NightschoolError

VLLM, LLAMA_CPP, GGUF = "PEER_VLLM", "PEER_LLAMA_CPP", "PEER_GGUF"
"""Environment variables: folders of the environments in which vLLM and llama-cpp-python are installed, and the weights
for the second. Not settings of ours: they say nothing about this Nightschool.
"""

UP_WITHIN = 900.0
"""Seconds in which a vLLM must be up; on two idle CPU cores it is after one minute."""


def environment_of(peer: str) -> Path | None:
    """The folder that the environment names for `peer`, or None. Raises: BadInput where it is no environment."""
    named = os.environ.get(peer)
    if not named:
        return None
    folder = Path(named)
    if not (folder / "bin" / "python").is_file():
        raise BadInput(f"{peer} is {named!r}: it must be the folder of an environment with bin/python")
    return folder


@contextmanager
def vllm(
    environment: Path, model: Path, log: BinaryIO, *, name: str = "base", context: int = 2048, rank: int = 64
) -> Iterator[str]:
    """A vLLM over the weights in `model`, which loads adapters while it runs, for as long as the context lasts.

    Where there is no GPU it is held to the cores of this process, on bfloat16: its fastest there.

    Args:
        log: takes what it prints.
        name: what it calls the base.
        context: tokens of prompt and answer.
        rank: the highest of an adapter. On a CPU every token pays for it, whatever the adapter's own is.

    Yields: its address, once it answers.

    Raises: NightschoolError: it did not come up; the message says where it told why.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(environment / "bin" / "vllm"), "serve", str(model), "--served-model-name", name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(context)]
    command += ["--enable-lora", "--max-lora-rank", str(rank), "--dtype", "bfloat16"]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0)))) if hasattr(os, "sched_getaffinity") else "auto"
    on_cpu = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": cores}
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | quiet
    environ |= {} if _has_gpu() else {key: os.environ.get(key, value) for key, value in on_cpu.items()}
    process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - named by who asks
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health", process, log)
        yield f"{address}/v1"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: BinaryIO) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=5) as reply:  # noqa: S310 - on loopback
                if reply.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.5)
    raise NightschoolError(f"vLLM did not come up: see {log.name}")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
