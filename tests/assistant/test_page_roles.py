"""What a page shows is no protection: every function behind it is posted to as a plain user, and as nobody.

As an attacker would: the functions and their numbers are read from Gradio's own configuration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from assistant import feedback
from assistant.door import COOKIE
from assistant.turn import Ask, turn
from memory import testing
from memory.accounts import Role
from memory.errors import NotFound
from memory.records import Document, Passage

if TYPE_CHECKING:
    from conftest import House

Open = Callable[[str | None], httpx.Client]
PASSWORD = "correct horse battery"  # noqa: S105 - nobody's
ADMIN_ACTS: list[dict[str, str]] = [
    {"act": "add", "name": "Eve", "password": PASSWORD, "role": "admin"},
    {"act": "role", "id": "BOB", "role": "admin"},
    {"act": "password", "id": "ADA", "password": "another long one"},
    {"act": "remove", "id": "ADA"},
    {"act": "key", "id": "ADA", "label": "mine"},
    {"act": "revoke", "id": "KEY"},
    {"act": "setting", "name": "temperature", "value": "2"},
]
TEACHER_ACTS: list[dict[str, str]] = [
    {"act": "approve", "id": "LESSON"},
    {"act": "hold", "id": "LESSON"},
    {"act": "edit", "id": "LESSON", "wanted": "Bob was here."},
    {"act": "undo", "id": "LESSON"},
    {"act": "cancel", "id": "NIGHT"},
    {"act": "promote", "version": "v1"},
    {"act": "compare", "version": "v1"},
    {"act": "report", "id": "NIGHT"},
    {"act": "clock", "at": "03:00"},
]


@pytest.fixture
def names(house: House) -> Iterator[dict[str, str]]:
    """Ada is admin and has said and rated something; Bob is a plain user. What the acts name → its id."""
    ada = house.accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    bob = house.accounts.add("Bob", PASSWORD, Role.USER, by="test")
    house.accounts.add_key(ada.id, "a script", by="test")
    exchange = list(turn(house.assistant, Ask("a secret of Ada's", user=ada.id)))[-1].exchange  # type: ignore[union-attr]
    feedback.rate(house.assistant, exchange.id, -1, correction="a better answer of Ada's", user=ada.id)
    night = house.assistant.ledger.request_night(testing.night("n1"))
    lesson, key = house.assistant.ledger.lessons()[0], house.accounts.keys()[0]
    yield {"ADA": ada.id, "BOB": bob.id, "KEY": key.id, "LESSON": lesson.id, "NIGHT": night.id}


def state(house: House) -> Any:
    """Everything that these functions could change."""
    ledger = house.assistant.ledger
    hashes = [ledger.password_hash(account.name) for account in ledger.accounts()]
    deeds = [deed for deed in ledger.deeds(limit=1000) if deed.action != "logged in"]
    return [hashes, ledger.keys(), ledger.choices(""), ledger.lessons(), ledger.nights(), ledger.adapters(), deeds]


@pytest.fixture
def client(house: House) -> Iterator[Open]:
    """Open a browser in which somebody has logged in."""
    with ExitStack() as browsers:

        def opened(name: str | None) -> httpx.Client:
            made = browsers.enter_context(httpx.Client(base_url=house.url, timeout=20))
            if name:
                assert made.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
            return made

        yield opened


def functions(config: Any, *elements: str) -> list[tuple[int, int]]:
    """(number, how many inputs) of the functions that these elements' events call."""
    ids = {c["id"] for c in config["components"] if c["props"].get("elem_id") in elements}
    return [
        (number, len(d["inputs"]))
        for number, d in enumerate(config["dependencies"])
        if any(target[0] in ids for target in d["targets"])
    ]


def session_of(browser: httpx.Client, fn: int, sent: Any) -> str:
    """The name under which what a function answers is streamed."""
    return f"{str(browser.cookies.get(COOKIE))[:8]} {fn} {len(str(sent))}"


