"""Training tonight's adapter: LoRA on the quantised base, from scratch, in a plain loop.

A plain loop, because it is shorter than a trainer's subclass: the rows mix three losses, the reference is the base
itself (computed once, before the adapter is there), and the same rows and seed must give the same bytes. (On a GPU
they do so up to rounding: attention's way back adds up in no fixed order there.)
"""

from __future__ import annotations

import json
import math
import random
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn import ModuleList

from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import sha256_of
from memory.errors import ModelUnavailable
from training.examples import Dialogue, Pack, Row, mismatched, of_epoch, packed, rows, steps
from training.fused import fused
from training.lower import Lower
from training.objectives import (
    Reference,
    apo_zero,
    balance,
    dpo,
    kl_to_base,
    kto,
    kto_kl,
    lead_lost,
    mismatch,
    nll,
    sequence_log_prob,
)
from training.progress import Progress
from training.recorded import Recorded
from training.room import out_of_memory
from training.settings import NightSettings
from training.shares import weighed
from training.teacher import Diverged, Trained

PACK_TOKENS = 512
"""Tokens of a packed sequence: attention costs a quarter of all by then (a CPU computes what is masked, too)."""

PACK_TOKENS_GPU = 2048
"""There a pack costs one unpacking of all NF4 weights, and from here on attention under a mask costs more than that."""

ROUNDING = 0.05
"""What bfloat16 makes of the same row in another pack, of its logits' norm, at most."""

KEPT_MB = 1000
"""Most that a night on a CPU keeps of what its lower layers hand on: of the embedded model, half a million tokens."""

ROW_TOKENS = 256
"""What a row of a step is reckoned at, at most: a night that makes do with one row a step packs no more."""


def train(
    engine: LocalEngine,
    dialogues: Sequence[Dialogue],
    settings: NightSettings,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
    start: Path | None = None,
) -> Trained:
    """Train a fresh adapter on `dialogues` and save it in PEFT's format to `folder`.

    Args:
        start: folder of an adapter of the same settings to go on from. What is held and preferred is measured against
            the base all the same.

    Raises:
        Diverged: the loss became NaN or infinite.
        ModelUnavailable: the adapter in `start` does not fit.
    """
    began = time.monotonic()
    rng = random.Random(seed)
    torch.manual_seed(seed)
    made, weights = weighed(_used(rows(engine, dialogues), settings), share=settings.user_share_max)
    longest = max((len(row.ids) for row in made), default=0)
    with engine.base(rounded=_rounded(settings)) as loaded, _attending(loaded, longest) as base:
        if base.device.type == "cuda":
            # What an exam before it held, keys and values of many answers among it, is no need of training's.
            torch.cuda.reset_peak_memory_stats()
        lower = _lower(base, made, settings)
        anchors = _anchors(base, made, settings, lower)
        model = _with_adapter(base, settings)
        try:
            if start is not None:
                _go_on_from(start, model)
            with _computing(model):
                result = _loop(model, made, anchors, lower, settings, rng, began, progress)
            model.peft_config["default"].base_model_name_or_path = engine.model_id
            model.save_pretrained(str(folder), save_embedding_layers=False)
        finally:
            model.unload()
            base.eval()
    seconds = round(time.monotonic() - began, 2)
    return Trained(sha256=sha256_of(folder / WEIGHTS_FILE), seconds=seconds, weights=weights, **result)


def scale(folder: Path, target: Path, by: float) -> str:
    """Write the adapter of `folder`, `by` times as strong, to `target`; returns the sha256 of its weights.

    A LoRA's product is linear in its B matrices, so that scaling those scales all that it changes.
    """
    shutil.copytree(folder, target, dirs_exist_ok=True)
    weights = load_file(target / WEIGHTS_FILE)
    scaled = {name: (w * by if ".lora_B." in name else w).contiguous() for name, w in weights.items()}
    save_file(scaled, target / WEIGHTS_FILE, metadata={"format": "pt"})
    return sha256_of(target / WEIGHTS_FILE)


