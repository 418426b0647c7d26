"""Who may log in, and what a name, a password, a session and a key are good for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from assistant.accounts import LOCAL, SESSION_LASTS, TRIES, Accounts
from memory import BadInput, Ledger, NotAllowed
from memory.accounts import Role
from memory.testing import Clock, ids

PASSWORD = "correct horse battery"  # noqa: S105 - nobody's
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def clock() -> Clock:
    """It stands."""
    return Clock()


@pytest.fixture
def accounts(clock: Clock) -> Accounts:
    """None yet, with cheap hashes."""
    return Accounts(Ledger.in_memory(), clock, ids("a"), hasher=CHEAP)


def test_a_house_without_accounts_has_one_user(accounts: Accounts) -> None:
    """Who may do everything, whatever is sent along."""
    assert accounts.of() is accounts.of(key="anything") is accounts.of(session="anything") is LOCAL
    assert accounts.by_id(None, least=Role.ADMIN) is LOCAL


def test_where_others_can_reach_it_nobody_comes_in_without_an_account(clock: Clock) -> None:
    """Also when the accounts went away meanwhile."""
    outside = Accounts(Ledger.in_memory(), clock, ids("a"), trusting=False, hasher=CHEAP)
    assert outside.of() is None
    with pytest.raises(NotAllowed):
        outside.by_id("local")


def test_the_first_account_is_an_admins_and_owns_what_was_said(accounts: Accounts) -> None:
    """From then on one has to log in."""
    with pytest.raises(BadInput, match="first account must be an admin's"):
        accounts.add("Bob", PASSWORD, Role.USER, by="test")
    ada = accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    assert ada.id == LOCAL.id
    assert accounts.needed
    assert accounts.of() is None
    assert accounts.add("Bob", PASSWORD, Role.USER, by="test").id != LOCAL.id


def test_a_password_is_kept_as_argon2id(clock: Clock) -> None:
    """With the library's own defaults, and never in clear."""
    ledger = Ledger.in_memory()
    Accounts(ledger, clock, ids("a")).add("Ada", PASSWORD, Role.ADMIN, by="test")
    found = ledger.password_hash("Ada")
    assert found is not None
    assert found[1].startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_session_lasts_and_ends(accounts: Accounts, clock: Clock) -> None:
    """By its time, or by logging out; the ledger holds a digest of it alone."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    session = accounts.log_in("ada", PASSWORD, address="here")
    found = accounts.of(session=session)
    assert found is not None
    assert found.name == "Ada"
    clock.tick(SESSION_LASTS.total_seconds())
    assert accounts.of(session=session) is None
    session = accounts.log_in("Ada", PASSWORD, address="here")
    accounts.log_out(session)
    assert accounts.of(session=session) is None


def test_a_session_outlives_the_process(accounts: Accounts, clock: Clock) -> None:
    """Another one over the same ledger knows it."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    session = accounts.log_in("Ada", PASSWORD, address="here")
    again = Accounts(accounts._ledger, clock, ids("b"), hasher=CHEAP)
    assert again.of(session=session) == accounts.all()[0]


@pytest.mark.parametrize("name", ["Ada", "nobody", ""])
def test_wrong_passwords_tell_nothing_and_are_counted(accounts: Accounts, clock: Clock, name: str) -> None:
    """A name that nobody has is refused as one is that somebody has; after some tries the right one is, too."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    for _ in range(TRIES):
        with pytest.raises(NotAllowed, match=r"^the name or the password is wrong$"):
            accounts.log_in(name, "wrong", address="there")
    with pytest.raises(NotAllowed, match="wait 15 minutes") as refused:
        accounts.log_in("Ada", PASSWORD, address="there")
    assert refused.value.status == 429
    clock.tick(timedelta(minutes=15).total_seconds())
    accounts.log_in("Ada", PASSWORD, address="there")


def test_guesses_at_once_are_no_more_than_one_after_another(accounts: Accounts) -> None:
    """Of thirty in the same moment as many are looked at as of thirty in a row; who gets in is not counted."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    for _ in range(2 * TRIES):
        accounts.log_in("Ada", PASSWORD, address="here")

    def guess(_: int) -> int:
        with pytest.raises(NotAllowed) as refused:
            accounts.log_in("Ada", "wrong", address="there")
        return refused.value.status

    with ThreadPoolExecutor(30) as pool:
        assert sorted(pool.map(guess, range(30))) == [401] * TRIES + [429] * (30 - TRIES)


