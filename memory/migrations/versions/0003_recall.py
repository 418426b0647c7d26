"""What recall needs: the lexicon with its triggers, documents, and what each conversation may be used for."""

from __future__ import annotations

from calendar import month_name

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MONTHS = " ".join(f"WHEN '{n:02}' THEN '{month_name[n]}'" for n in range(1, 13))
DATE = (
    "CAST(substr({at}, 9, 2) AS INTEGER) || ' ' || CASE substr({at}, 6, 2) "
    + MONTHS
    + " END || ' ' || substr({at}, 1, 4)"
)
IN_FORCE = (
    "CASE WHEN {r}.value = 0 THEN e.answer WHEN trim(coalesce({r}.correction, '')) <> '' THEN {r}.correction"
    " WHEN {r}.value < 0 THEN '' ELSE e.answer END"
)
LEXICON = (
    "CREATE VIRTUAL TABLE lexicon USING fts5"
    "(before, text, date, user UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER lexicon_exchange AFTER INSERT ON exchanges BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user) VALUES"
    " (NEW.seq * 4, coalesce((SELECT answer FROM exchanges WHERE id = NEW.parent_id), ''),"
    f" NEW.question || char(10) || NEW.answer, {DATE.format(at='NEW.created_at')}, NEW.user); END",
    "CREATE TRIGGER lexicon_rating AFTER INSERT ON ratings BEGIN"
    f" UPDATE lexicon SET text = (SELECT e.question || char(10) || {IN_FORCE.format(r='NEW')} FROM exchanges e"
    " WHERE e.id = NEW.exchange_id) WHERE rowid = (SELECT seq * 4 FROM exchanges WHERE id = NEW.exchange_id); END",
    "CREATE TRIGGER lexicon_forgotten AFTER DELETE ON exchanges BEGIN DELETE FROM lexicon WHERE rowid = OLD.seq * 4;"
    " UPDATE lexicon SET before = '' WHERE rowid IN (SELECT seq * 4 FROM exchanges WHERE parent_id = OLD.id); END",
    "CREATE TRIGGER lexicon_passage AFTER INSERT ON passages BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user)"
    " SELECT NEW.seq * 4 + 2, d.name, NEW.question || char(10) || NEW.text, '', d.user FROM documents d"
    " WHERE d.id = NEW.document_id; END",
    "CREATE TRIGGER lexicon_passage_removed AFTER DELETE ON passages BEGIN"
    " DELETE FROM lexicon WHERE rowid = OLD.seq * 4 + 2; END",
)


def upgrade() -> None:
    """Add the columns and tables, and read into the lexicon what the ledger holds already."""
    for name in ("remember", "train"):
        op.add_column("conversations", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true()))
    op.create_table(
        "documents",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_documents"),
        sa.UniqueConstraint("user", "name", name="uq_documents_user"),
        sa.UniqueConstraint("id", name="uq_documents_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "passages",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("document_id", sa.String(64), nullable=False),
        sa.Column("page", sa.Integer, nullable=True),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_passages"),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name="fk_passages_document_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_passages_document_id", "passages", ["document_id"])
    if op.get_bind().dialect.name != "sqlite":
        return
    for statement in LEXICON:
        op.get_bind().exec_driver_sql(statement)
    op.get_bind().exec_driver_sql(
        "INSERT INTO lexicon (rowid, before, text, date, user)"
        " SELECT e.seq * 4, coalesce(p.answer, ''), e.question || char(10) || coalesce("
        f"(SELECT {IN_FORCE.format(r='r')} FROM ratings r WHERE r.exchange_id = e.id ORDER BY r.seq DESC LIMIT 1),"
        f" e.answer), {DATE.format(at='e.created_at')}, e.user FROM exchanges e LEFT JOIN exchanges p ON"
        " p.id = e.parent_id"
    )
