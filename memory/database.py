"""The ledger's database: how it is opened, backed up, migrated, and read and written in transactions.

SQLite in WAL mode. Every writing transaction is taken with BEGIN IMMEDIATE, so that read-then-write is atomic between
processes: the server and the night share a ledger. What an exchange or a night is, it does not know.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from memory import tables as t
from memory.errors import BadInput, LedgerNewer, LedgerUnreadable, NotRemembered

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """One database and its transactions. Open one with `open`; it is safe to use from several threads."""

    def __init__(self, engine: sa.Engine, *, path: Path = Path(":memory:"), read_only: str | None = None) -> None:
        self._engine = engine
        self._path = path
        self.read_only = read_only
        """Why nothing can be written, or None."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ledger at `path`, made or migrated where needed; an older one is copied beside itself first.

        A folder that can't be written gives a ledger that reads what is there (or is empty) and refuses to write.

        Raises:
            LedgerNewer: a newer Nightschool wrote it.
            LedgerUnreadable: the file is no database.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _has_content(path):
                # Before anything may write: another program's database or a newer ledger stays as it is, to the byte.
                with _opened(_uri(path, "mode=ro"), wal=False) as engine:
                    _check(engine, path)
            with _opened(_uri(path, "mode=rwc")) as engine:
                with engine.execution_options(nightschool_write=True).connect() as connection:
                    # SQLite opens a read-only file without a word, and tells at the first write. This one is not kept.
                    connection.exec_driver_sql("PRAGMA user_version = 0")
                    connection.rollback()
                _migrate(engine, path)
        except (OSError, sa.exc.OperationalError) as error:
            return cls._open_read_only(path, why=_why_read_only(path, error))
        except sa.exc.DatabaseError as error:
            raise LedgerUnreadable(path, _why(error)) from error
        return cls(_sqlite(_uri(path, "mode=rwc")), path=path)

    @classmethod
    def _open_read_only(cls, path: Path, *, why: str) -> Self:
        if not _has_content(path):
            return cls(_in_memory(), path=path, read_only=why)
        failure: BaseException | None = None
        # `immutable` reads a WAL database where SQLite can't make the -shm file, but is blind to what is still in the
        # WAL and to other writers: the second choice.
        for options in ("mode=ro", "mode=ro&immutable=1"):
            try:
                with _opened(_uri(path, options), wal=False) as engine:
                    current, head = _check(engine, path)
                    if current != head:
                        raise LedgerUnreadable(path, f"its schema {current} is older than {head}, and {why}")
                    with engine.connect() as connection:
                        connection.execute(sa.select(t.nights.c.seq).limit(1))
            except sa.exc.DatabaseError as error:
                failure = error
            else:
                return cls(_sqlite(_uri(path, options), wal=False), path=path, read_only=why)
        raise LedgerUnreadable(path, _why(failure) if failure else why) from failure

    @classmethod
    def in_memory(cls) -> Self:
        """An empty ledger that lives as long as this object, for tests."""
        return cls(_in_memory())

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """One transaction that reads. Raises: LedgerUnreadable, BadInput."""
        try:
            with self._damage_told(), self._engine.connect() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise LedgerUnreadable(self._path, _why(error)) from error

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One transaction that writes, all of it or nothing. Raises: NotRemembered, LedgerUnreadable, BadInput."""
        if self.read_only:
            raise NotRemembered(self.read_only)
        try:
            with self._damage_told(), self._engine.connect() as plain:
                connection = plain.execution_options(nightschool_write=True)
                with connection.begin():
                    yield connection
        except sa.exc.OperationalError as error:
            raise NotRemembered(_why(error)) from error

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise BadInput("the ledger takes no text with half of a surrogate pair") from error
        except sa.exc.DatabaseError as error:
            # Its subclasses are about statements and locks; the class itself is what a damaged page gives.
            if type(error) is not sa.exc.DatabaseError:
                raise
            raise LedgerUnreadable(self._path, _why(error)) from error


# ---------------------------------------------------------------------- SQLite


def _sqlite(uri: str, *, wal: bool = True, connections: int = 15) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=20, check_same_thread=False, isolation_level=None),
        poolclass=sa.pool.QueuePool,
        pool_size=min(5, connections),
        max_overflow=max(0, connections - 5),
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
            # FULL: an acknowledged rating outlives a power cut, not only a killed process.
            connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("nightschool_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _in_memory() -> sa.Engine:
    # One connection: it is the database, and threads take turns with it.
    engine = _sqlite("file::memory:", wal=False, connections=1)
    t.metadata.create_all(engine)
    return engine


@contextmanager
def _opened(uri: str, *, wal: bool = True) -> Iterator[sa.Engine]:
    engine = _sqlite(uri, wal=wal)
    try:
        yield engine
    finally:
        engine.dispose()


def _uri(path: Path, options: str) -> str:
    return f"{path.absolute().as_uri()}?{options}"


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


# ---------------------------------------------------------------------- from one schema to the next


def _check(engine: sa.Engine, path: Path) -> tuple[str | None, str]:
    """(revision of the database, newest revision known here). Raises: LedgerNewer, LedgerUnreadable."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    known = {script.revision for script in scripts.walk_revisions()}
    head = str(scripts.get_current_head())
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        tables = sa.inspect(connection).get_table_names() if current is None else []
    if tables:
        raise LedgerUnreadable(path, "it is another program's database")
    if current is not None and current not in known:
        raise LedgerNewer(path, current, head)
    return current, head


def _migrate(engine: sa.Engine, path: Path) -> None:
    current, head = _check(engine, path)
    if current == head:
        return
    if current is not None:
        # SQLite's own backup: a whole copy even while another process writes.
        try:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(_backup(path, head))) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            raise OSError(f"no backup could be made before its upgrade: {error}") from error
    command.upgrade(_alembic(engine), "head")


def _backup(path: Path, head: str) -> Path:
    return path.with_name(f"{path.name}.before-{head}.bak")


def _alembic(engine: sa.Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["engine"] = engine.execution_options(nightschool_write=True)
    return config


# ---------------------------------------------------------------------- what went wrong, in a line


def _why_read_only(path: Path, error: BaseException) -> str:
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        return f"the folder {path.parent} can't be written"
    return f"{path}: {_why(error)}"


def _why(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    text = getattr(original, "strerror", None) or str(original)
    return text.splitlines()[0] if text else type(original).__name__
