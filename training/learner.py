"""Training tonight's adapter: LoRA on the quantised base, from scratch, in a plain loop.

A plain loop, because it is shorter than a trainer's subclass: the rows mix two losses, the reference is the base itself
(computed once, before the adapter is there), and the same rows and seed must give the same bytes.
"""

from __future__ import annotations

import math
import random
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import sha256_of
from training.examples import Batch, Dialogue, Row, batches, collate, rows
from training.objectives import Reference, kl_to_base, nll
from training.progress import Progress
from training.settings import NightSettings
from training.teacher import Diverged, Trained


def train(
    engine: LocalEngine,
    dialogues: Sequence[Dialogue],
    settings: NightSettings,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Trained:
    """Train a fresh adapter on `dialogues` and save it in PEFT's format to `folder`.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    began = time.monotonic()
    rng = random.Random(seed)
    torch.manual_seed(seed)
    made = rows(engine, dialogues)
    pad = engine.tokenizer.pad_token_id
    with engine.base() as base:
        references = _references(base, [row for row in made if row.kind == "replay"], settings, pad)
        model = _with_adapter(base, settings)
        try:
            result = _loop(model, made, references, settings, rng, pad, began, progress)
            model.peft_config["default"].base_model_name_or_path = engine.model_id
            model.save_pretrained(str(folder), save_embedding_layers=False)
        finally:
            model.unload()
            base.eval()
    return Trained(sha256=sha256_of(folder / WEIGHTS_FILE), seconds=round(time.monotonic() - began, 2), **result)


def scale(folder: Path, target: Path, by: float) -> str:
    """Write the adapter of `folder`, `by` times as strong, to `target`; returns the sha256 of its weights.

    A LoRA's product is linear in its B matrices, so that scaling those scales all that it changes.
    """
    shutil.copytree(folder, target, dirs_exist_ok=True)
    weights = load_file(target / WEIGHTS_FILE)
    scaled = {name: (w * by if ".lora_B." in name else w).contiguous() for name, w in weights.items()}
    save_file(scaled, target / WEIGHTS_FILE, metadata={"format": "pt"})
    return sha256_of(target / WEIGHTS_FILE)


def _with_adapter(base: Any, settings: NightSettings) -> Any:
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    # PEFT keeps the adapter in float32 whatever the base is in: in bfloat16 small steps are rounded away.
    model = get_peft_model(base, config, autocast_adapter_dtype=True)
    model.train()
    return model


def _references(base: Any, replay: Sequence[Row], settings: NightSettings, pad: int) -> dict[Row, Reference]:
    """What the base says at every answer position of the replayed rows."""
    found: dict[Row, Reference] = {}
    ordered = sorted(dict.fromkeys(replay), key=lambda row: len(row.ids))
    with torch.inference_mode():
        for start in range(0, len(ordered), settings.batch_rows):
            batch = collate(ordered[start : start + settings.batch_rows], pad=pad)
            logits = _logits(base, batch)
            for i, row in enumerate(batch.rows):
                found[row] = Reference.of(logits[i, batch.answer_positions(i)])
    # Inference tensors can't be saved for a backward pass; clones made outside can.
    return {row: Reference(ref.ids.clone(), ref.log_probs.clone()) for row, ref in found.items()}


def _loop(
    model: Any,
    made: Sequence[Row],
    references: dict[Row, Reference],
    settings: NightSettings,
    rng: random.Random,
    pad: int,
    began: float,
    progress: Progress,
) -> dict[str, Any]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=0.0)
    epochs = settings.epochs
    per_epoch = -(-len(made) // settings.batch_rows)
    losses: list[tuple[float, float]] = []
    tokens = padded = step = epoch = 0
    while epoch < epochs:
        for batch in batches(made, size=settings.batch_rows, pad=pad, rng=rng):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _schedule(step, epochs * per_epoch, settings.warmup)
            loss, parts = _loss(model, batch, references, settings)
            if not math.isfinite(parts[0] + parts[1]):
                raise Diverged(f"the loss was {loss.item()} at step {step + 1} of {epochs * per_epoch}")
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(parts)
            step += 1
            tokens += len(batch.prefix) + int(batch.mask.sum())
            padded += len(batch.prefix) + batch.mask.numel()
            progress(step / (epochs * per_epoch), f"step {step}/{epochs * per_epoch}, loss {parts[0] + parts[1]:.3f}")
        epoch += 1
        if not all(parameter.isfinite().all() for parameter in trainable):
            raise Diverged(f"the adapter held infinite numbers after epoch {epoch} of {epochs}")
        if settings.max_minutes is not None and epoch == 1:
            # The first epoch tells what one costs; those that don't fit are dropped from the schedule.
            spent = (time.monotonic() - began) / 60
            epochs = max(1, min(epochs, int(settings.max_minutes / spent)))
    return {
        "steps": step,
        "epochs": epochs,
        "tokens": tokens,
        "padding": round(1 - tokens / max(1, padded), 4),
        "peak_mb": peak_mb(),
        "losses": losses,
    }


def _loss(
    model: Any, batch: Batch, references: dict[Row, Reference], settings: NightSettings
) -> tuple[torch.Tensor, tuple[float, float]]:
    """The joint loss of one batch, and its two terms as numbers: mean NLL of wanted, mean KL of replayed tokens."""
    logits = _logits(model, batch)
    wanted, held = [], []
    for i, row in enumerate(batch.rows):
        mine = logits[i, batch.answer_positions(i)]
        if row.kind == "wanted":
            wanted.append(nll(mine, torch.tensor(row.ids[row.start :], device=mine.device), known=settings.known_nll))
        else:
            held.append(kl_to_base(mine, references[row]))
    zero = logits.new_zeros((), dtype=torch.float32)
    learn = torch.cat(wanted).mean() if wanted else zero
    hold = torch.cat(held).mean() if held else zero
    return learn + settings.kl_weight * hold, (learn.item(), hold.item())


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    """(rows, keep, vocabulary): of the positions that predict answers; the head is a third of a small model.

    The shared prefix goes through once, and its keys and values stand before every row, gradients included: the same
    numbers as whole rows would give, for less.
    """
    device, count, shared = model.device, len(batch.rows), len(batch.prefix)
    ids, mask = batch.ids.to(device), batch.mask.to(device)
    cache = None
    if shared:
        cache = model(input_ids=batch.prefix[None].to(device), use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(count)
    output: torch.Tensor = model(
        input_ids=ids,
        attention_mask=torch.cat([mask.new_ones(count, shared), mask], dim=1),
        position_ids=shared + (mask.cumsum(-1) - 1).clamp_min(0),
        past_key_values=cache,
        logits_to_keep=batch.keep,
        use_cache=cache is not None,
    ).logits
    return output


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero: the factor of the learning rate at `step`."""
    warm = max(1, round(steps * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def peak_mb() -> float:
    """Most memory that this process has held at once, in MB (of the GPU, where there is one)."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (1e6 if sys.platform == "darwin" else 1e3), 1)
