"""A card's memory, and how many blocks of keys and values are made of it: as many as it gives at that moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class Memory:
    """Of one device. What takes memory is handed it, so that a test can hand in a small one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def free(self) -> int:
        """Bytes that nobody has: other processes take of them, too, and may do so right after."""
        import torch

        free, _ = torch.cuda.mem_get_info(self.device)
        return free

    def zeros(self, *sizes: int, dtype: torch.dtype) -> torch.Tensor:
        """Raises: torch.OutOfMemoryError."""
        import torch

        return torch.zeros(sizes, dtype=dtype, device=self.device)


def reserve(make: Callable[[int], None], free: int, block_bytes: int, *, at_least: int, at_most: int) -> int:
    """Make as many blocks as half of what is free holds, and half as many each time that it is not given after all.

    Args:
        make: makes so many, or nothing. Raises: torch.OutOfMemoryError, or RuntimeError where CUDA itself says so.
        free: bytes.
        at_least, at_most: blocks.

    Returns how many were made. Raises: torch.OutOfMemoryError: not even `at_least` can be had.
    """
    import torch

    blocks = max(at_least, min(at_most, free // 2 // block_bytes))
    while True:
        try:
            make(blocks)
            return blocks
        except RuntimeError as error:
            # Of the allocator's class, or, where a recording wanted it, of none of its own.
            if "out of memory" not in str(error):
                raise
            if blocks <= at_least:
                needs = f"{at_least * block_bytes / 1e6:,.0f} MB of keys and values, which one prompt needs,"
                told = f"CUDA out of memory: {needs} can't be had beside what else is on the card"
                raise torch.OutOfMemoryError(told) from error
        # Outside of the handler, which holds what the failed try had made.
        blocks = max(at_least, blocks // 2)
        log.warning("out of memory: %d blocks of keys and values", blocks)
