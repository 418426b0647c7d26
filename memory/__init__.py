"""What is known: the ledger, which is the only truth, and recall over it, which can be rebuilt at will.

This package does not know what a language model, a prompt or a page is, and imports neither `assistant` nor `training`.
`import memory` loads SQL and nothing heavier; FAISS and torch come with the modules that need them.

records.py     the nouns, frozen dataclasses
ledger.py      reading and writing them, a transaction a method
accounts.py    the ledger's people: accounts, sessions, keys, choices, the audit log
history.py     the ledger's shelf: conversations by date and words, their titles, their branches, their end
sql/           the queries that it is made of, a module for each kind of noun
database.py    how the database is opened, backed up, migrated and locked
tables.py      the ledger's schema
migrations/    from one schema to the next
errors.py      what can go wrong, as one tree
embedder.py    text to vectors
vectors.py     the nearest of them
recall.py      a question → ranked recollections, each with why it is there: read this first
testing.py     an embedder that hashes, a clock, makers of the nouns: for anyone's tests
"""

from memory.errors import (
    AlreadyRunning,
    BadInput,
    IndexUnusable,
    LeaseLost,
    LedgerNewer,
    LedgerUnreadable,
    ModelUnavailable,
    NightschoolError,
    NotAllowed,
    NotFound,
    NotRemembered,
)
from memory.ledger import Ledger
from memory.records import (
    BASE,
    Adapter,
    AdapterState,
    Exchange,
    Lease,
    Lesson,
    LessonEvent,
    LessonState,
    Message,
    Night,
    NightStatus,
    Rating,
    Recollection,
    Votes,
    sign,
)

__all__ = [
    "BASE",
    "Adapter",
    "AdapterState",
    "AlreadyRunning",
    "BadInput",
    "Exchange",
    "IndexUnusable",
    "Lease",
    "LeaseLost",
    "Ledger",
    "LedgerNewer",
    "LedgerUnreadable",
    "Lesson",
    "LessonEvent",
    "LessonState",
    "Message",
    "ModelUnavailable",
    "Night",
    "NightStatus",
    "NightschoolError",
    "NotAllowed",
    "NotFound",
    "NotRemembered",
    "Rating",
    "Recollection",
    "Votes",
    "sign",
]
