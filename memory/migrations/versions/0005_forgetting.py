"""What was recalled for what, by id; that something was forgotten; words of scripts without spaces."""

from __future__ import annotations

from calendar import month_name

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

GIVEN = (
    "INSERT OR IGNORE INTO given (recalled, exchange_id) SELECT json_extract(r.value, '$.exchange_id'), e.id"
    " FROM exchanges e, json_each(e.recollections) r WHERE json_extract(r.value, '$.exchange_id') IS NOT NULL",
    # A piece of a document bore the document's name, with the page where it has some.
    "INSERT OR IGNORE INTO given (recalled, exchange_id) SELECT d.id, e.id FROM exchanges e,"
    " json_each(e.recollections) r JOIN documents d ON d.user = e.user AND"
    " substr(json_extract(r.value, '$.source') || ', page ', 1, length(d.name) + 7) = d.name || ', page '",
)


MONTHS = " ".join(f"WHEN '{n:02}' THEN '{month_name[n]}'" for n in range(1, 13))
DATE = (
    "CAST(substr({at}, 9, 2) AS INTEGER) || ' ' || CASE substr({at}, 6, 2) "
    + MONTHS
    + " END || ' ' || substr({at}, 1, 4)"
)
IN_FORCE = (
    "CASE WHEN NEW.value = 0 THEN e.answer WHEN trim(coalesce(NEW.correction, '')) <> '' THEN NEW.correction"
    " WHEN NEW.value < 0 THEN '' ELSE e.answer END"
)
LEXICON = (
    "DROP TRIGGER lexicon_exchange",
    "DROP TRIGGER lexicon_rating",
    "DROP TRIGGER lexicon_passage",
    "CREATE TRIGGER lexicon_exchange AFTER INSERT ON exchanges BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user) VALUES"
    " (NEW.seq * 4, spaced(coalesce((SELECT answer FROM exchanges WHERE id = NEW.parent_id), '')),"
    f" spaced(NEW.question || char(10) || NEW.answer), {DATE.format(at='NEW.created_at')}, NEW.user); END",
    "CREATE TRIGGER lexicon_rating AFTER INSERT ON ratings BEGIN"
    f" UPDATE lexicon SET text = (SELECT spaced(e.question || char(10) || {IN_FORCE}) FROM exchanges e"
    " WHERE e.id = NEW.exchange_id) WHERE rowid = (SELECT seq * 4 FROM exchanges WHERE id = NEW.exchange_id); END",
    "CREATE TRIGGER lexicon_passage AFTER INSERT ON passages BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user)"
    " SELECT NEW.seq * 4 + 2, d.name, spaced(NEW.question || char(10) || NEW.text), '', d.user FROM documents d"
    " WHERE d.id = NEW.document_id; END",
    # Most ledgers hold no such text: only rows that change are written.
    "UPDATE lexicon SET text = spaced(text), before = spaced(before) WHERE rowid IN"
    " (SELECT rowid FROM lexicon WHERE spaced(text) <> text OR spaced(before) <> before)",
)


def upgrade() -> None:
    """Add the tables, and read out of what is stored what was given to which exchange."""
    op.create_table(
        "given",
        sa.Column("recalled", sa.String(64), nullable=False),
        sa.Column("exchange_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("recalled", "exchange_id", name="pk_given"),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name="fk_given_exchange_id"),
    )
    op.create_index("ix_given_exchange_id", "given", ["exchange_id"])
    op.create_table(
        "forgettings",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("user", sa.String(64), nullable=True),
        sa.Column("places", sa.JSON, nullable=False),
        sa.Column("log", sa.Boolean, nullable=False),
        sa.Column("words", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_forgettings"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_conversations_hidden", "conversations", ["id"], sqlite_where=sa.text("NOT remember"))
    if op.get_bind().dialect.name == "sqlite":
        for statement in (*GIVEN, *LEXICON):
            op.get_bind().exec_driver_sql(statement)
