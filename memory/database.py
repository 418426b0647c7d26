"""The ledger's database: how it is opened, backed up, migrated, and read and written in transactions.

SQLite in WAL mode. Every writing transaction is taken with BEGIN IMMEDIATE, so that read-then-write is atomic between
processes: the server and the night share a ledger. What an exchange or a night is, it does not know.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from memory import tables as t
from memory.errors import BadInput, LedgerNewer, LedgerUnreadable, NightschoolError, NotRemembered
from memory.folding import holds
from memory.lexicon import spaced
from memory.turns import Turns, needs_turns

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION = "alembic_version"
"""The table in which a database says which schema it has."""

IN_MEMORY = Path(":memory:")
BUSY_SECONDS = 20
"""How long a transaction waits for another process that writes."""
READERS_MS = 500
"""How long the emptying of the log waits for readers; after that it is tried again later."""

RETRY_SECONDS = 5.0
"""How long after a ledger could not be opened for writing it is tried again, at the earliest."""


class Database:
    """One database and its transactions. Open one with `open`; it is safe to use from several threads."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        path: Path = IN_MEMORY,
        read_only: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._path = path
        shared = path != IN_MEMORY and needs_turns(sqlite3.sqlite_version_info)
        self._turns = Turns(path if shared else None)
        self._clock = clock
        self._retrying = threading.Lock()
        self._retry_at = clock() + RETRY_SECONDS if read_only else float("inf")
        self.read_only = read_only
        """Why nothing can be written, or None. While there is a reason, it is tried again as something is written."""
        self.before_writing_again: Callable[[], None] = lambda: None
        """Called when it could be written again, before it is; an OSError or NightschoolError of its own forbids it."""

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """The ledger at `path`, made or migrated where needed; an older one is copied beside itself first.

        A folder that can't be written gives a ledger that reads what is there (or is empty), and refuses to write until
        it can be. `clock` (seconds) says when that is tried again.

        Raises:
            LedgerNewer: a newer Nightschool wrote it.
            LedgerUnreadable: it is no file, or the file is no database.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise LedgerUnreadable(path, "it is no file")
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
            return cls._open_read_only(path, why=_why_read_only(path, error), clock=clock)
        except sa.exc.DatabaseError as error:
            raise LedgerUnreadable(path, _why(error)) from error
        return cls(_sqlite(_uri(path, "mode=rwc")), path=path, clock=clock)

    @classmethod
    def _open_read_only(cls, path: Path, *, why: str, clock: Callable[[], float]) -> Self:
        if not _has_content(path):
            return cls(_in_memory(), path=path, read_only=why, clock=clock)
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
                return cls(_sqlite(_uri(path, options), wal=False), path=path, read_only=why, clock=clock)
        raise LedgerUnreadable(path, _why(failure) if failure else why) from failure

    @property
    def stands_in(self) -> bool:
        """Whether it is an empty one, in the place of one that could neither be read nor made."""
        return self.read_only is not None and not _has_content(self._path)

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
        if not self.writable():
            raise NotRemembered(self.read_only or "")
        try:
            with self._turns.taken(BUSY_SECONDS), self._damage_told(), self._engine.connect() as plain:
                connection = plain.execution_options(nightschool_write=True)
                with connection.begin():
                    yield connection
        except TimeoutError as error:
            raise NotRemembered(str(error), to_do="another process holds it: try again") from error
        except sa.exc.OperationalError as error:
            if _busy(error):
                raise NotRemembered(_why(error), to_do="another process holds it: try again") from error
            raise NotRemembered(_why(error)) from error

    def writable(self) -> bool:
        """Whether it can be written. Where it could not be when it was opened it is tried again here, now and then."""
        if self.read_only and self._clock() >= self._retry_at and self._retrying.acquire(blocking=False):
            try:
                self._open_again()
            finally:
                self._retry_at = self._clock() + RETRY_SECONDS
                self._retrying.release()
        return self.read_only is None

    def _open_again(self) -> None:
        try:
            again = type(self).open(self._path, clock=self._clock)
            if again.read_only is None:
                self.before_writing_again()
        except (OSError, NightschoolError) as error:
            self.read_only = str(error)
            return
        # Whoever still reads through the old engine has its connection until it gives it back.
        self._engine, old = again._engine, self._engine
        self.read_only = again.read_only
        old.dispose()

    def _empty_wal(self, wait_ms: int = READERS_MS) -> bool:
        """Write the WAL into the database and cut it to nothing: until then it holds older pages. False where another
        process reads just now.
        """
        try:
            turn = self._turns.taken(max(wait_ms, 1) / 1000)
            with turn, self._damage_told(), self._engine.connect() as plain:
                connection = plain.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
                try:
                    row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
                finally:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")
        except (sa.exc.OperationalError, TimeoutError):
            # Another process writes or empties it, or a write of this one's is under way.
            return False
        return row is not None and row[0] == 0

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
    dialect, statements = _sqlalchemy()

    def connect() -> Any:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)

    pool = sa.pool.QueuePool(
        connect,
        pool_size=min(5, connections),
        max_overflow=max(0, connections - 5),
        dialect=dialect,
    )
    engine = sa.Engine(pool, dialect, sa.make_url("sqlite://"), execution_options={"compiled_cache": statements})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        # What the lexicon's triggers call.
        connection.create_function("spaced", 1, spaced, deterministic=True)
        # What a search through conversations calls: SQLite's own knows small and capital letters of English alone.
        connection.create_function("holds", -1, holds, deterministic=True)
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
            # FULL: an acknowledged rating outlives a power cut, not only a killed process.
            connection.execute("PRAGMA synchronous=FULL")
        # What is deleted is overwritten, not only given free.
        connection.execute("PRAGMA secure_delete=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("nightschool_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@cache
def _sqlalchemy() -> tuple[sa.Dialect, MutableMapping[Any, Any]]:
    """SQLAlchemy's SQLite, and the statements that it has compiled: of one process all ledgers share them. A statement
    takes a hundred times as long to compile as to look up, and there are as many as the code has queries.
    """
    first = sa.create_engine("sqlite://")
    # It asks its first connection what this SQLite can do.
    with first.connect():
        pass
    first.dispose()
    return first.dialect, sa.util.LRUCache(500)


def _in_memory() -> sa.Engine:
    # One connection: it is the database, and threads take turns with it.
    engine = _sqlite("file::memory:", wal=False, connections=1)
    with engine.begin() as connection:
        _make_tables(connection)
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


# Alembic is loaded by those who have something to migrate: for all others it would be a fifth of a start.
@cache
def _revisions(folder: Path) -> tuple[str, ...]:
    """The schemas that the migrations in `folder` lead to, oldest first: what their files' names begin with."""
    return tuple(sorted(file.stem.partition("_")[0] for file in (folder / "versions").glob("[0-9]*.py")))


