"""Which version serves: changing it by hand, and which one comes before. For the page and the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from assistant.engine import AdapterFiles
from assistant.local import check_adapter
from assistant.turn import adapter_files
from memory.errors import BadInput
from memory.ledger import Ledger
from memory.records import BASE, Adapter, AdapterState

Admit = Callable[[AdapterFiles], None]
"""Whether who answers can answer with a version. Raises: ModelUnavailable: it can't, and why."""


def promote(ledger: Ledger, home: Path, version: str, *, model: str, admit: Admit = check_adapter) -> None:
    """Let `version` serve (`base` for none), from the next answer on.

    Args:
        model: the one that answers, as the settings or its engine name it.
        admit: looks at the files; by default whether they are whole.

    Raises:
        NotFound: no such version.
        BadInput: it failed its exam, or was trained for another model.
        ModelUnavailable: its files are missing, damaged or not for this model; what serves now serves on.
        NotRemembered: the ledger can't be written.
    """
    _switch(ledger, home, version, "promoted by hand", model=model, admit=admit)


def roll_back(ledger: Ledger, home: Path, *, model: str, admit: Admit = check_adapter) -> str:
    """Let the version of `model` before the active one serve; returns its name.

    Raises: BadInput when the base serves already; and as `promote`.
    """
    if ledger.active_adapter() is None:
        raise BadInput("there is nothing to roll back: the base model serves")
    fit = [a for a in ledger.adapters() if a.state is AdapterState.ACTIVE or _is_for(model, a)]
    version = previous_version(fit)
    _switch(ledger, home, version, "rolled back by hand", model=model, admit=admit)
    return version


def previous_version(adapters: Sequence[Adapter]) -> str:
    """The newest retired version older than the active one, or `base` where there is none. In any order.

    What was rolled back is retired too, but newer: rolling back again goes on to what came before it.
    """
    active = next((number(a.version) for a in adapters if a.state is AdapterState.ACTIVE), 0)
    older = [a.version for a in adapters if a.state is AdapterState.RETIRED and number(a.version) < active]
    return max(older, key=number, default=BASE)


def number(version: str) -> int:
    """`v12` → 12."""
    return int(version.removeprefix("v"))


def _switch(ledger: Ledger, home: Path, version: str, reason: str, *, model: str, admit: Admit) -> None:
    if version != BASE:
        adapter = ledger.adapter(version)
        if adapter.state is not AdapterState.REJECTED:
            if not _is_for(model, adapter):
                raise BadInput(
                    f"{version} was trained for the model {adapter.model_id}, and {model} is configured:"
                    " choose another version, or base"
                )
            admit(adapter_files(home, adapter))
    ledger.activate(version, reason=reason)


def _is_for(model: str, adapter: Adapter) -> bool:
    """Whether it was trained for `model`. By the name alone: nobody should need the weights to choose a version."""
    # A folder, which the settings name as they like, has its whole path for an id: see `assistant.models.resolve`.
    folder = Path(model).expanduser() if model.startswith("~/") else Path(model)
    return adapter.model_id in (model, str(folder.resolve()))
