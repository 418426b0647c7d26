"""Fixtures for tests of the page: one Chromium a session, one server a test, and nothing leaves this machine.

The page stands behind its door, as it does in the product. Each account that logs in has a browser of its own.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from argon2 import PasswordHasher

import app
from assistant import api, testing
from assistant.accounts import Accounts
from assistant.local import WEIGHTS_FILE
from assistant.titles import Titles
from assistant.turn import Answered, Ask, Assistant, adapter_folder, turn
from memory import testing as nouns
from memory.accounts import Account, Role
from memory.records import Exchange, NightStatus

PASSWORD = "correct horse battery"  # noqa: S105 - nobody's
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Site:
    """A running server with its assistant, and pages of it that must not reach anything else."""

    url: str
    assistant: Assistant
    engine: testing.ScriptedEngine
    context: Any
    accounts: Accounts
    files: Path
    untitled: list[tuple[str, str]]
    """(id, first question) of conversations that the page wants titles for."""
    strays: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    browsers: dict[str, Any] = field(default_factory=dict)

    def people(self, **roles: Role) -> dict[str, Account]:
        """Accounts by their names; the first must be an admin's."""
        return {name: self.accounts.add(name, PASSWORD, role, by="test") for name, role in roles.items()}

    def browser(self, name: str, **options: Any) -> Any:
        """The browser in which `name` is logged in: cookies of its own, and what `options` say."""
        if name not in self.browsers:
            self.browsers[name] = self.context.browser.new_context(**options)
            address = f"{self.url}/login"
            form = {"name": name, "password": PASSWORD}
            assert self.browsers[name].request.post(address, form=form, max_redirects=0).status == 303
        return self.browsers[name]

    def open(
        self,
        path: str = "/",
        *,
        ready: str = "#message textarea",
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        user: str | None = None,
        patience: int = 30,
    ) -> Any:
        """A page, loaded until `ready` is there, in the browser of `user`."""
        page = (self.browser(user) if user else self.context).new_page()
        page.set_default_timeout(patience * 1000)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        self._watch(page)
        page.goto(self.url + path)
        page.wait_for_selector(ready)
        return page

    def told(self, question: str, parent: Exchange | None = None, *, user: str = "local", **more: Any) -> Exchange:
        """A turn that went by before the page was opened."""
        place = (parent.conversation_id, parent.id) if parent else (None, None)
        last = list(turn(self.assistant, Ask(question, *place, user=user, **more)))[-1]
        assert isinstance(last, Answered)
        return last.exchange

    def publish(self, *, reason: str = "it passed", report: Path | None = None, **more: Any) -> str:
        """A night that ends with the next version, its files in place; returns the version."""
        ledger, at, night_id = self.assistant.ledger, self.assistant.clock(), self.assistant.new_id()
        ledger.request_night(nouns.night(night_id, created_at=at))
        ledger.begin_night(night_id, holder="test", at=at, ttl=timedelta(minutes=1))
        version = ledger.name_adapter(night_id)
        made = replace(nouns.adapter(version, night_id=night_id, reason=reason), **more)
        folder = adapter_folder(self.assistant.settings.home, version)
        folder.mkdir(parents=True)
        (folder / WEIGHTS_FILE).write_text(version)
        ended = {"status": NightStatus.PROMOTED, "reasons": [reason], "at": at, "adapter": made}
        ledger.end_night(night_id, holder="test", report=str(report) if report else None, **ended)
        return version

    @property
    def password(self) -> str:
        """Everybody's."""
        return PASSWORD

    @staticmethod
    def say(page: Any, text: str) -> None:
        """Type a message and press Enter."""
        page.fill("#message textarea", text)
        page.press("#message textarea", "Enter")

    @classmethod
    def ask(cls, page: Any, text: str, answer: str) -> None:
        """Say something and wait for the whole answer."""
        cls.say(page, text)
        page.get_by_test_id("bot").filter(has_text=answer).last.wait_for()
        page.wait_for_selector("#send")

    @staticmethod
    def box_says(page: Any, text: str) -> None:
        """Wait until that is what stands in the message box. The page's policy lets no `wait_for_function` poll."""
        from playwright.sync_api import expect

        expect(page.locator("#message textarea")).to_have_value(text, timeout=30_000)

    @staticmethod
    def wait_for(true: Callable[[], Any], *, seconds: float = 10.0) -> None:
        """Until `true()` is, or fail."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    @staticmethod
    def processor_time() -> float:
        """Seconds that the server (it is in this process) and all of Chromium have computed so far.

        What a page costs is measured by it rather than by the clock: it is what the page takes on a machine that has
        nothing else to do, however busy this one is.
        """
        me = psutil.Process()
        times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
        return sum(time.user + time.system for time in times)

    def _watch(self, page: Any) -> None:
        page.on("requestfinished", self._request)
        page.on("requestfailed", self._request)
        page.on("dialog", self._dialog)

    def _request(self, request: Any) -> None:
        home = request.url.startswith((f"{self.url}/", "data:", "blob:"))
        # What the content policy stops never leaves the browser; Chromium tells of it all the same.
        if not home and request.failure != "csp":
            self.strays.append(f"{request.url} {request.failure}")

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="session")
def port() -> int:
    """The same for all tests, one after another: the browser's cache goes by the address."""
    return free_port()


