"""Day and night on one card, as processes: the chat lets go of its weights, says that it studies, and comes back.

On a CPU, where `night.card = "take"` asks for what a GPU that is too small needs; the model is tiny, its answers noise.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.model

CHAT = "/v1/chat/completions"


def save_tiny_model(folder: Path) -> None:
    """A Llama of two layers with random weights that reads single bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(["<pad>", "<end>", *alphabet])}
    bytes_ = Tokenizer(models.BPE(vocabulary, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "eos_token": "<end>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_, **special).save_pretrained(str(folder))
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = transformers.LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=2048, **shape, **ends)
    transformers.LlamaForCausalLM(config).save_pretrained(str(folder))


def test_the_chat_says_that_it_studies_and_comes_back(tmp_path: Path, environment: dict[str, str]) -> None:
    """503 with when to come back while the night has the card; answers before and after; no turn fails otherwise."""
    save_tiny_model(tmp_path / "tiny")
    environment |= {
        "NIGHTSCHOOL_MODEL": str(tmp_path / "tiny"),
        "NIGHTSCHOOL_NIGHT__CARD": "take",
        "NIGHTSCHOOL_NIGHT__EPOCHS": "1",
        "NIGHTSCHOOL_NIGHT__CONTROLS": "8",
        "NIGHTSCHOOL_NIGHT__REPLAY_ROWS": "4",
        "NIGHTSCHOOL_NIGHT__NEIGHBOUR_ROWS": "4",
        "NIGHTSCHOOL_ANSWER_TOKENS": "8",
    }
    command = [sys.executable, "-m", "app", "--home", str(tmp_path / "home"), "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with httpx.Client(base_url=process.stdout.readline().split()[-1], timeout=120) as http:
            wait_for(lambda: http.get("/ready").status_code == 200, "the server never became ready")
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "What is up?"}], "memory": False}
            told = http.post(CHAT, json=body).json()["nightschool"]
            rating = {"exchange_id": told["exchange_id"], "value": -1, "correction": "The sky is up."}
            assert http.post("/v1/feedback", json=rating).status_code == 200
            night_id = http.post("/v1/nights").json()["id"]

            seen: list[httpx.Response] = []

            def over() -> bool:
                seen.append(http.post(CHAT, json=body))
                return http.get(f"/v1/nights/{night_id}").json()["status"] not in ("queued", "running")

            wait_for(over, "the night never ended", seconds=1200)
            studying = [reply for reply in seen if reply.status_code != 200]
            assert studying, "the night never had the card"
            for reply in studying:
                assert reply.status_code == 503
                assert reply.json()["error"]["message"].startswith("studying, back in about ")
                assert int(reply.headers["retry-after"]) >= 1
            wait_for(lambda: http.get("/ready").status_code == 200, "it never came back")
            assert http.post(CHAT, json=body).status_code == 200
            night = http.get(f"/v1/nights/{night_id}").json()
            assert night["status"] in ("promoted", "rejected"), night["reasons"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def wait_for(true: Any, complaint: str, *, seconds: float = 120.0) -> None:
    """Until `true()` is."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.2)
