"""Which places a search may find where only some are wanted: those of one user, or what a person wrote.

Few among very many are found by looking at them alone; without it a search would read from the ledger all that is
nearer and not wanted. A set may hold too much (a correction that was taken back, an exchange that was forgotten): what
is found is judged by what the ledger says of it now. It never holds too little.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from memory.bits import Bits, bits, common, united
from memory.ledger import Ledger
from memory.places import Part, place
from memory.records import Kind, Marks

MOST_OF_ONE = 50_000
"""Exchanges and passages of a user up to which they are told apart; who has more has a share of all that any search
soon meets.
"""


class Among:
    """Sets of places over a ledger. Safe to use from several threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._reach = Marks()
        self._corrections, self._pieces = bits(()), bits(())

    def written(self, kind: Kind | None = None) -> Bits:
        """What a person wrote: corrections, pieces of documents, or both for None."""
        with self._lock:
            reach, corrected, pieces = self._ledger.written_by_people(self._reach)
            self._corrections = united(self._corrections, bits(_of_exchanges(corrected)))
            self._pieces = united(self._pieces, bits(place(seq, Part.PASSAGE) for seq in pieces))
            self._reach = reach
            corrections, documents = self._corrections, self._pieces
        if kind is None:
            return united(corrections, documents)
        return corrections if kind == "correction" else documents

    def of(self, user: str, *, within: Bits | None) -> Bits | None:
        """Of those within a set (None: of all) a user's; where the user's are very many, `within` as it is."""
        held = self._ledger.places_of(user, most=MOST_OF_ONE)
        return within if held is None else bits(held) if within is None else common(within, bits(held))


def _of_exchanges(seqs: Iterable[int]) -> Iterable[int]:
    return (place(seq, part) for seq in seqs for part in (Part.QUESTION, Part.ROUND))
