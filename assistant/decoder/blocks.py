"""Keys and values in blocks of sixteen tokens, found again by what was read: a turn computes only what is new.

A block belongs to its tokens, to all that stand before them and to the adapter they were read with; who begins alike
shares it. Nothing is guessed by a hash: a block is looked up by the tokens themselves. What nobody reads any more stays
until its room is needed, what was used longest ago going first (vLLM's automatic prefix caching, arXiv 2309.06180). Of
a block that begins alike and goes on differently the beginning can be copied.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

TOKENS = 16
"""Of a block."""

_Key = tuple[object, tuple[int, ...]]
"""What stands before (the adapter, or a block's own number), and the tokens."""


@dataclass
class Held:
    """The blocks of one conversation under way, and how far they are known to others."""

    root: object
    blocks: list[int] = field(default_factory=list)
    named: int = 0
    last: object = None


class Blocks:
    """Which of `count` blocks hold what. Not for several threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._readers = [0] * count
        self._keys: dict[int, _Key] = {}
        self._found: dict[_Key, tuple[int, int]] = {}
        self._following: dict[object, list[tuple[int, ...]]] = {}
        """What stands before → the tokens of all blocks behind it, sorted."""
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._names = 0

    @property
    def available(self) -> int:
        """Blocks that can be had now."""
        return len(self._free) + len(self._idle)

    def hold(self, tokens: Sequence[int], root: object, longest: int) -> Held | None:
        """Blocks for a conversation that begins with `tokens` and will have `longest` at most, or None: no room now.

        The first `named` of them hold the keys and values of its first 16 * `named` tokens already; the last token is
        never among those, for what follows it must be computed.
        """
        held = Held(root, last=root)
        while (len(held.blocks) + 1) * TOKENS < len(tokens):
            at = len(held.blocks) * TOKENS
            found = self._found.get((held.last, tuple(tokens[at : at + TOKENS])))
            if found is None:
                break
            block, held.last = found
            held.blocks.append(block)
        held.named = len(held.blocks)
        more = -(-longest // TOKENS) - held.named
        resting = sum(block in self._idle for block in held.blocks)
        if more > self.available - resting:
            return None
        for block in held.blocks:
            self._readers[block] += 1
            self._idle.pop(block, None)
        held.blocks += [self._take() for _ in range(more)]
        return held

    def name(self, held: Held, tokens: Sequence[int]) -> None:
        """Make known which blocks are filled by now: `tokens` are those whose keys and values have been computed."""
        while (held.named + 1) * TOKENS <= len(tokens):
            at, block = held.named * TOKENS, held.blocks[held.named]
            key = (held.last, tuple(tokens[at : at + TOKENS]))
            if key in self._found:
                # Somebody else has read the same meanwhile: ours serves us alone.
                held.last = self._found[key][1]
            else:
                self._names += 1
                self._found[key] = (block, self._names)
                self._keys[block] = key
                bisect.insort(self._following.setdefault(held.last, []), key[1])
                held.last = self._names
            held.named += 1

    def next_key(self, held: Held, tokens: Sequence[int]) -> _Key | None:
        """What the next block of a conversation that begins with `tokens` will be named; None: it can't be shared."""
        at = held.named * TOKENS
        return (held.last, tuple(tokens[at : at + TOKENS])) if at + TOKENS < len(tokens) else None

    def catch_up(self, held: Held, tokens: Sequence[int]) -> None:
        """Take over what others have read meanwhile. Nothing of the conversation's next block may be computed yet."""
        while (key := self.next_key(held, tokens)) is not None and (found := self._found.get(key)) is not None:
            own = held.blocks[held.named]
            held.blocks[held.named], held.last = found
            self._readers[found[0]] += 1
            self._idle.pop(found[0], None)
            self._readers[own] -= 1
            self._free.append(own)
            held.named += 1

    def alike(self, held: Held, tokens: Sequence[int]) -> tuple[int, int]:
        """A known block that begins as the next one of a conversation does, and how many tokens they share; 0 of none.

        The conversation's last token is never among them.
        """
        at = held.named * TOKENS
        wanted = tuple(tokens[at : min(at + TOKENS, len(tokens) - 1)])
        following = self._following.get(held.last, [])
        place = bisect.bisect(following, wanted)
        # Of a sorted list, what shares most stands next to it.
        near = following[max(0, place - 1) : place + 1]
        shared, best = max(((_shared(other, wanted), other) for other in near), default=(0, ()))
        return (self._found[held.last, best][0], shared) if shared else (0, 0)

    def release(self, held: Held) -> None:
        """The conversation has ended. Its last blocks go first: beginnings are what others share."""
        for block in reversed(held.blocks):
            self._readers[block] -= 1
            if self._readers[block]:
                continue
            if block in self._keys:
                self._idle[block] = None
            else:
                self._free.append(block)
        held.blocks.clear()

    def _take(self) -> int:
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
        self._readers[block] = 1
        return block

    def _forget(self, block: int) -> None:
        """Nobody finds it any more."""
        before, tokens = key = self._keys.pop(block)
        del self._found[key]
        following = self._following[before]
        del following[bisect.bisect_left(following, tokens)]
        if not following:
            del self._following[before]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
