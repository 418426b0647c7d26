"""The ledger's queries, a module for each kind of noun: functions of a connection, which `memory.ledger` composes.

None of them opens or ends a transaction. Whoever calls two of them decides whether they are one.
"""

from memory.sql import adapters, documents, exchanges, forgetting, lessons, lexicon, nights, written

__all__ = ["adapters", "documents", "exchanges", "forgetting", "lessons", "lexicon", "nights", "written"]
