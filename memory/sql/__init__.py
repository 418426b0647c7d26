"""The ledger's queries, a module for each kind of noun: functions of a connection, which `memory.ledger` composes.

None of them opens or ends a transaction. Whoever calls two of them decides whether they are one.
"""

from memory.sql import (
    accounts,
    adapters,
    documents,
    drifts,
    exchanges,
    forgetting,
    history,
    lessons,
    lexicon,
    nights,
    study,
    written,
)

__all__ = [
    "accounts",
    "adapters",
    "documents",
    "drifts",
    "exchanges",
    "forgetting",
    "history",
    "lessons",
    "lexicon",
    "nights",
    "study",
    "written",
]
