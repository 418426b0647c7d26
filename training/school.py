"""Who works together in a night: its collaborators, handed in by whoever starts one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from assistant.engine import AdapterFiles
from memory.ledger import Ledger
from training.settings import NightSettings
from training.teacher import Teacher

Tell = Callable[[str, float, str], None]
"""Called with (stage, share of the whole night done in [0, 1], a few words)."""


@dataclass(frozen=True)
class School:
    """The collaborators of a night. `holder` names this process in the lease."""

    home: Path
    ledger: Ledger
    teacher: Teacher
    settings: NightSettings
    system_prompt: str
    key: bytes
    clock: Callable[[], datetime]
    holder: str
    admit: Callable[[AdapterFiles], None] = lambda files: None
    """Whether who answers by day takes a version that shall serve. Raises: ModelUnavailable: it won't, and why."""
    tell: Tell = lambda stage, share, detail: None
