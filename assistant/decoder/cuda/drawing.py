"""Logits on a card → a token each, drawn from the likeliest that together have `top_p` (nucleus, arXiv 1904.09751)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SORTED_FIRST = 512
"""Tokens that are sorted before all are: almost every nucleus is among them."""


def draw(logits: torch.Tensor, temperatures: list[float], top_ps: list[float], dice: list[float]) -> list[int]:
    """A token for each row of `logits` (rows, vocabulary) float32; `dice` are of [0, 1)."""
    import torch

    device = logits.device
    given = torch.tensor([temperatures, top_ps, dice], dtype=torch.float64).to(device)
    temperature, top_p, die = (row[:, None] for row in given)
    scaled = (logits - logits.amax(-1, keepdim=True)).double() / temperature
    total = scaled.exp().sum(-1, keepdim=True)
    first = min(SORTED_FIRST, logits.shape[1])
    while True:
        # Sorted by the logits themselves: scaled, two that differ could be the same.
        order = logits.topk(first, dim=-1).indices
        sums = scaled.gather(-1, order).exp().cumsum(-1)
        wanted = top_p * total
        if first == logits.shape[1] or bool((sums[:, -1:] >= wanted).all()):
            break
        first = logits.shape[1]
    last = (sums < wanted).sum(-1, keepdim=True).clamp(max=first - 1)
    within = sums.gather(-1, last)
    place = torch.minimum((sums <= die * within).sum(-1, keepdim=True), last)
    tokens: list[int] = order.gather(-1, place)[:, 0].tolist()
    return tokens
