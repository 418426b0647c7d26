"""What was recalled for what, by id; that something was forgotten; words of scripts without spaces."""

from __future__ import annotations

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
        sa.PrimaryKeyConstraint("seq", name="pk_forgettings"),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        for statement in GIVEN:
            op.get_bind().exec_driver_sql(statement)
