"""What candidates of nights have shown, and how the version that served did in each night's eyes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables more; nothing that is there changes."""
    op.create_table(
        "study_log",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("entry", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_study_log"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "drifts",
        sa.Column("night_id", sa.String(64), nullable=False),
        sa.Column("told", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("night_id", name="pk_drifts"),
        sa.ForeignKeyConstraint(["night_id"], ["nights.id"], name="fk_drifts_night_id"),
    )