def _rounded(settings: NightSettings) -> bool:
    """Whether a CPU trains over a base in bfloat16: where `settings.compute` or, left to itself, the CPU says so.

    With arithmetic for bfloat16 a step takes half as long (docs/LOG.md); the adapter itself stays in float32. What was
    learned so is examined in the arithmetic that serves, like anything else.
    """
    return settings.compute == "bfloat16" or (settings.compute == "auto" and _has_bfloat16())


@contextmanager
def _attending(base: Any, longest: int) -> Iterator[Any]:
    """The base to train; on a CPU it attends by plain products meanwhile: torch's fused attention goes back through
    short sequences five times as slowly (docs/LOG.md). Rows of up to `longest` tokens must be short for that: plain
    products keep each pair of them.
    """
    usual = base.config._attn_implementation
    if base.device.type == "cpu" and longest <= 2 * PACK_TOKENS:
        base.set_attn_implementation("eager")
    try:
        yield base
    finally:
        base.set_attn_implementation(usual)


def _computing(model: Any) -> AbstractContextManager[None]:
    """How `model` computes its steps: on a GPU, over packed weights, in fewer pieces."""
    return nullcontext() if model.device.type == "cpu" else fused(model)


def _has_bfloat16() -> bool:
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _with_adapter(base: Any, settings: NightSettings) -> Any:
    still = _all_but_the_upper(base, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=still,
        task_type="CAUSAL_LM",
    )
    # PEFT keeps the adapter in float32 whatever the base is in: in bfloat16 small steps are rounded away.
    model = get_peft_model(base, config, autocast_adapter_dtype=True)
    for name, parameter in model.named_parameters():
        # Experts are parameters, to PEFT, and it excludes modules alone.
        if still and re.fullmatch(still, name.removeprefix("base_model.model.")):
            parameter.requires_grad_(requires_grad=False)
    model.train()
    return model


def _all_but_the_upper(base: Any, settings: NightSettings) -> str | None:
    """A pattern of the names of all modules that do not learn; None where all do."""
    name, layers, first = _stack(base, settings)
    if not first:
        return None
    upper = "|".join(map(str, range(first, len(layers))))
    return rf"(?!{re.escape(name)}\.(?:{upper})\.).*"


def _stack(base: Any, settings: NightSettings) -> tuple[str, Sequence[Any], int]:
    """The list of the base's layers, its name, and the place of the first that learns: those do that are of the upper
    `settings.layers` of them, one at least. 0 where all do, or the base is not built of a list of them, as others are.
    """
    depth = getattr(base.config.get_text_config(), "num_hidden_layers", 0)
    for name, module in base.named_modules():
        if isinstance(module, ModuleList) and len(module) == depth:
            return name, list(module), max(0, min(depth - round(depth * settings.layers), depth - 1))
    return "", (), 0


def _lower(base: Any, made: Sequence[Row], settings: NightSettings) -> Lower | None:
    """What the layers that do not learn hand on of each row that an epoch hears. None where there are none, where more
    than that goes on to the layers above them, where it is too much to keep, and on a GPU, which has recorded its steps
    whole.
    """
    _, layers, first = _stack(base, settings)
    if not first or base.device.type != "cpu":
        return None
    heard = [row for number in range(settings.epochs) for row in of_epoch(made, number, most=settings.epoch_rows)]
    rows, longest = list(dict.fromkeys(heard)), _longest(base, settings)
    kept_mb = sum(len(row.ids) for row in rows) * base.config.get_text_config().hidden_size * base.dtype.itemsize / 1e6
    if not rows or kept_mb > KEPT_MB:
        return None
    (alone,), lower = packed(rows[:1], longest=longest), Lower(layers, first)
    with torch.inference_mode():
        computed = _logits(base, alone)
        try:
            # Read beside another, whose traces it must not need.
            lower.read(packed(rows[:2], longest=longest)[::-1], partial(_logits, base))
            handed_on = _logits(base, alone, lower)
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if out_of_memory(error):
                raise
            # Layers that hand on several things, or take from others than the one below.
            return None
        if (computed - handed_on).norm() > ROUNDING * computed.norm():
            return None
        lower.read(packed(rows, longest=longest), partial(_logits, base))
    return lower


