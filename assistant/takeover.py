"""Day and night on one card, the ledger's side: a night asks for the memory, the day gives it up and says so.

Three things stand in the ledger: that a night wants the card, that the day has let go of it, and how the night stands.
A night that is dead wants nothing. Neither side knows the other's process or machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memory.ledger import Ledger
from memory.records import Night, NightStatus

CARD = "card"
"""Whose these choices are in the ledger; accounts have longer names."""

USUAL_SECONDS = 600.0
"""How long a night is thought to be of which nothing is known: no earlier one, and hardly begun."""

TELLING = 0.05
"""Share of a night from which on its own pace tells more than the last night's length."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A night has the card, or is about to. `seconds` is about how long it will be."""

    night_id: str
    seconds: float


def want(ledger: Ledger, night_id: str) -> None:
    """Ask the day for the card. Raises: NotRemembered."""
    ledger.choose(CARD, {"wanted": night_id, "free": None})


def let_go(ledger: Ledger, night_id: str) -> None:
    """The day holds nothing any more, for as long as `night_id` wants the card."""
    ledger.choose(CARD, {"free": night_id})


def is_free(ledger: Ledger, night_id: str) -> bool:
    """Whether the day has let go for that night."""
    return ledger.choices(CARD).get("free") == night_id


def give_back(ledger: Ledger) -> None:
    """The night needs it no longer."""
    ledger.choose(CARD, {"wanted": None, "free": None})


def standing(ledger: Ledger, *, at: datetime) -> Takeover | None:
    """Which night wants the card or has it, if any."""
    wanted = ledger.choices(CARD).get("wanted")
    if wanted is None:
        return None
    nights = ledger.nights(limit=10)
    night = next((n for n in nights if n.id == wanted and n.status is NightStatus.RUNNING), None)
    lease = ledger.lease()
    if night is None or lease is None or lease.night_id != night.id or lease.expires_at < at:
        return None
    return Takeover(night.id, _remaining(night, nights, at))


def _remaining(night: Night, nights: list[Night], at: datetime) -> float:
    """Seconds, by the night's own pace, or as long as the last one took."""
    spent = (at - night.started_at).total_seconds() if night.started_at else 0.0
    if night.progress >= TELLING:
        return max(1.0, spent * (1 - night.progress) / night.progress)
    took = [
        (n.ended_at - n.started_at).total_seconds()
        for n in nights
        if n.started_at and n.ended_at and n.status in (NightStatus.PROMOTED, NightStatus.REJECTED)
    ]
    return max(1.0, (took[0] if took else USUAL_SECONDS) - spent)
