"""The joint objective: what is wanted becomes likelier, and everything else stays as the base would say it.

    L = max(0, NLL(wanted) - known) + w · KL(base ‖ model)(replayed)

Both terms are means over answer tokens. A wanted token that is likely enough teaches nothing more: pushing it on would
only move what was not asked for. Preference terms (what is *not* wanted) join here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 64
"""Tokens of the base's distribution that are kept per position: at this size over 99 % of its mass."""


@dataclass(frozen=True)
class Reference:
    """The base's next-token distribution at some positions: its likeliest tokens, and the mass of all others.

    Attributes:
        ids: (positions, k) token ids.
        log_probs: (positions, k) their log-probabilities, in float32.
    """

    ids: Tensor
    log_probs: Tensor

    @classmethod
    def of(cls, logits: Tensor, k: int = TOP) -> Reference:
        """From the base's logits, (positions, vocabulary)."""
        top = logits.float().log_softmax(-1).topk(min(k, logits.shape[-1]), dim=-1)
        return cls(top.indices, top.values)


def nll(logits: Tensor, targets: Tensor, *, known: float = 0.0) -> Tensor:
    """Negative log-likelihood of each target token beyond `known`, in nats; 0 where it is no more than that.

    Args:
        logits: (positions, vocabulary), of any float type; computed in float32.
        targets: (positions,) token ids.

    Returns: (positions,)
    """
    return (torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none") - known).clamp_min(0)


def kl_to_base(logits: Tensor, base: Reference) -> Tensor:
    """KL(base ‖ model) at each position, in nats, over the base's top tokens and one bucket for all others.

    Merging outcomes can only lower a divergence (the data-processing inequality), so that this is a lower bound of the
    full KL(p ‖ q) = Σ p log(p / q); with k = vocabulary it is equal to it.

    Args:
        logits: (positions, vocabulary) of the model in training.
        base: what the base says at the same positions.

    Returns: (positions,)
    """
    log_q = logits.float().log_softmax(-1).gather(-1, base.ids)
    p = base.log_probs.exp()
    tiny = torch.finfo(torch.float32).eps
    p_rest = (1 - p.sum(-1)).clamp_min(tiny)
    q_rest = (1 - log_q.exp().sum(-1)).clamp_min(tiny)
    return (p * (base.log_probs - log_q)).sum(-1) + p_rest * (p_rest.log() - q_rest.log())
