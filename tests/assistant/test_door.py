"""The door, as browsers and programs find it: nobody behind it without a name, and nobody where the role is too low."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from assistant import api, testing
from assistant.accounts import TRIES, Accounts
from assistant.door import COOKIE
from assistant.turn import Assistant
from memory.accounts import Role
from memory.ledger import Ledger
from memory.records import NightStatus

HOST = "http://127.0.0.1"
PASSWORD = "correct horse battery"  # noqa: S105 - nobody's
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello there"}]}
EVERYTHING = [
    ("post", CHAT, HELLO),
    ("get", "/v1/models", None),
    ("get", "/v1/models/base", None),
    ("post", "/v1/feedback", {"exchange_id": "id1", "value": 1}),
    ("get", "/v1/lessons", None),
    ("get", "/v1/adapters", None),
    ("post", "/v1/nights", None),
    ("get", "/v1/nights", None),
    ("get", "/v1/nights/n1", None),
    ("get", "/v1/memory/search?q=hello", None),
    ("get", "/v1/memory/export", None),
    ("get", "/conversations/c1/export.md", None),
    ("get", "/conversations/c1/export.json", None),
    ("get", "/metrics", None),
    ("get", "/whoami", None),
    ("post", "/password", None),
    ("post", "/logout", None),
    ("get", "/openapi.json", None),
    ("get", "/nothing", None),
]


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """It repeats the question."""
    return testing.assistant(tmp_path, ledger=Ledger.in_memory())


@pytest.fixture
def accounts(assistant: Assistant) -> Accounts:
    """None yet, with cheap hashes."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return Accounts(assistant.ledger, assistant.clock, assistant.new_id, hasher=cheap)


@pytest.fixture
def house(accounts: Accounts) -> Accounts:
    """Ada is admin, Tess teacher, Bob and Eve are users."""
    for name, role in (("Ada", Role.ADMIN), ("Tess", Role.TEACHER), ("Bob", Role.USER), ("Eve", Role.USER)):
        accounts.add(name, PASSWORD, role, by="test")
    return accounts


@pytest.fixture
def web(assistant: Assistant, accounts: Accounts) -> Any:
    """The application."""
    return api.create(assistant, ready=lambda: None, accounts=accounts)


def browser(web: Any, name: str | None = None) -> TestClient:
    """A browser in which `name` has logged in."""
    client = TestClient(web, base_url=HOST, follow_redirects=False)
    if name:
        response = client.post("/login", data={"name": name, "password": PASSWORD}, headers={"origin": HOST})
        assert (response.status_code, response.headers["location"]) == (303, "/")
    return client


@pytest.mark.parametrize(("method", "path", "body"), EVERYTHING)
def test_nobody_gets_behind_the_door(web: Any, house: Accounts, method: str, path: str, body: Any) -> None:
    """Without a session or a key: 401 for programs, the log-in page for browsers."""
    client = browser(web)
    assert client.request(method, path, json=body).status_code == 401
    wrong = {"authorization": "Bearer ns-wrong", "cookie": f"{COOKIE}=wrong"}
    assert client.request(method, path, json=body, headers=wrong).status_code == 401
    if not path.startswith("/v1"):
        response = client.request(method, path, json=body, headers={"accept": "text/html"})
        assert (response.status_code, response.headers["location"].partition("?")[0]) == (303, "/login")


@pytest.mark.parametrize(("name", "status"), [("Bob", 403), ("Tess", 403), ("Ada", 200)])
def test_metrics_are_the_operators(web: Any, house: Accounts, name: str, status: int) -> None:
    """They tell of everybody's ratings: an admin's session or key reads them, and no other."""
    assert browser(web, name).get("/metrics").status_code == status


def test_every_route_is_in_that_list(web: Any) -> None:
    """A route that is added must be tried as well."""
    tried = {path.partition("?")[0] for _, path, _ in EVERYTHING}
    names = {"/n1": "/{night_id}", "/c1/export.md": "/{conversation_id}/export.{kind}", "/base": "/{name}"}
    for one, all_of_them in names.items():
        tried = {path.replace(one, all_of_them) for path in tried}
    open_ones = {"/login", "/first/{link}", "/health", "/ready"}
    paths = {path for route in web.routes for path in _paths(route)}
    assert {"/v1/feedback", "/login"} <= paths
    assert {path for path in paths if path not in open_ones} - tried == set()


