"""Documents' names of scripts without spaces are found by their words."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LEXICON = (
    "DROP TRIGGER lexicon_passage",
    "CREATE TRIGGER lexicon_passage AFTER INSERT ON passages BEGIN"
    " INSERT INTO lexicon (rowid, before, text, date, user)"
    " SELECT NEW.seq * 4 + 2, spaced(d.name), spaced(NEW.question || char(10) || NEW.text), '', d.user"
    " FROM documents d WHERE d.id = NEW.document_id; END",
    # Only rows that change are written.
    "UPDATE lexicon SET before = spaced(before) WHERE rowid IN (SELECT p.seq * 4 + 2 FROM passages p"
    " JOIN documents d ON d.id = p.document_id WHERE spaced(d.name) <> d.name)",
)


def upgrade() -> None:
    """Make the trigger anew, and cut the names that are there."""
    if op.get_bind().dialect.name == "sqlite":
        for statement in LEXICON:
            op.get_bind().exec_driver_sql(statement)
