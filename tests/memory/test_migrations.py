"""From one schema to the next."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from memory import Ledger, LedgerNewer, LedgerUnreadable
from memory.database import MIGRATIONS, _alembic, _opened, _revisions, _uri
from memory.records import Document, Passage
from memory.tables import metadata
from memory.testing import NOON, exchange

NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{head}", None, None


def upgrade():
    op.add_column("exchanges", sa.Column("mood", sa.Text, nullable=True))
    {then}
"""

HEAD = ScriptDirectory(str(MIGRATIONS)).get_current_head()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger lies: a folder whose name means something in URLs and in ini files."""
    return tmp_path / "a b#c%d?e" / "ledger.db"


def next_version(folder: Path, then: str = "pass") -> Path:
    """The migrations of a later Nightschool, with one more column."""
    migrations = Path(shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__")))
    (migrations / "versions" / "9999_mood.py").write_text(NEXT.format(then=then, head=HEAD))
    return migrations


def migrated(path: Path, revision: str = "head") -> None:
    """A ledger at `path` as that revision's Nightschool left it, come there by every migration."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(_uri(path, "mode=rwc")) as engine:
        upgrade(_alembic(engine), revision)


def schema(path: Path) -> dict[str, str]:
    """Each table's and index's SQL, without Alembic's own."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in rows if name not in ("alembic_version", "sqlite_sequence")}


def in_tables(name: str | None, kind: str, _parents: object) -> bool:
    """Not the lexicon's own, which Alembic doesn't know."""
    return not (kind == "table" and str(name).startswith("lexicon"))


def test_the_ledger_knows_its_schemas_without_alembic(path: Path, tmp_path: Path) -> None:
    """From the names of the migrations, in their order, and from the very table that Alembic makes."""
    told = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
    assert list(_revisions(MIGRATIONS)) == told[::-1]
    made = tmp_path / "made" / "ledger.db"
    migrated(path)
    Ledger.open(made).close()
    tables = []
    for ledger in (path, made):
        with closing(sqlite3.connect(ledger)) as db:
            (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            tables.append(["".join(sql.split()), *db.execute("SELECT * FROM alembic_version")])
    assert tables[0] == tables[1]


def test_a_ledger_that_is_level_needs_no_alembic(path: Path) -> None:
    """Neither to be made nor to be opened: it would be a fifth of each start."""
    code = (
        "import sys; from pathlib import Path; from memory import Ledger\n"
        "for _ in range(2): Ledger.open(Path(sys.argv[1])).close()\n"
        "print('alembic' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_migrated_ledger_is_the_schema_of_tables(path: Path) -> None:
    """Alembic finds no difference between a migrated database and tables.metadata."""
    migrated(path)
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(path))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": in_tables}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def clauses(path: Path) -> dict[str, list[str]]:
    """Each table's and index's SQL by its parts: SQLite writes a column that was added later behind the others."""
    parts = {name: re.split(r", (?![^(]*\))", re.sub(r"\)$", "", sql)) for name, sql in schema(path).items()}
    return {name: sorted(part.strip() for part in found) for name, found in parts.items()}


def test_migrated_schema_is_that_of_tables_to_the_letter(path: Path, tmp_path: Path) -> None:
    """Keys, constraints' names and AUTOINCREMENT, which Alembic does not compare, are the same as well."""
    migrated(path)
    made = tmp_path / "made.db"
    Ledger.open(made).close()
    assert clauses(path) == clauses(made)


def test_the_first_ledger_is_taken_along(path: Path) -> None:
    """A ledger of the first schema keeps its conversations and lessons; none has a title or is held back."""
    migrated(path, "0001")
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "INSERT INTO conversations (id, user, created_at) VALUES ('c1', 'local', '2026-11-23T12:00:00+00:00')"
        )
        db.commit()
    ledger = Ledger.open(path)
    assert ledger.owner("c1") == "local"
    assert not ledger.has_accounts()
    ledger.add_exchange(exchange("e1"))
    assert ledger.title("c1") == "What is the capital of France?"
    ledger.close()


def test_the_first_ledger_is_upgraded(path: Path) -> None:
    """One of the first schema gets the tables that came since, and keeps its rows; the backup lies beside it."""
    migrated(path, "0001")
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO conversations VALUES ('c1', 'local', '2026-11-23T12:00:00.000000+00:00')")
        db.commit()
    before = schema(path)
    assert "study_log" not in before
    assert "accounts" not in before
    ledger = Ledger.open(path)
    ledger.append_study_log([{"op": 1}])
    assert ledger.study_log() == [{"op": 1}]
    assert ledger.latest_conversation("local") is None
    ledger.close()
    assert before.keys() < schema(path).keys()
    (backup,) = path.parent.glob("ledger.db.before-*.bak")
    assert schema(backup) == before
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id FROM conversations").fetchall() == [("c1",)]


