"""A conversation is a tree: what stands beside an exchange, and where a branch leads. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

Fork = tuple[str, str | None]
"""(id of an exchange, id of the one that it follows), in the order of writing."""


def siblings(forks: Sequence[Fork]) -> Mapping[str, tuple[str, ...]]:
    """Exchange → itself and those that follow the same one, in the order of writing; only where there are several."""
    following: dict[str | None, list[str]] = defaultdict(list)
    for exchange_id, parent_id in forks:
        following[parent_id].append(exchange_id)
    return {one: tuple(found) for found in following.values() if len(found) > 1 for one in found}


def newest_end(forks: Sequence[Fork], exchange_id: str) -> str:
    """Where the branch that leads on from an exchange was last written to: that exchange, if nothing follows it."""
    below = {exchange_id}
    end = exchange_id
    # What follows an exchange was written after it.
    for one, parent in forks:
        if parent in below:
            below.add(one)
            end = one
    return end
