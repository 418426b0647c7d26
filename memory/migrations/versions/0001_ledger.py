"""The first ledger: conversations, exchanges, ratings, lessons, nights, adapters, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table. Forward only: an older Nightschool gets the backup that was made before."""
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_user", "conversations", ["user"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("night_id", sa.String(64), nullable=False),
        sa.Column("acquired_at", sa.String(32), nullable=False),
        sa.Column("renewed_at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "nights",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("started_at", sa.String(32), nullable=True),
        sa.Column("ended_at", sa.String(32), nullable=True),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("adapter", sa.String(32), nullable=True),
        sa.Column("report", sa.Text, nullable=True),
        sa.Column("resumable", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_nights"),
        sa.UniqueConstraint("id", name="uq_nights_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "adapters",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("night_id", sa.String(64), nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("scale", sa.Float, nullable=False),
        sa.Column("exam", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_adapters"),
        sa.UniqueConstraint("version", name="uq_adapters_version"),
        sa.ForeignKeyConstraint(["night_id"], ["nights.id"], name="fk_adapters_night_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_adapters_night_id", "adapters", ["night_id"])
    op.create_table(
        "exchanges",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("conversation_id", sa.String(64), nullable=False),
        sa.Column("parent_id", sa.String(64), nullable=True),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
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
        sa.PrimaryKeyConstraint("seq", name="pk_exchanges"),
        sa.UniqueConstraint("id", name="uq_exchanges_id"),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name="fk_exchanges_conversation_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["exchanges.id"], name="fk_exchanges_parent_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_exchanges_conversation_id", "exchanges", ["conversation_id"])
    op.create_index("ix_exchanges_parent_id", "exchanges", ["parent_id"])
    op.create_table(
        "ratings",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("exchange_id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("value", sa.SmallInteger, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("correction", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_ratings"),
        sa.UniqueConstraint("id", name="uq_ratings_id"),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name="fk_ratings_exchange_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ratings_exchange_id", "ratings", ["exchange_id"])
    op.create_table(
        "lessons",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("rating_id", sa.String(64), nullable=False),
        sa.Column("exchange_id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("history", sa.JSON, nullable=False),
        sa.Column("wanted", sa.Text, nullable=True),
        sa.Column("unwanted", sa.Text, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("night_id", sa.String(64), nullable=True),
        sa.Column("adapter", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_lessons"),
        sa.UniqueConstraint("id", name="uq_lessons_id"),
        sa.UniqueConstraint("rating_id", name="uq_lessons_rating_id"),
        sa.ForeignKeyConstraint(["rating_id"], ["ratings.id"], name="fk_lessons_rating_id"),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name="fk_lessons_exchange_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lessons_exchange_id", "lessons", ["exchange_id"])
    op.create_index("ix_lessons_state", "lessons", ["state"])
    op.create_table(
        "lesson_events",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("lesson_id", sa.String(64), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("night_id", sa.String(64), nullable=True),
        sa.Column("adapter", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_lesson_events"),
        sa.ForeignKeyConstraint(["lesson_id"], ["lessons.id"], name="fk_lesson_events_lesson_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lesson_events_lesson_id", "lesson_events", ["lesson_id"])
