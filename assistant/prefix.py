"""Rows of token ids that begin alike: what they share is computed once, and stands before each of them.

Every row of a chat begins with the same system message, half of a short row. The numbers are those of whole rows, but
for the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Ids = TypeVar("Ids", list[int], tuple[int, ...])


def shared(rows: Sequence[Ids], *, most: int) -> int:
    """How many tokens all `rows` begin with, at most `most`."""
    first, last = min(rows), max(rows)
    return next((i for i in range(most) if first[i] != last[i]), most)


def may_share(model: Any, longest: int) -> bool:
    """Whether rows of up to `longest` tokens may stand behind a prefix: where a model attends to a window of the last
    tokens only, padding behind the prefix would count as part of it; and a state that a layer hands on (convolutions,
    linear attention) can't be parted among rows.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds <= {"full_attention", "sliding_attention"} and (window is None or longest <= window)


def key_values(model: Any, prefix: torch.Tensor, rows: int) -> Any:
    """The cache of a prefix, (shared,) int64, for a batch of `rows`; gradients flow through it where they are on.

    None for an empty prefix.
    """
    if not len(prefix):
        return None
    # Without the head: nobody asks what follows the prefix.
    cache = model.get_decoder()(input_ids=prefix[None].to(model.device), use_cache=True).past_key_values
    cache.batch_repeat_interleave(rows)
    return cache