def call(
    browser: httpx.Client, fn: int, inputs: int, sent: Any, *, data: list[Any] | None = None, session: str = ""
) -> str:
    """Everything that a function answers."""
    session = session or session_of(browser, fn, sent)
    body = {"data": data or [None] * inputs, "fn_index": fn, "session_hash": session, "event_data": sent}
    joined = browser.post("/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    said = ""
    with browser.stream("GET", "/gradio_api/queue/data", params={"session_hash": body["session_hash"]}) as lines:
        for line in lines.iter_lines():
            said += line
            if '"process_completed"' in line or '"close_stream"' in line:
                return said
    return said


def filled(act: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    """The act with real ids in it."""
    return {key: names.get(value, value) for key, value in act.items()}


def test_a_plain_user_can_do_nothing_of_an_admins(house: House, client: Open, names: dict[str, str]) -> None:
    """Not by any act on any board of the page, nor by loading it: each is refused with why, and nothing is told."""
    bob, before = client("Bob"), state(house)
    assert bob.get("/admin").status_code == 303
    config = client("Ada").get("/config").json()
    boards = functions(config, "accounts", "keys", "settings")
    assert len(boards) == 3
    for fn, inputs in boards:
        for act in ADMIN_ACTS:
            said = call(bob, fn, inputs, filled(act, names))
            assert "only an admin may do that, and you are user" in said
            assert "Ada" not in said
    ((examine, inputs),) = functions(config, "machine")
    assert "only an admin may do that" in call(bob, examine, inputs, {"act": "examine"})
    assert state(house) == before


def test_the_same_acts_do_something_for_an_admin(house: House, client: Open, names: dict[str, str]) -> None:
    """Or the test above would prove nothing."""
    ada = client("Ada")
    ((fn, inputs), *_) = functions(ada.get("/config").json(), "accounts")
    call(ada, fn, inputs, filled(ADMIN_ACTS[0], names))
    call(ada, fn, inputs, filled(ADMIN_ACTS[-1], names))
    assert [account.name for account in house.accounts.all() if account.name == "Eve"] == ["Eve"]
    assert house.assistant.ledger.choices("") == {"temperature": 2.0}


def test_a_plain_user_can_do_nothing_of_a_teachers(house: House, client: Open, names: dict[str, str]) -> None:
    """Nor see another user's lessons: what is Ada's is as good as not there."""
    bob, before = client("Bob"), state(house)
    config = bob.get("/config").json()
    boards = functions(config, "lessons")
    for fn, inputs in boards:
        for act in TEACHER_ACTS:
            said = call(bob, fn, inputs, filled(act, names))
            assert "may do that" in said or "there is no lesson" in said, act
            assert "of Ada's" not in said
    for fn, inputs in functions(config, "learn-now", "rollback"):
        assert "only a teacher may do that" in call(bob, fn, inputs, None)
    assert state(house) == before


def test_nobody_can_do_anything(house: House, client: Open, names: dict[str, str]) -> None:
    """Not one function of any page, nor read how they are numbered."""
    count = len(client("Ada").get("/config").json()["dependencies"])
    nobody, before = client(None), state(house)
    assert nobody.get("/config").status_code == 401
    assert nobody.get("/gradio_api/info").status_code == 401
    for fn in range(count):
        body = {"data": [], "fn_index": fn, "session_hash": "s", "event_data": filled(ADMIN_ACTS[0], names)}
        for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/api/predict"):
            assert nobody.post(path, json=body).status_code == 401
    assert nobody.get("/gradio_api/queue/data", params={"session_hash": "s"}).status_code == 401
    assert state(house) == before


def test_a_stream_is_read_by_who_opened_it(house: House, client: Open, names: dict[str, str]) -> None:
    """Who has learned under what name another's page gets its answers does not get them."""
    ada, bob = client("Ada"), client("Bob")
    config = ada.get("/config").json()
    ((fn, inputs), *_) = functions(config, "conversations")
    call(ada, fn, inputs, {"act": "none"})
    session = session_of(ada, fn, {"act": "none"})
    taken = bob.get("/gradio_api/queue/data", params={"session_hash": session})
    assert taken.status_code == 403


def test_another_users_conversation_can_not_be_touched(house: House, client: Open, names: dict[str, str]) -> None:
    """Neither renamed nor deleted: it is as good as not there."""
    conversation = house.assistant.ledger.lessons()[0].exchange_id
    conversation = house.assistant.ledger.exchange(conversation).conversation_id
    bob = client("Bob")
    ((fn, inputs), *_) = functions(bob.get("/config").json(), "conversations")
    for act in ({"act": "rename", "title": "mine"}, {"act": "delete"}):
        said = call(bob, fn, inputs, act | {"id": conversation})
        assert "there is no conversation" in said
    assert house.assistant.ledger.title(conversation) == "a secret of Ada's"
    assert json.dumps(bob.get("/v1/lessons").json()) == '{"lessons": []}'


def test_another_users_memory_can_not_be_touched(house: House, client: Open, names: dict[str, str]) -> None:
    """Neither looked at, changed nor forgotten, by whatever button of the page; it is not in the export either."""
    exchange = house.assistant.ledger.lessons()[0].exchange_id
    bob, before = client("Bob"), state(house)
    config, tried = bob.get("/config").json(), 0
    for fn, _ in functions(config, "memory-found", "memory-documents"):
        for act in ("look", "forget", "remove"):
            said = call(bob, fn, 3, {"act": act, "id": exchange}, data=["", "everything", 0])
            assert "there is no" in said, act
            assert "of Ada's" not in said
            tried += 1
    for element in ("memory-save", "memory-forget", "memory-forget-conversation"):
        for fn, inputs in functions(config, element):
            data = [exchange, "Something else.", ["train"], "", "everything", 0][:inputs]
            if element.startswith("memory-forget"):
                data = [exchange, True, "", "everything", 0]
            said = call(bob, fn, inputs, None, data=data)
            assert "there is no exchange" in said, element
            assert "of Ada's" not in said
            tried += 1
    assert tried == 9
    # What Gradio lets through, the page asks for itself.
    # Here, not above: it loads Gradio, and not every process that collects the tests runs one of the page's.
    from assistant.ui import shell
    from assistant.ui.memory import MemoryPage

    page = MemoryPage(shell.House(house.assistant, house.accounts))
    (who,) = [account for account in house.accounts.all() if account.name == "Bob"]
    with pytest.raises(NotFound):
        page._own(exchange, who)
    document = Document("d1", who.id, "towns.txt", "0", testing.NOON)
    house.assistant.ledger.add_document(document, [Passage("Paris is big", page=2)])
    exported = bob.get("/v1/memory/export").text
    assert "Ada" not in exported
    assert json.loads(exported.splitlines()[-1])["text"] == "Paris is big"
    assert bob.get("/v1/memory/search", params={"q": "a secret of Ada's"}).json() == {"results": []}
    assert state(house) == before
    assert house.assistant.ledger.exchange(exchange).id == exchange