def _paths(route: Any) -> list[str]:
    if getattr(route, "path", None):
        return [route.path]
    return [path for inner in getattr(getattr(route, "original_router", None), "routes", []) for path in _paths(inner)]


def test_health_and_the_log_in_page_are_for_everybody(web: Any, house: Accounts) -> None:
    """A watcher need not log in, nor who wants to."""
    client = browser(web)
    assert client.get("/health").json() == {"status": "ok"}
    page = client.get("/login", headers={"accept-language": "zh-CN,en;q=0.5"})
    assert (page.status_code, "登录" in page.text) == (200, True)


def test_a_session_cookie_is_kept_from_scripts_and_other_sites(web: Any, house: Accounts) -> None:
    """HttpOnly and SameSite; over TLS, Secure as well."""
    sent = {"name": "Ada", "password": PASSWORD}
    cookie = browser(web).post("/login", data=sent).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    over_tls = TestClient(web, base_url="https://127.0.0.1", follow_redirects=False)
    assert "Secure" in over_tls.post("/login", data=sent).headers["set-cookie"]


def test_a_wrong_password_shows_the_form_again(web: Any, house: Accounts) -> None:
    """With why, and the name as it was typed, as text; after some tries one must wait."""
    client = browser(web)
    for _ in range(TRIES):
        page = client.post("/login", data={"name": "'><script>", "password": "wrong"})
        assert (page.status_code, COOKIE in page.cookies) == (401, False)
    assert "the name or the password is wrong" in page.text
    assert "<script>" not in page.text
    assert client.post("/login", data={"name": "Ada", "password": PASSWORD}).status_code == 429


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_sites_page_can_not_log_one_in(web: Any, house: Accounts, origin: str) -> None:
    """Nor out, nor do anything else in one's name."""
    client = browser(web, "Ada")
    for path, data in (("/login", {"name": "Ada", "password": PASSWORD}), ("/logout", {}), ("/v1/nights", {})):
        assert client.post(path, data=data, headers={"origin": origin}).status_code == 403
    assert client.post("/logout", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/whoami").json()["name"] == "Ada"


@pytest.mark.parametrize(
    ("following", "leads"), [("/history", "/history"), ("//evil.example", "/"), ("https://e", "/"), ("/\\e", "/")]
)
def test_after_the_log_in_one_stays_in_the_house(web: Any, house: Accounts, following: str, leads: str) -> None:
    """Where one wanted to go, if that is within it."""
    sent = {"name": "Ada", "password": PASSWORD}
    response = browser(web).post("/login", params={"next": following}, data=sent)
    assert response.headers["location"] == leads


def test_a_log_out_ends_the_session(web: Any, house: Accounts) -> None:
    """Also for who has kept the cookie."""
    client = browser(web, "Ada")
    kept = client.cookies[COOKIE]
    client.post("/logout", headers={"origin": HOST})
    assert client.get("/whoami", headers={"cookie": f"{COOKIE}={kept}"}).status_code == 401


def test_a_form_of_any_size_is_not_read(web: Any, house: Accounts) -> None:
    """One line, and no memory taken."""
    assert browser(web).post("/login", data={"name": "x" * 100_000, "password": "y"}).status_code == 400


def test_a_removed_account_is_out_at_once(web: Any, house: Accounts) -> None:
    """With the session that it has open."""
    client = browser(web, "Bob")
    bob = next(account for account in house.all() if account.name == "Bob")
    house.remove(bob.id, by="Ada")
    assert client.get("/whoami").status_code == 401


def test_ones_own_password_can_be_changed(web: Any, house: Accounts) -> None:
    """This browser goes on, others are logged out."""
    here, there = browser(web, "Bob"), browser(web, "Bob")
    assert here.get("/password").status_code == 200
    assert here.post("/password", data={"old": "wrong", "password": "another long one"}).status_code == 403
    assert here.post("/password", data={"old": PASSWORD, "password": "another long one"}).status_code == 303
    assert here.get("/whoami").json()["name"] == "Bob"
    assert there.get("/whoami").status_code == 401


def test_the_first_account_is_made_by_the_link_of_the_start(web: Any, accounts: Accounts) -> None:
    """Who makes it is logged in; the link is good for nothing after that, and no other one ever was."""
    client, sent = browser(web), {"name": "Ada", "password": PASSWORD}
    assert client.get("/whoami").json() | {"start": ""} == {
        "id": "local",
        "name": "local",
        "role": "admin",
        "accounts": False,
        "start": "",
    }
    assert client.post("/first/guessed", data=sent).status_code == 403
    assert client.post(f"/first/{accounts.first_link}", data=sent | {"password": "short"}).status_code == 400
    assert client.post(f"/first/{accounts.first_link}", data=sent).status_code == 303
    assert client.get("/whoami").json()["name"] == "Ada"
    assert browser(web).post(f"/first/{accounts.first_link}", data=sent | {"name": "Eve"}).status_code == 403
    assert browser(web).get("/whoami").status_code == 401


def test_each_answer_rating_and_memory_is_its_users(web: Any, house: Accounts, assistant: Assistant) -> None:
    """Nobody finds, rates, reads or recalls what another one said."""
    bob, eve = browser(web, "Bob"), browser(web, "Eve")
    said = bob.post(CHAT, json=HELLO).json()["nightschool"]
    exchange = assistant.ledger.exchange(said["exchange_id"])
    assert exchange.user == bob.get("/whoami").json()["id"]
    assert eve.post(CHAT, json=HELLO).json()["nightschool"]["recollections"] == []
    assert eve.get("/v1/memory/search", params={"q": "hello there"}).json()["results"][0]["exchange_id"] != exchange.id
    rating = {"exchange_id": exchange.id, "value": -1, "correction": "Good evening."}
    assert eve.post("/v1/feedback", json=rating).status_code == 404
    assert eve.get(f"/conversations/{exchange.conversation_id}/export.md").status_code == 404
    assert bob.post("/v1/feedback", json=rating).status_code == 200
    assert bob.get(f"/conversations/{exchange.conversation_id}/export.md").status_code == 200
    assert len(bob.get("/v1/lessons").json()["lessons"]) == 1
    assert eve.get("/v1/lessons").json()["lessons"] == []
    assert len(browser(web, "Tess").get("/v1/lessons").json()["lessons"]) == 1


def test_a_night_is_asked_for_by_teachers(web: Any, house: Accounts, assistant: Assistant) -> None:
    """A plain user may look, and not start one; the report is not shown."""
    assert browser(web, "Bob").post("/v1/nights").status_code == 403
    assert assistant.ledger.nights() == []
    night = browser(web, "Tess").post("/v1/nights").json()
    assert night["status"] == NightStatus.QUEUED
    assert browser(web, "Bob").get(f"/v1/nights/{night['id']}").json()["report"] is None


def test_a_program_comes_with_a_key(web: Any, house: Accounts, assistant: Assistant) -> None:
    """It acts as the account that the key was made for, with its role."""
    bob = next(account for account in house.all() if account.name == "Bob")
    key = {"authorization": f"Bearer {house.add_key(bob.id, 'script', by='Ada')}"}
    client = browser(web)
    said = client.post(CHAT, json=HELLO, headers=key).json()["nightschool"]
    assert assistant.ledger.exchange(said["exchange_id"]).user == bob.id
    assert client.post("/v1/nights", headers=key).status_code == 403
    assert client.get("/v1/models", headers={"authorization": "Basic abc"}).status_code == 401


def test_with_accounts_any_name_of_the_machine_will_do(web: Any, house: Accounts) -> None:
    """A server that others reach is called what they call it; the cookie holds off everybody else."""
    assert browser(web).get("/health", headers={"host": "school.example"}).status_code == 200
    assert browser(web).get("/whoami", headers={"host": "school.example"}).status_code == 401


def test_an_export_has_every_branch(web: Any, assistant: Assistant) -> None:
    """As Markdown and as JSON, as a file to keep."""
    client = browser(web)
    said = client.post(CHAT, json=HELLO).json()["nightschool"]["exchange_id"]
    client.post("/v1/feedback", json={"exchange_id": said, "value": -1, "correction": "Good evening."})
    conversation = assistant.ledger.exchange(said).conversation_id
    page = client.get(f"/conversations/{conversation}/export.md")
    assert page.headers["content-disposition"] == "attachment; filename*=UTF-8''hello%20there.md"
    assert page.text.startswith("# hello there\n\n## hello there\n\nYou asked: hello there\n\n")
    assert "> Good evening." in page.text
    (exchange,) = client.get(f"/conversations/{conversation}/export.json").json()["exchanges"]
    assert (exchange["id"], exchange["rating"]["correction"]) == (said, "Good evening.")
    assert client.get("/conversations/none/export.md").status_code == 404
