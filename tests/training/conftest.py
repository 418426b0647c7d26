"""What tests of nights share: a ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memory.ledger import Ledger


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A new ledger in memory."""
    opened = Ledger.in_memory()
    yield opened
    opened.close()
