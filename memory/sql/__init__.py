"""The ledger's queries, a module for each kind of noun: functions of a connection, which `memory.ledger` composes.

None of them opens or ends a transaction. Whoever calls two of them decides whether they are one.
"""

from memory.sql import accounts, adapters, drifts, exchanges, history, lessons, nights, study

__all__ = ["accounts", "adapters", "drifts", "exchanges", "history", "lessons", "nights", "study"]
