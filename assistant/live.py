"""Settings that an admin changes while the server runs: kept in the ledger, over those that it was started with.

Only what an exam does not depend on: what was examined must be what serves. Everything else is the settings' file's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from assistant.settings import Settings
from assistant.turn import Assistant
from memory.accounts import Deed
from memory.errors import BadInput
from memory.ledger import Ledger

HOUSE = ""
"""Whose choices these are in the ledger."""

CHANGEABLE = ("temperature", "top_p", "answer_tokens", "recall_k", "recall_share", "nightly_at", "review")
OFF = "off"
"""What is kept for "no value", which the ledger could not tell from "not chosen"."""


def live(assistant: Assistant) -> Assistant:
    """`assistant` with the settings that hold now."""
    return replace(assistant, settings=settings_now(assistant.ledger, assistant.settings))


def settings_now(ledger: Ledger, settings: Settings) -> Settings:
    """`settings` with what was chosen since."""
    chosen = {name: value for name, value in ledger.choices(HOUSE).items() if name in CHANGEABLE}
    changes = {name: None if value == OFF else value for name, value in chosen.items()}
    return settings.model_copy(update=changes) if changes else settings


def change(ledger: Ledger, given: Mapping[str, Any], *, at: datetime, by: str) -> None:
    """Check all of `given`, and keep it; an empty text brings back what the server was started with.

    Raises: BadInput: one line that names the setting; nothing was changed then.
    """
    chosen = {name: _checked(name, value) for name, value in given.items()}
    told = ", ".join(f"{name} = {given[name]!r}" for name in chosen)
    ledger.choose(HOUSE, chosen, deed=Deed(at, by, "settings changed", told))


def _checked(name: str, value: Any) -> Any:
    if name not in CHANGEABLE:
        raise BadInput(f"{name[:40]!r} can't be changed while the server runs: it may be {', '.join(CHANGEABLE)}")
    if value == "":
        return None
    field = Settings.model_fields[name]
    if value == OFF and field.default is None:
        return OFF
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise BadInput(f"{name} can't be {str(value)[:40]!r}: {first[:1].lower()}{first[1:]}") from None
