"""Logits → the next token. The head in eight bits finds who may be the likeliest, the head as it is decides."""

from __future__ import annotations

import numpy as np

from assistant.decoder.packing import Floats, PackedModel
from assistant.engine import Sampling

SPREADS = 6.0
"""Standard deviations of the head's rounding within which a logit is taken to be right: it is beyond once in 5e8."""

NUCLEUS = 5.0
"""Nats below the likeliest token, times the temperature, down to which logits are exact where one is drawn."""

SORTED_FIRST = 512
"""Tokens that are sorted before all are: almost every nucleus is among them."""


def sharpen(logits: Floats, hidden: Floats, model: PackedModel, sampling: Sampling) -> None:
    """Compute anew, with the model's own head, the logits of all tokens that may be chosen.

    Args:
        logits: (vocabulary,) by the head in eight bits; changed.
        hidden: (hidden,) what the head was given.
    """
    spread = model.head_off * float(np.sqrt(hidden @ hidden)) / np.sqrt(model.hidden)
    deep = 2 * SPREADS * spread + (0.0 if sampling.greedy else NUCLEUS * sampling.temperature)
    near = np.flatnonzero(logits >= logits.max() - deep)
    if len(near) > len(logits) // 8:
        logits[:] = model.exact_head @ hidden
    else:
        logits[near] = model.exact_head[near] @ hidden


def choose(logits: Floats, sampling: Sampling, dice: np.random.Generator) -> int:
    """The likeliest token, or one drawn from the likeliest that together have `top_p` (nucleus, arXiv 1904.09751)."""
    if sampling.greedy:
        return int(logits.argmax())
    scaled = (logits - logits.max()).astype(np.float64) / sampling.temperature
    weights = np.exp(scaled)
    total = float(weights.sum())
    first = min(SORTED_FIRST, len(weights))
    while True:
        few = np.argpartition(-weights, first - 1)[:first] if first < len(weights) else np.arange(len(weights))
        order = few[np.lexsort((few, -weights[few]))]
        sums = np.cumsum(weights[order])
        if first == len(weights) or sums[-1] >= sampling.top_p * total:
            break
        first = len(weights)
    within = int(np.searchsorted(sums, sampling.top_p * total)) + 1
    sums = sums[:within]
    return int(order[min(int(np.searchsorted(sums, dice.random() * sums[-1], side="right")), len(sums) - 1)])