def _go_on_from(folder: Path, model: Any) -> None:
    """Put the weights of the adapter in `folder` into the fresh one. Raises: ModelUnavailable."""
    weights, fresh = load_file(folder / WEIGHTS_FILE), get_peft_model_state_dict(model, save_embedding_layers=False)
    theirs = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    # The strength is no weight, but the weights mean nothing without it.
    ours = model.peft_config["default"]
    same = {name: w.shape for name, w in weights.items()} == {name: w.shape for name, w in fresh.items()}
    if not same or (theirs.get("r"), theirs.get("lora_alpha")) != (ours.r, ours.lora_alpha):
        raise ModelUnavailable(
            f"the adapter in {folder} has other layers, rank or alpha than tonight's: it can't be gone on from"
        )
    set_peft_model_state_dict(model, weights)


def _used(made: Sequence[Row], settings: NightSettings) -> list[Row]:
    """The rows to train: unwanted ones only for a preference, and only enough of them; for DPO those in pairs."""
    answered = {row.prompt for row in made if row.kind == "wanted"}
    unwanted = {
        row for row in made if row.kind == "unwanted" and (settings.preference != "dpo" or row.prompt in answered)
    }
    if settings.preference == "none" or len(unwanted) < settings.preference_min_rows:
        return [row for row in made if row.kind != "unwanted"]
    used = [row for row in made if row.kind != "unwanted" or row in unwanted]
    # Nobody has counted the tokens of an answer that was not to be trained; what matters of it is how it begins.
    longest = settings.lesson_tokens
    return [replace(row, ids=row.ids[: max(longest, row.start + 1)]) if row in unwanted else row for row in used]


@dataclass(frozen=True)
class _Anchors:
    """What the base says to tonight's rows. Without unwanted rows there are only the replayed ones' `tokens`.

    Attributes:
        tokens: of each replayed row, its distribution at every answer position.
        log_probs: of each wanted and unwanted row, log π_base(y|x); for KTO also of those that `strangers` maps to.
        strangers: for KTO, from each of these rows to one with an answer to something else.
        weights: (λ_D, λ_U), see `balance`.
    """

    tokens: Mapping[Row, Reference]
    log_probs: Mapping[Row, float] = field(default_factory=dict)
    strangers: Mapping[Row, Row] = field(default_factory=dict)
    weights: tuple[float, float] = (1.0, 1.0)


def _anchors(base: Any, made: Sequence[Row], settings: NightSettings, lower: Lower | None = None) -> _Anchors:
    found: dict[Row, Reference] = {}
    with torch.inference_mode():
        replayed = list(dict.fromkeys(row for row in made if row.kind == "replay"))
        for row, logits, _ in _answers(base, packed(replayed, longest=_longest(base, settings)), lower):
            found[row] = Reference.of(logits)
    # Inference tensors can't be saved for a backward pass; clones made outside can.
    tokens = {row: Reference(ref.ids.clone(), ref.log_probs.clone()) for row, ref in found.items()}
    unwanted = sum(row.kind == "unwanted" for row in made)
    if not unwanted:
        return _Anchors(tokens)
    preferred = [row for row in made if row.kind != "replay"]
    strangers = mismatched(preferred) if settings.preference == "kto" else {}
    with torch.inference_mode():
        scored = packed(list(dict.fromkeys([*preferred, *strangers.values()])), longest=_longest(base, settings))
        found_probs = {row: sequence_log_prob(*said) for row, *said in _answers(base, scored, lower)}
    log_probs = dict(zip(found_probs, torch.stack([*found_probs.values()]).tolist(), strict=True))
    return _Anchors(tokens, log_probs, strangers, balance(len(preferred) - unwanted, unwanted))


