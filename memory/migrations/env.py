"""How Alembic reaches the ledger: through the engine that `memory.database` hands over, in one transaction.

Run by Alembic, which `memory.database` calls when a ledger is opened; it does not know where the database lies. To
write the next migration, change `memory/tables.py` and add a file to `versions/`: `tests/memory/test_migrations.py`
compares.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from memory.tables import metadata

engine: sa.Engine = context.config.attributes["engine"]

# All migrations in one transaction, DDL included: one that is killed half-way leaves the schema that was there. Alembic
# reads the revision within it, so that of two processes that open a ledger at once only one migrates.
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    context.run_migrations()