def test_an_older_ledger_that_cant_be_written_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be upgraded, and half of what is asked of it would fail; the line says why, and the file stays."""
    Ledger.open(path).close()
    before = path.read_bytes()

    def full(engine: sa.Engine, path: Path) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as later:
        later.setattr("memory.database.MIGRATIONS", next_version(tmp_path / "later"))
        later.setattr("memory.database._migrate", full)
        with pytest.raises(LedgerUnreadable, match=f"schema {HEAD} is older than 9999, and .*the disk is full"):
            Ledger.open(path)
    assert path.read_bytes() == before


def test_opening_again_changes_nothing(path: Path) -> None:
    """A ledger of the newest schema is neither migrated nor backed up."""
    Ledger.open(path).close()
    before = schema(path)
    Ledger.open(path).close()
    assert schema(path) == before
    assert not list(path.parent.glob("*.bak"))


def test_older_ledger_is_backed_up_and_migrated(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older ledger gets the new schema, keeps its rows, and lies beside itself as it was, unwritten WAL included."""
    old = Ledger.open(path)
    old.add_exchange(exchange("e1"))
    before = schema(path)
    with monkeypatch.context() as later:
        later.setattr("memory.database.MIGRATIONS", next_version(tmp_path / "later"))
        new = Ledger.open(path)
        assert new.read_only is None
        assert new.exchange("e1").answer == "Paris."
        new.close()
    old.close()
    assert "mood" in schema(path)["exchanges"]
    backup = path.with_name("ledger.db.before-9999.bak")
    assert schema(backup) == before
    restored = Ledger.open(backup)
    assert restored.exchange("e1") == exchange("e1")
    restored.close()


def test_newer_ledger_is_refused_and_left_alone(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that a newer Nightschool wrote is not opened, and not a byte of it changes."""
    with monkeypatch.context() as later:
        later.setattr("memory.database.MIGRATIONS", next_version(tmp_path / "later"))
        Ledger.open(path).close()
    before = path.read_bytes()
    with pytest.raises(LedgerNewer, match=f"schema 9999, newer than {HEAD}"):
        Ledger.open(path)
    assert path.read_bytes() == before


def test_migration_that_fails_half_way_leaves_the_old_schema(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrations are one transaction: when one breaks, nothing of it stays and the old version opens the ledger."""
    Ledger.open(path).close()
    before = schema(path)
    with monkeypatch.context() as later:
        broken = next_version(tmp_path / "later", then="raise RuntimeError('broken')")
        later.setattr("memory.database.MIGRATIONS", broken)
        with pytest.raises(RuntimeError, match="broken"):
            Ledger.open(path)
    assert schema(path) == before
    ledger = Ledger.open(path)
    assert ledger.read_only is None
    ledger.close()


def test_a_ledger_of_before_the_lexicon_is_read_into_it(path: Path) -> None:
    """What an older ledger holds is found by its words after the upgrade, with the answer that holds."""
    from memory.lexicon import terms

    migrated(path, "0001")
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO conversations VALUES ('c1', 'ann', '2026-05-03T12:00:00.000000+00:00')")
        for seq, parent in ((1, None), (2, "e1")):
            db.execute(
                "INSERT INTO exchanges VALUES (?, ?, 'c1', ?, 'ann', ?, 'Where do owls go',"
                " 'South', '[]', '[]', 'm', 'base', NULL, '[]', '{}', '{}', 'stop', 's')",
                (seq, f"e{seq}", parent, "2026-05-03T12:00:00.000000+00:00"),
            )
        at = "2026-05-04T12:00:00.000000+00:00"
        db.execute("INSERT INTO ratings VALUES (1, 'r1', 'e2', 'ann', ?, -1, '[]', '', 'Nowhere 法国首都')", (at,))
        db.commit()
    ledger = Ledger.open(path)
    found = {
        text: [place for place, _ in ledger.find_words(terms(text), limit=9)]
        for text in ("nowhere", "owl", "May 3", "首都")
    }
    assert found["nowhere"] == found["首都"] == [8]
    assert sorted(found["owl"]) == sorted(found["May 3"]) == [4, 8]
    assert ledger.use("c1") == (True, True)
    ledger.close()


def test_names_of_documents_that_were_there_are_cut(path: Path) -> None:
    """One of a script without spaces is found by its words after the upgrade, an older document's as a new one's."""
    from memory.lexicon import terms

    migrated(path, "0005")
    with closing(sqlite3.connect(path)) as db:
        db.create_function("spaced", 1, lambda text: text)
        at = "2026-05-03T12:00:00.000000+00:00"
        for seq, name in ((1, "安装手册.txt"), (2, "manual.txt")):
            db.execute("INSERT INTO documents VALUES (?, ?, 'ann', ?, 's', ?)", (seq, f"d{seq}", name, at))
            db.execute("INSERT INTO passages VALUES (?, ?, NULL, '', 'Tighten the screws')", (seq, f"d{seq}"))
        db.commit()
    ledger = Ledger.open(path)
    document = Document("d3", "ann", "手册二.txt", "0", NOON)
    ledger.add_document(document, [Passage("Then turn it on")])
    found = {text: [where for where, _ in ledger.find_words(terms(text), limit=9)] for text in ("手册", "manual")}
    assert sorted(found["手册"]) == [6, 14]
    assert found["manual"] == [10]
    ledger.close()
