"""What can go wrong, as one tree. Each message is one line for a person: what happened, and what to do.

NightschoolError
├── NotFound             no such exchange, lesson, night, adapter
├── NotRemembered        the ledger can't be written: the folder is read-only, or the disk is full
├── ForgottenMeanwhile   something that work was made of was forgotten while it went on; nothing of it was written
├── LedgerNewer          a newer Nightschool wrote this ledger
├── LedgerUnreadable     the ledger's file is damaged or no database
├── AlreadyRunning       a night runs; the message says who holds the lease
├── LeaseLost            a night's lease was ended before the night was; nothing of it was written
├── IndexUnusable        the recall index is missing, damaged or of another embedder; it is rebuilt from the ledger
├── Busy                 as many turns as there may be are under way; the message says when to come back
├── NotAllowed           nobody is logged in, or the account may not do that; nothing was changed
├── BadInput             a message, rating or setting that can't be taken; nothing was changed
│   └── TooLong          a message that no prompt of the model can hold
└── ModelUnavailable     weights that are missing, damaged, or that nobody here can fetch; a server that can't answer
    └── Studying         a night has the model's card; the message says for about how long
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path


class NightschoolError(Exception):
    """Anything that a user can be told in one line."""


class NotFound(NightschoolError):
    """No such thing in the ledger."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name[:80]!r}")
        self.kind, self.name = kind, name


class NotRemembered(NightschoolError):
    """The ledger can't be written now. The assistant goes on answering, and says so."""

    def __init__(self, why: str, *, to_do: str = "make room or make it writable, and it goes on by itself") -> None:
        super().__init__(f"nothing is being remembered: {why} ({to_do})")
        self.why = why


class ForgottenMeanwhile(NightschoolError):
    """What was being made holds something that somebody had forgotten meanwhile. Nothing of it was written."""

    def __init__(self) -> None:
        super().__init__("something that this was made of was forgotten meanwhile: it is not kept")


class LedgerNewer(NightschoolError):
    """A newer version wrote this ledger; going on could lose what that version keeps."""

    def __init__(self, path: Path, found: str, known: str) -> None:
        super().__init__(
            f"the ledger {path} has schema {found}, newer than {known}, the newest that this Nightschool knows:"
            " install the newer Nightschool, or choose another --home"
        )


class LedgerUnreadable(NightschoolError):
    """The file is there and is no readable ledger. It is left as it is."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the ledger {path} can't be read ({why}): put a backup in its place, or choose another --home"
        )


class AlreadyRunning(NightschoolError):
    """One night at a time."""

    def __init__(self, holder: str, night_id: str, renewed_at: datetime) -> None:
        super().__init__(
            f"night {night_id} is running, held by {holder}, last heartbeat {renewed_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        self.holder, self.night_id, self.renewed_at = holder, night_id, renewed_at


class LeaseLost(NightschoolError):
    """Who ends a night must hold its lease: one that was given up for dead changes nothing any more."""

    def __init__(self, night_id: str) -> None:
        super().__init__(f"the lease of night {night_id} was ended before the night was: nothing of it was written")
        self.night_id = night_id


class IndexUnusable(NightschoolError):
    """The recall index can't be taken as it is. Nothing is lost: all that it holds is in the ledger."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"the recall index {folder} can't be used ({reason}): rebuilding it from the ledger")
        self.reason = reason


class Busy(NightschoolError):
    """No more at once: nothing was begun. `seconds` is after how long it is worth to ask again, and `own` of those who
    are under way are the asker's.
    """

    def __init__(self, under_way: int, *, seconds: int, own: int = 0) -> None:
        yours = f", {own} of them yours" if own else ""
        super().__init__(f"{under_way} chats are being answered or wait already{yours}: try again in {seconds} s")
        self.seconds = seconds


class BadInput(NightschoolError):
    """Something a person or program sent that can't be taken; nothing was changed."""


class TooLong(BadInput):
    """A message that no prompt of the model can hold."""


class NotAllowed(NightschoolError):
    """Who asks may not do that; nothing was changed. `status` tells nobody (401) from somebody of too low a role."""

    def __init__(self, why: str, *, status: int = 403) -> None:
        super().__init__(why)
        self.status = status


class ModelUnavailable(NightschoolError):
    """No usable weights under that name, or nobody who computes with them now."""


class Studying(ModelUnavailable):
    """A night has taken the card over. `seconds` is about how long it will be."""

    def __init__(self, seconds: float) -> None:
        minutes = max(1, round(seconds / 60))
        super().__init__(f"studying, back in about {minutes} minute{'s' * (minutes > 1)}")
        self.seconds = max(1, math.ceil(seconds))
