"""The ledger's schema, as SQLAlchemy tables. To change it, add a file to `migrations/versions` (a test compares both).

Rows of `exchanges`, `ratings` and `lesson_events` are only ever added, until somebody has them forgotten. Times are
ISO-8601 text in UTC, which sorts as time does and reads the same in every database.
"""

from __future__ import annotations

from calendar import month_name
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator


class Time(TypeDecorator[datetime]):
    """An aware datetime, stored as ISO-8601 text in UTC with microseconds."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Any) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = sa.Table(
    "accounts",
    metadata,
    # What exchanges, ratings and lessons name as their user.
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("login", sa.String(128), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("ends_at", Time, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("begins", sa.String(16), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", Time, nullable=False),
)

# What an account, or the house (owner ""), has chosen.
choices = sa.Table(
    "choices",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("user", sa.String(64), nullable=False, index=True),
    sa.Column("created_at", Time, nullable=False),
    # None: the first words say what it is about.
    sa.Column("title", sa.Text, nullable=True),
    # Whether recall may bring back what was said in it, and whether a night may train on it.
    sa.Column("remember", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("train", sa.Boolean, nullable=False, server_default=sa.true()),
    # Few, and looked up by every search.
    sa.Index("ix_conversations_hidden", "id", sqlite_where=sa.text("NOT remember")),
)

exchanges = sa.Table(
    "exchanges",
    metadata,
    # The order of writing, and the id of the exchange's vector in the FAISS index.
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("conversation_id", sa.ForeignKey("conversations.id"), nullable=False, index=True),
    sa.Column("parent_id", sa.ForeignKey("exchanges.id"), nullable=True, index=True),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("history", sa.JSON, nullable=False),
    sa.Column("prompt", sa.JSON, nullable=False),
    sa.Column("model_id", sa.Text, nullable=False),
    sa.Column("adapter", sa.String(32), nullable=False),
    sa.Column("adapter_sha256", sa.String(64), nullable=True),
    sa.Column("recollections", sa.JSON, nullable=False),
    sa.Column("sampling", sa.JSON, nullable=False),
    sa.Column("timings", sa.JSON, nullable=False),
    sa.Column("finish_reason", sa.String(16), nullable=False),
    sa.Column("signature", sa.String(64), nullable=False),
    sqlite_autoincrement=True,
)

ratings = sa.Table(
    "ratings",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("exchange_id", sa.ForeignKey("exchanges.id"), nullable=False, index=True),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("value", sa.SmallInteger, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("correction", sa.Text, nullable=True),
    sqlite_autoincrement=True,
)

lessons = sa.Table(
    "lessons",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("rating_id", sa.ForeignKey("ratings.id"), nullable=False, unique=True),
    sa.Column("exchange_id", sa.ForeignKey("exchanges.id"), nullable=False, index=True),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("history", sa.JSON, nullable=False),
    sa.Column("wanted", sa.Text, nullable=True),
    sa.Column("unwanted", sa.Text, nullable=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("night_id", sa.String(64), nullable=True),
    sa.Column("adapter", sa.String(32), nullable=True),
    # Why a person keeps it out of the nights; None: nobody does.
    sa.Column("hold", sa.Text, nullable=True),
    sqlite_autoincrement=True,
)

lesson_events = sa.Table(
    "lesson_events",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("lesson_id", sa.ForeignKey("lessons.id"), nullable=False, index=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("night_id", sa.String(64), nullable=True),
    sa.Column("adapter", sa.String(32), nullable=True),
    sqlite_autoincrement=True,
)

nights = sa.Table(
    "nights",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("status", sa.String(24), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("started_at", Time, nullable=True),
    sa.Column("ended_at", Time, nullable=True),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("adapter", sa.String(32), nullable=True),
    sa.Column("report", sa.Text, nullable=True),
    sa.Column("resumable", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)

adapters = sa.Table(
    "adapters",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("version", sa.String(32), nullable=False, unique=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("night_id", sa.ForeignKey("nights.id"), nullable=False, index=True),
    sa.Column("model_id", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("scale", sa.Float, nullable=False),
    sa.Column("exam", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("night_id", sa.String(64), nullable=False),
    sa.Column("acquired_at", Time, nullable=False),
    sa.Column("renewed_at", Time, nullable=False),
    sa.Column("expires_at", Time, nullable=False),
)

study_log = sa.Table(
    "study_log",
    metadata,
    # What candidates of nights have shown: the operations of an Optuna study, in order, as Optuna writes them.
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("entry", sa.JSON, nullable=False),
    sqlite_autoincrement=True,
)

drifts = sa.Table(
    "drifts",
    metadata,
    # How the version that served did, as a night found it.
    sa.Column("night_id", sa.ForeignKey("nights.id"), primary_key=True),
    sa.Column("told", sa.JSON, nullable=False),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("user", "name"),
    sqlite_autoincrement=True,
)

passages = sa.Table(
    "passages",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("document_id", sa.ForeignKey("documents.id"), nullable=False, index=True),
    sa.Column("page", sa.Integer, nullable=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

GONE = ""

given = sa.Table(
    "given",
    metadata,
    # Which exchange was answered with what in its prompt: an exchange or a document, by its id; `GONE` for what was
    # forgotten since.
    sa.Column("recalled", sa.String(64), primary_key=True),
    sa.Column("exchange_id", sa.ForeignKey("exchanges.id"), primary_key=True, index=True),
)

forgettings = sa.Table(
    "forgettings",
    metadata,
    # That something was forgotten, without a word of what: so that whoever worked on it meanwhile can tell.
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("user", sa.String(64), nullable=True),
    # Places that an index may still hold, and whether the log may still hold older pages.
    sa.Column("places", sa.JSON, nullable=False),
    sa.Column("log", sa.Boolean, nullable=False),
    # Whether the lexicon's table may still hold words of it in a corner.
    sa.Column("words", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)

# ---------------------------------------------------------------------- the lexicon

# Words of all that can be recalled, for BM25. Triggers keep it, in the transaction of whoever writes: it can't fall
# behind. Its rows are numbered as `memory.places` says: four to a `seq`.
_PLACE, _PASSAGE = "seq * 4", "seq * 4 + 2"
_MONTHS = " ".join(f"WHEN '{n:02}' THEN '{month_name[n]}'" for n in range(1, 13))
_DATE = (
    "CAST(substr({at}, 9, 2) AS INTEGER) || ' ' || CASE substr({at}, 6, 2) "
    + _MONTHS
    + " END || ' ' || substr({at}, 1, 4)"
)
_IN_FORCE = (
    "CASE WHEN NEW.value = 0 THEN e.answer WHEN trim(coalesce(NEW.correction, '')) <> '' THEN NEW.correction"
    " WHEN NEW.value < 0 THEN '' ELSE e.answer END"
)
LEXICON = (
    "CREATE VIRTUAL TABLE lexicon USING fts5"
    "(before, text, date, user UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER lexicon_exchange AFTER INSERT ON exchanges BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user) VALUES"
    f" (NEW.{_PLACE}, spaced(coalesce((SELECT answer FROM exchanges WHERE id = NEW.parent_id), '')),"
    f" spaced(NEW.question || char(10) || NEW.answer), {_DATE.format(at='NEW.created_at')}, NEW.user); END",
    # The answer that holds is what is found: a correction takes the place of what it corrects.
    "CREATE TRIGGER lexicon_rating AFTER INSERT ON ratings BEGIN"
    f" UPDATE lexicon SET text = (SELECT spaced(e.question || char(10) || {_IN_FORCE}) FROM exchanges e"
    f" WHERE e.id = NEW.exchange_id) WHERE rowid = (SELECT {_PLACE} FROM exchanges WHERE id = NEW.exchange_id); END",
    f"CREATE TRIGGER lexicon_forgotten AFTER DELETE ON exchanges BEGIN DELETE FROM lexicon WHERE rowid = OLD.{_PLACE};"
    f" UPDATE lexicon SET before = '' WHERE rowid IN (SELECT {_PLACE} FROM exchanges WHERE parent_id = OLD.id); END",
    "CREATE TRIGGER lexicon_passage AFTER INSERT ON passages BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user)"
    f" SELECT NEW.{_PASSAGE}, spaced(d.name), spaced(NEW.question || char(10) || NEW.text), '', d.user"
    " FROM documents d WHERE d.id = NEW.document_id; END",
    "CREATE TRIGGER lexicon_passage_removed AFTER DELETE ON passages BEGIN"
    f" DELETE FROM lexicon WHERE rowid = OLD.{_PASSAGE}; END",
)
"""The statements that make it. SQLite's own; another database has a search of its own."""

for _statement in LEXICON:
    sa.event.listen(
        metadata,
        "after_create",
        sa.DDL(  # type: ignore[no-untyped-call]
            _statement.replace("%", "%%")
        ).execute_if(dialect="sqlite"),
    )
