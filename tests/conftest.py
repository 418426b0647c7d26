"""What tests of several packages share: the real models, where `make test` has fetched them."""

from __future__ import annotations

import gc
import io
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from assistant.models import embedder_path as find_embedder
from assistant.settings import Settings, load

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    # Not by intercepting requests: that would switch the browser's cache off.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


def pytest_collection_finish() -> None:
    """Have Python look for garbage less often, and not among what the tests' modules imported: it is half a million
    objects, and each `gc.collect()` of the product's would look through all of them.
    """
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)


@pytest.fixture(scope="module")
def no_older_garbage() -> None:
    """For tests whose product collects garbage: libraries that tests before them have loaded are none."""
    gc.freeze()


@sa.event.listens_for(sa.pool.Pool, "checkout")
def _no_ledger_waits_for_the_disk(connection: sqlite3.Connection, record: Any, _proxy: object) -> None:
    """In the tests' own process nothing does: no test can take away the power, and a twentieth of their time went
    there. `record.info` keeps what the product had set.
    """
    if "synchronous" not in record.info:
        # A damaged or read-only one is for the test to find out about.
        with suppress(sqlite3.Error):
            (record.info["synchronous"],) = connection.execute("PRAGMA synchronous").fetchone()
            connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session", autouse=True)
def _no_file_waits_for_the_disk() -> Iterator[None]:
    """As above."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged while the test runs, with its level: what the root's level lets through, which is restored."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def context() -> Iterator[Any]:
    """The system's Chromium, or Playwright's own where there is none. One for all tests: its cache makes them fast."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium.new_context()
        chromium.close()


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder that `nightschool fetch` has filled."""
    return load(Settings).models


@pytest.fixture(scope="session")
def embedder_path(models_dir: Path) -> Path:
    """The folder of the real embedder."""
    return find_embedder(models_dir)


@pytest.fixture
def environment(models_dir: Path) -> dict[str, str]:
    """The environment of a program under test: the real models, and no setting of who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCHOOL_")}
    return kept | {"NIGHTSCHOOL_MODELS_DIR": str(models_dir)}