def _longest(model: Any, settings: NightSettings) -> int:
    """Tokens of a pack: fewer where memory has made steps small, and none where rows can't share a sequence, because
    some layer hands on a state, or looks through a window, instead of attending as it is told.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(config, "sliding_window", None):
        return 0
    most = PACK_TOKENS if model.device.type == "cpu" else PACK_TOKENS_GPU
    return min(most, settings.batch_rows * ROW_TOKENS)


def _loop(
    model: Any,
    made: Sequence[Row],
    anchors: _Anchors,
    lower: Lower | None,
    settings: NightSettings,
    rng: random.Random,
    began: float,
    progress: Progress,
) -> dict[str, Any]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    highest = _learning_rate(made, settings)
    on_gpu = model.device.type != "cpu"
    recorded = Recorded(model, partial(_said, model)) if on_gpu else None
    optimizer = torch.optim.AdamW(trainable, lr=highest, weight_decay=0.0, fused=on_gpu)
    epochs = settings.epochs
    heard = [of_epoch(made, number, most=settings.epoch_rows) for number in range(epochs)]
    planned = sum(-(-len(rows) // settings.batch_rows) for rows in heard)
    losses: list[dict[str, float]] = []
    tokens = step = epoch = 0
    first_step = time.monotonic()
    while epoch < epochs:
        for packs in steps(heard[epoch], size=settings.batch_rows, longest=_longest(model, settings), rng=rng):
            for group in optimizer.param_groups:
                group["lr"] = highest * _schedule(step, planned, settings.warmup)
            loss, parts = _loss(model, packs, anchors, settings, lower, recorded)
            loss.backward()  # type: ignore[no-untyped-call]
            # Its graph ends here: what it holds of the parameters belongs to a stream that a recording is not on.
            del loss
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            # Read once a step, and last: a GPU has nothing to do while it is read.
            terms = dict(zip(parts, torch.stack([*parts.values()]).tolist(), strict=True))
            if not math.isfinite(sum(terms.values())):
                raise Diverged(f"the loss was {sum(terms.values())} at step {step + 1} of {planned}")
            losses.append(terms)
            step += 1
            tokens += sum(len(pack.ids) for pack in packs)
            words = f"step {step}/{planned}, loss {sum(terms.values()):.3f}"
            progress(step / planned, words)
        epoch += 1
        if not torch.stack([parameter.isfinite().all() for parameter in trainable]).all():
            raise Diverged(f"the adapter held infinite numbers after epoch {epoch} of {epochs}")
        if settings.max_minutes is not None and epoch == 1:
            # The first epoch tells what one costs; those that don't fit are dropped from the schedule.
            left = 60 * settings.max_minutes - (first_step - began)
            epochs = max(1, min(epochs, int(left / (time.monotonic() - first_step))))
            planned = sum(-(-len(rows) // settings.batch_rows) for rows in heard[:epochs])
    return {
        "steps": step,
        "epochs": epochs,
        "tokens": tokens,
        "peak_mb": peak_mb(),
        "losses": losses,
    }


def _learning_rate(made: Sequence[Row], settings: NightSettings) -> float:
    """The highest rate of a night: it grows with the root of the number of lessons, within bounds (docs/LOG.md)."""
    lessons = len({row.prompt for row in made if row.kind == "wanted" and row.wording == 0})
    return settings.learning_rate * math.sqrt(min(2.0, max(1.0, lessons / settings.learning_rate_lessons)))


def _loss(
    model: Any,
    packs: Sequence[Pack],
    anchors: _Anchors,
    settings: NightSettings,
    lower: Lower | None = None,
    recorded: Recorded | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The joint loss of one step, and its terms without gradients: mean NLL of wanted tokens, mean KL, mismatch and
    lost lead of replayed ones, mean preference of answers or pairs.

    Each is a mean over the whole step, so that cutting it into packs changes nothing; and the graphs of all packs are
    held until the one backward pass, which is no more memory than one long pack would need.
    """
    wanted, held, matched, leads, scores = [], [], [], [], []
    # What is recorded holds one pack's way back at a time.
    for row, mine, targets in _answers(model, packs, lower, recorded if len(packs) == 1 else None):
        if row.kind == "replay":
            base = anchors.tokens[row]
            log_probs = base.of_model(mine)
            held.append(kl_to_base(log_probs, base))
            matched.append(mismatch(log_probs, base))
            leads.append(lead_lost(log_probs, base))
            continue
        if row.kind == "wanted":
            wanted.append(row.weight * nll(mine, targets, known=settings.known_nll))
        if anchors.log_probs:
            scores.append((row, sequence_log_prob(mine, targets)))
    zero = torch.zeros((), device=model.device)
    learn = torch.cat(wanted).mean() if wanted else zero
    hold = torch.cat(held).mean() if held else zero
    match = torch.cat(matched).mean() if matched else zero
    prefer = _preference(model, scores, anchors, settings) if scores else zero
    lead = torch.cat(leads).mean() if leads else zero
    loss = learn + settings.kl_weight * hold + settings.match_weight * match + settings.lead_weight * lead
    if scores:
        loss = loss + settings.preference_weight * prefer
    terms = {"nll": learn, "kl": hold, "match": match, "lead": lead, "preference": prefer}
    return loss, {name: term.detach() for name, term in terms.items()}