def test_guessing_from_elsewhere_holds_up_one_name_alone(accounts: Accounts) -> None:
    """The others log in as ever, from their own address."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    accounts.add("Bob", PASSWORD, Role.USER, by="test")
    for _ in range(TRIES):
        with pytest.raises(NotAllowed):
            accounts.log_in("Bob", "wrong", address="there")
    accounts.log_in("Ada", PASSWORD, address="here")
    with pytest.raises(NotAllowed, match="too many"):
        accounts.log_in("Bob", PASSWORD, address="here")


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_a_password_has_a_length(accounts: Accounts, password: str) -> None:
    """One line says which."""
    with pytest.raises(BadInput, match="10 to 200 characters"):
        accounts.add("Ada", password, Role.ADMIN, by="test")
    assert not accounts.needed


@pytest.mark.parametrize("name", ["", "   ", "<b>", "a" * 65, "line\nbreak", "Ada'; --"])
def test_a_name_is_a_name(accounts: Accounts, name: str) -> None:
    """Nothing that would be something else in a page or a log."""
    with pytest.raises(BadInput, match="a name has"):
        accounts.add(name, PASSWORD, Role.ADMIN, by="test")


def test_the_first_link_is_good_once(accounts: Accounts) -> None:
    """And no other one ever is."""
    with pytest.raises(NotAllowed):
        accounts.add_first("guessed", "Eve", PASSWORD)
    accounts.add_first(accounts.first_link, "Ada", PASSWORD)
    with pytest.raises(NotAllowed, match="has been used"):
        accounts.add_first(accounts.first_link, "Eve", PASSWORD)


def test_a_role_counts_as_it_stands_now(accounts: Accounts) -> None:
    """Not as it was when the session was opened; and an account that is gone is nobody."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    bob = accounts.add("Bob", PASSWORD, Role.ADMIN, by="test")
    accounts.by_id(bob.id, least=Role.ADMIN)
    accounts.set_role(bob.id, Role.TEACHER, by="Ada")
    accounts.by_id(bob.id, least=Role.TEACHER)
    with pytest.raises(NotAllowed, match="only an admin may do that, and you are teacher"):
        accounts.by_id(bob.id, least=Role.ADMIN)
    accounts.remove(bob.id, by="Ada")
    with pytest.raises(NotAllowed) as refused:
        accounts.by_id(bob.id)
    assert refused.value.status == 401


def test_ones_own_password_is_changed_with_the_old_one(accounts: Accounts) -> None:
    """Which counts its tries as well, and ends the other sessions."""
    ada = accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    session = accounts.log_in("Ada", PASSWORD, address="here")
    with pytest.raises(NotAllowed, match="old password is wrong"):
        accounts.change_password(ada, "wrong", "another long one")
    accounts.change_password(ada, PASSWORD, "another long one")
    assert accounts.of(session=session) is None
    accounts.log_in("Ada", "another long one", address="here")


def test_a_key_is_told_once_and_acts_as_its_account(accounts: Accounts) -> None:
    """Until it is revoked; a session does not help a wrong key."""
    with pytest.raises(BadInput, match="no key is needed"):
        accounts.add_key("local", "script", by="test")
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="test")
    bob = accounts.add("Bob", PASSWORD, Role.USER, by="test")
    secret = accounts.add_key(bob.id, "a  script ", by="Ada")
    (key,) = accounts.keys()
    assert (key.label, key.account_id, secret.startswith(key.begins)) == ("a script", bob.id, True)
    assert accounts.of(key=secret) == bob
    session = accounts.log_in("Ada", PASSWORD, address="here")
    assert accounts.of(key="ns-wrong", session=session) is None
    accounts.revoke_key(key.id, by="Ada")
    assert accounts.of(key=secret) is None


def test_who_did_what_is_written_down(accounts: Accounts) -> None:
    """Without any secret in it."""
    accounts.add("Ada", PASSWORD, Role.ADMIN, by="the command line")
    with pytest.raises(NotAllowed):
        accounts.log_in("Ada", "wrong password", address="there")
    session = accounts.log_in("Ada", PASSWORD, address="here")
    secret = accounts.add_key("local", "script", by="Ada")
    told = "\n".join(f"{d.by}: {d.action}, {d.detail}" for d in accounts._ledger.deeds(limit=10))
    assert "Ada: log-in refused, from there" in told
    assert "the command line: account added, Ada, admin" in told
    assert "Ada: API key made, script, for Ada" in told
    assert not any(word in told for word in (PASSWORD, "wrong password", session, secret))
