"""A model folder in the shape of a real one, with random weights: for speed and for tests where no weights can be had.

`python -m training.bench.random_model --shape qwen3-8b FOLDER`

Layers are drawn and quantised to NF4 one by one, where the model will compute, and written as transformers writes a
4-bit checkpoint: 8 billion weights take 6 GB and seconds. Whatever reads such folders reads this one; what it says is
noise, and takes as long as sense would. The tokenizer's first words are learned from the text that ships with the
package, so that lessons have about as many tokens as a real one gives them; the others only fill the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from training.general import fixed_text, replayed

SHAPES: Mapping[str, Mapping[str, Any]] = {
    "qwen3-8b": {
        "model_type": "qwen3",
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000.0,
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
    },
    "tiny-qwen3": {
        "model_type": "qwen3",
        "vocab_size": 1024,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 2048,
        "initializer_range": 0.1,
    },
    "tiny-llama": {
        "model_type": "llama",
        "vocab_size": 1024,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "initializer_range": 0.1,
    },
}
"""Of `transformers.AutoConfig`. Heads are not tied to embeddings: no 8B's is."""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The first tokens of the vocabulary: padding, and what opens and closes a turn."""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as Qwen writes it, without a system message that nobody gave."""

LEARNED = 8192
"""Tokens that are learned from text, at most."""

SHARD = 1 << 30
"""Bytes of a file, about."""


def write_random_model(folder: Path, shape: str, device: str, *, seed: int = 0) -> None:
    """Write config, tokenizer and NF4 weights of `shape`, a name of `SHAPES`, to `folder`.

    Args:
        device: `cuda` for weights that compute in bfloat16, `cpu` for float32.
    """
    import torch
    import transformers
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    config = transformers.AutoConfig.for_model(**SHAPES[shape], tie_word_embeddings=False)
    config.pad_token_id, config.eos_token_id, config.bos_token_id = 0, 2, None
    _write_tokenizer(folder, config.vocab_size)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    config.architectures, config.dtype = [type(model).__name__], dtype
    config.quantization_config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    ).to_dict()
    config.save_pretrained(str(folder))
    transformers.GenerationConfig(eos_token_id=2, pad_token_id=0).save_pretrained(str(folder))

    place, shard, number, total = dict[str, str](), dict[str, Any](), 0, 0
    random = torch.Generator(device).manual_seed(seed)
    for name, tensor in _weights(model, config.initializer_range, dtype, random):
        if shard and sum(other.nbytes for other in shard.values()) + tensor.nbytes > SHARD:
            save_file(shard, folder / _file(number), metadata={"format": "pt"})
            shard, number = {}, number + 1
        shard[name], place[name] = tensor.cpu().contiguous(), _file(number)
        total += tensor.nbytes
    save_file(shard, folder / _file(number), metadata={"format": "pt"})
    index = {"metadata": {"total_size": total}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _weights(model: Any, deviation: float, dtype: Any, random: Any) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of all that a 4-bit checkpoint of `model` holds; of a quantised layer it holds several."""
    import torch
    from bitsandbytes.functional import quantize_4bit

    head = model.get_output_embeddings()
    packed = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)} - {
        f"{name}.weight" for name, module in model.named_modules() if module is head
    }
    for name, like in model.named_parameters():
        if like.ndim == 1:
            yield name, torch.ones(like.shape, dtype=dtype, device=random.device)
            continue
        drawn = torch.empty(like.shape, dtype=dtype, device=random.device).normal_(std=deviation, generator=random)
        if name not in packed:
            yield name, drawn
            continue
        values, state = quantize_4bit(drawn, compress_statistics=True, quant_type="nf4")
        yield name, values
        for part, tensor in state.as_dict(packed=True).items():
            yield f"{name}.{part}", tensor


def _file(number: int) -> str:
    return f"model-{number:05}.safetensors"


def _write_tokenizer(folder: Path, size: int) -> None:
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=min(LEARNED, size),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learned.train_from_iterator([*fixed_text(), *(item.question for item in replayed())], trainer)
    told = json.loads(learned.to_str())["model"]
    vocabulary, merges = dict(told["vocab"]), [tuple(pair) for pair in told["merges"]]
    # No merge makes these: nobody writes them, and they can be read.
    vocabulary |= {f"Ġ#{number}": number for number in range(len(vocabulary), size)}
    full = Tokenizer(models.BPE(vocabulary, merges))
    full.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    full.decoder = decoders.ByteLevel()
    full.add_special_tokens(list(SPECIAL))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=full, pad_token=SPECIAL[0], eos_token=SPECIAL[2], chat_template=TEMPLATE
    )
    tokenizer.save_pretrained(str(folder))


def main(
    folder: Annotated[Path, typer.Argument(help="where to write it")],
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "qwen3-8b",
    device: Annotated[str, typer.Option(help="cuda or cpu; what there is, if left out")] = "",
) -> None:
    """Write a model folder with random weights."""
    import torch

    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape} is none of {', '.join(SHAPES)}", param_hint="--shape")
    write_random_model(folder, shape, device or ("cuda" if torch.cuda.is_available() else "cpu"))


if __name__ == "__main__":
    typer.run(main)