@dataclass
class House:
    """A running server, and what it is made of."""

    url: str
    assistant: Assistant
    engine: testing.ScriptedEngine
    accounts: Accounts
    files: Path
    """Where Gradio keeps what is uploaded."""
    untitled: list[tuple[str, str]]


class Tenant:
    """Who lives in the house just now: building its pages takes most of a second, so all tests share one house."""

    assistant: Assistant
    accounts: Accounts
    untitled: list[tuple[str, str]]
    """(id, first question) of conversations that the page wants titles for."""

    def want(self, conversation_id: str, question: str) -> None:
        """As `assistant.titles`, but that no model is asked."""
        self.untitled.append((conversation_id, question))


class Standing(Assistant):
    """Passes for the assistant that is the tenant's now."""

    def __init__(self, tenant: Tenant) -> None:
        object.__setattr__(self, "_tenant", tenant)

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_tenant").assistant, name)


class StandingAccounts(Accounts):
    """Likewise, for the accounts."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_tenant").accounts, name)


def assistant_in(home: Path) -> tuple[Assistant, Accounts]:
    """An assistant that repeats what it is asked, and accounts whose passwords cost nothing."""
    made = testing.assistant(home)
    return made, Accounts(made.ledger, made.clock, made.new_id, hasher=CHEAP)


@contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    """A server of `app` for as long as the context lasts."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    Site.wait_for(lambda: server.started)
    yield
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def served(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tenant, Path]]:
    """The page behind its door on a real server; whose it is, each test says. And where Gradio keeps files."""
    from assistant.ui import mount

    tenant, home = Tenant(), tmp_path_factory.mktemp("house")
    tenant.assistant, tenant.accounts = assistant_in(home)
    assistant, accounts = Standing(tenant), StandingAccounts(tenant)
    app = mount(api.create(assistant, ready=lambda: None, accounts=accounts), assistant, accounts, tenant)
    with serving(app, port):
        tenant.assistant.ledger.close()
        yield tenant, home / "page"


@pytest.fixture
def house(served: tuple[Tenant, Path], tmp_path: Path, port: int) -> Iterator[House]:
    """The house with a tenant of the test's own, over a scripted engine."""
    tenant, files = served
    (tenant.assistant, tenant.accounts), tenant.untitled = assistant_in(tmp_path), []
    engine = tenant.assistant.engine
    assert isinstance(engine, testing.ScriptedEngine)
    yield House(f"http://127.0.0.1:{port}", tenant.assistant, engine, tenant.accounts, files, tenant.untitled)
    tenant.assistant.ledger.close()


@pytest.fixture
def site(house: House, context: Any) -> Iterator[Site]:
    """The house with a browser. Fails the test if a page asked anything of another host, or opened a dialog."""
    running = Site(house.url, house.assistant, house.engine, context, house.accounts, house.files, house.untitled)
    yield running
    for browser in running.browsers.values():
        browser.close()
    for page in context.pages:
        page.close()
    assert running.strays == []
    assert running.dialogs == []


@pytest.fixture
def real(tmp_path: Path, models_dir: Path, context: Any) -> Iterator[Site]:
    """The page over the real model, memory and titles."""
    from assistant.ui import mount

    port = free_port()
    made = app.build(home=tmp_path, models_dir=models_dir, answer_tokens=300)
    accounts, titles = made.accounts(), Titles(made.assistant, quiet=0.2)
    web = mount(api.create(made.assistant, ready=lambda: None, accounts=accounts), made.assistant, accounts, titles)
    made.engine.load()
    titles.start()
    with serving(web, port):
        engine: Any = made.engine
        yield Site(f"http://127.0.0.1:{port}", made.assistant, engine, context, accounts, tmp_path / "page", [])
        for page in context.pages:
            page.close()
    titles.stop()
    made.ledger.close()