def _preference(
    model: Any, scores: Sequence[tuple[Row, torch.Tensor]], anchors: _Anchors, settings: NightSettings
) -> torch.Tensor:
    """The preference term of a step, from each row's log π(y|x): its mean over answers, or for DPO over pairs."""

    def both(scored: Sequence[tuple[Row, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows,) of the model's log-probabilities, and (rows,) of the base's."""
        ours = torch.stack([score for _, score in scored])
        return ours, torch.tensor([anchors.log_probs[row] for row, _ in scored], device=ours.device)

    beta = settings.preference_beta
    if settings.preference == "dpo":
        liked = {row.prompt: (row, score) for row, score in scores if row.kind == "wanted"}
        worse = [(row, score) for row, score in scores if row.kind == "unwanted"]
        if not worse:
            return torch.zeros((), device=model.device)
        return dpo(*both([liked[row.prompt] for row, _ in worse]), *both(worse), beta=beta).mean()
    policy, base = both(scores)
    wanted = torch.tensor([row.kind == "wanted" for row, _ in scores], device=policy.device)
    more, less = anchors.weights
    if settings.preference == "apo":
        return apo_zero(policy, base, wanted, beta=beta, wanted_weight=more, unwanted_weight=less).mean()
    strangers = packed([anchors.strangers[row] for row, _ in scores], longest=_longest(model, settings))
    with torch.no_grad():
        moved = kto_kl(*both([(row, sequence_log_prob(*said)) for row, *said in _answers(model, strangers)]))
    return kto(policy, base, wanted, beta=beta, kl=moved, wanted_weight=more, unwanted_weight=less).mean()


def _answers(
    model: Any, packs: Iterable[Pack], lower: Lower | None = None, recorded: Recorded | None = None
) -> Iterator[tuple[Row, torch.Tensor, torch.Tensor]]:
    """Every row with the (positions, vocabulary) logits that predict its answer, and the (positions,) tokens of it."""
    for pack in packs:
        there, lengths = pack.to(model.device), [row.answer_tokens for row in pack.rows]
        if recorded is not None and len(pack.rows) > 1:
            logits = recorded.logits(there, lambda filled: _mask(filled, model.dtype))
        else:
            logits = _logits(model, there, lower)
        said = torch.split(logits, lengths)
        yield from zip(pack.rows, said, torch.split(there.answers, lengths), strict=True)


def _logits(model: Any, pack: Pack, lower: Lower | None = None) -> torch.Tensor:
    """(answer tokens of all rows, vocabulary), row after row, of a pack where the model is."""
    # One row alone is an ordinary sequence: the model masks it in its own way, whatever its layers are.
    mask = None if len(pack.rows) == 1 else _mask(pack, model.dtype)
    with lower.handing_on(pack) if lower else nullcontext():
        return _said(model, pack.ids[None], pack.positions[None], mask, pack.predicting)


def _said(
    model: Any, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, predicting: torch.Tensor
) -> torch.Tensor:
    """(predicting, vocabulary) of (1, tokens): only what predicts an answer reaches the head, which is a third of a
    small model's work.
    """
    head = model.get_output_embeddings()
    picked = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][0, predicting],))
    try:
        output: torch.Tensor = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    finally:
        picked.remove()
    return output


def _mask(pack: Pack, dtype: torch.dtype) -> torch.Tensor:
    """(1, 1, tokens, tokens), to be added to what attention weighs: 0 where it may look.

    Its lines begin at multiples of 8 numbers, or each layer's attention on a GPU would make, and keep, such a copy.
    """
    tokens = len(pack.ids)
    mask = torch.zeros(tokens, -(-tokens // 8) * 8, dtype=dtype, device=pack.ids.device)[:, :tokens]
    return mask.masked_fill_(~pack.sees, torch.finfo(dtype).min)[None, None]


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
