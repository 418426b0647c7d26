"""What is known: the ledger, which is the only truth, and recall over it, which can be rebuilt at will.

This package does not know what a language model, a prompt or a page is, and imports neither `assistant` nor `training`.
`import memory` loads SQL and nothing heavier; FAISS and torch come with the modules that need them.

records.py     the nouns, frozen dataclasses
ledger.py      reading and writing them, a transaction a method
lessons.py     the ledger's ratings, and the lessons that they queue
nights.py      the ledger's nights, the versions that came of them, and which one serves
privacy.py     the ledger's privacy: what may be used for what, and what is forgotten
accounts.py    the ledger's people: accounts, sessions, keys, choices, the audit log
history.py     the ledger's shelf: conversations by date and words, their titles, their branches, their end
sql/           the queries that it is made of, a module for each kind of noun
database.py    how the database is opened, backed up, migrated and locked
tables.py      the ledger's schema
migrations/    from one schema to the next
errors.py      what can go wrong, as one tree
embedder.py    text to vectors
encoder.py     the real one's model: a folder in sentence-transformers' format
keeping.py     an index, kept level with the ledger beside everything else
recall.py      a question → ranked recollections, each with why it is there: read this first
hits.py        what was found, judged by the ratings that hold, folded and fused
among.py       which places a search may find, where few of many are wanted
bits.py        sets of places, a bit for each
countries.py   adjectives of countries, and the countries
folding.py     text as two people would call it the same: case, accents, wide letters
lexicon.py     a question → the words that BM25 looks for; what a text names
vectors.py     the nearest vectors: a log that grows, over a base
index_files.py the files of both, and how processes share them
bases.py       the base, of the kind that its size asks for
documents.py   a file → the pieces of it that recall finds, each with its page
scrubbing.py   text that any tokenizer and database takes
places.py      how lexicon and index number what they hold
reranker.py    a cross-encoder, for those who have one
bench/         recall, measured
testing.py     an embedder that hashes, a clock, makers of the nouns: for anyone's tests
"""

from memory.errors import (
    AlreadyRunning,
    BadInput,
    ForgottenMeanwhile,
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
    Document,
    Exchange,
    Forgotten,
    Lease,
    Lesson,
    LessonEvent,
    LessonState,
    Marks,
    Message,
    Night,
    NightStatus,
    Passage,
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
    "Document",
    "Exchange",
    "Forgotten",
    "ForgottenMeanwhile",
    "IndexUnusable",
    "Lease",
    "LeaseLost",
    "Ledger",
    "LedgerNewer",
    "LedgerUnreadable",
    "Lesson",
    "LessonEvent",
    "LessonState",
    "Marks",
    "Message",
    "ModelUnavailable",
    "Night",
    "NightStatus",
    "NightschoolError",
    "NotAllowed",
    "NotFound",
    "NotRemembered",
    "Passage",
    "Rating",
    "Recollection",
    "Votes",
    "sign",
]