def _revision(connection: sa.Connection) -> tuple[str | None, list[str]]:
    """(schema of the database, or None; its tables)."""
    names = sa.inspect(connection).get_table_names()
    if VERSION not in names:
        return None, names
    return connection.exec_driver_sql(f"SELECT version_num FROM {VERSION}").scalar(), names  # noqa: S608 - our own name


def _check(engine: sa.Engine, path: Path) -> tuple[str | None, str]:
    """(revision of the database, newest revision known here). Raises: LedgerNewer, LedgerUnreadable."""
    known = _revisions(MIGRATIONS)
    with engine.connect() as connection:
        current, names = _revision(connection)
    if current is None and names:
        raise LedgerUnreadable(path, "it is another program's database")
    if current is not None and current not in known:
        raise LedgerNewer(path, current, known[-1])
    return current, known[-1]


def _migrate(engine: sa.Engine, path: Path) -> None:
    current, head = _check(engine, path)
    if current == head:
        return
    if current is None:
        return _make(engine, head)
    # SQLite's own backup: a whole copy even while another process writes.
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(_backup(path, head))) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        raise OSError(f"no backup could be made before its upgrade: {error}") from error
    from alembic import command

    command.upgrade(_alembic(engine), "head")


def _make(engine: sa.Engine, head: str) -> None:
    """Today's tables in an empty database, in one transaction: migrations are for ledgers that were there before."""
    with engine.execution_options(nightschool_write=True).begin() as connection:
        # Another process may have been first; then it is made, and nothing is left to do.
        if _revision(connection)[0] is None:
            _make_tables(connection)
            # As Alembic makes it, which reads it when there is something to migrate.
            key = f"CONSTRAINT {VERSION}_pkc PRIMARY KEY (version_num)"
            connection.exec_driver_sql(f"CREATE TABLE {VERSION} (version_num VARCHAR(32) NOT NULL, {key})")
            connection.exec_driver_sql(f"INSERT INTO {VERSION} VALUES (?)", (head,))  # noqa: S608 - our own name


def _make_tables(connection: sa.Connection) -> None:
    for statement in _schema():
        connection.exec_driver_sql(statement)


@cache
def _schema() -> tuple[str, ...]:
    """The statements that make today's tables, the lexicon's among them; SQLAlchemy words them once."""
    made: list[str] = []
    dialect, _ = _sqlalchemy()

    def word(statement: Any, *_: object, **__: object) -> None:
        made.append(str(statement.compile(dialect=dialect)))

    t.metadata.create_all(sa.create_mock_engine("sqlite://", word), checkfirst=False)
    return tuple(made)


def _backup(path: Path, head: str) -> Path:
    return path.with_name(f"{path.name}.before-{head}.bak")


def _alembic(engine: sa.Engine) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["engine"] = engine.execution_options(nightschool_write=True)
    return config


# ---------------------------------------------------------------------- what went wrong, in a line


def _why_read_only(path: Path, error: BaseException) -> str:
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        return f"the folder {path.parent} can't be written"
    return f"{path}: {_why(error)}"


def _busy(error: sa.exc.OperationalError) -> bool:
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _why(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    text = getattr(original, "strerror", None) or str(original)
    return text.splitlines()[0] if text else type(original).__name__
