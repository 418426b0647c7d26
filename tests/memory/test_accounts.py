"""The ledger's people: accounts, sessions, keys, choices and the audit log."""

from __future__ import annotations

from datetime import timedelta

import pytest

from memory import BadInput, Ledger, NotFound
from memory.accounts import Account, ApiKey, Deed, Role
from memory.testing import NOON

DEED = Deed(NOON, "test", "did something", "to somebody")


@pytest.fixture
def ledger() -> Ledger:
    """With one admin, Ada."""
    made = Ledger.in_memory()
    made.add_account(Account("a1", "Ada", Role.ADMIN, NOON), "hash of hers", DEED)
    return made


def test_each_role_may_what_the_ones_below_may() -> None:
    """Users, teachers, admins, in this order."""
    assert [role.may(Role.TEACHER) for role in (Role.USER, Role.TEACHER, Role.ADMIN)] == [False, True, True]


def test_an_account_is_found_by_its_name_in_any_case(ledger: Ledger) -> None:
    """With the hash of its password; a name that nobody has finds nothing."""
    assert ledger.password_hash(" ADA ") == (Account("a1", "Ada", Role.ADMIN, NOON), "hash of hers")
    assert ledger.password_hash("Bob") is None


def test_a_name_is_one_accounts_alone(ledger: Ledger) -> None:
    """In any case; nothing is written then, not even the deed."""
    with pytest.raises(BadInput, match="an account 'Ada' already"):
        ledger.add_account(Account("a2", "ADA", Role.USER, NOON), "another", DEED)
    assert len(ledger.accounts()) == len(ledger.deeds(limit=10)) == 1


def test_the_last_admin_stays(ledger: Ledger) -> None:
    """Neither removed nor made less, until there is another one."""
    with pytest.raises(BadInput, match="last admin"):
        ledger.remove_account("a1", DEED)
    with pytest.raises(BadInput, match="last admin"):
        ledger.set_role("a1", Role.TEACHER, DEED)
    ledger.add_account(Account("a2", "Bob", Role.ADMIN, NOON), "his", DEED)
    ledger.set_role("a1", Role.USER, DEED)
    assert [account.role for account in ledger.accounts()] == [Role.USER, Role.ADMIN]


def test_a_session_ends_by_time_by_hand_and_with_a_new_password(ledger: Ledger) -> None:
    """And is nobody's after that."""

    def whose(digest: str, hours: float = 0) -> str | None:
        found = ledger.account_of_session(digest, at=NOON + timedelta(hours=hours))
        return found.name if found else None

    for digest in ("s1", "s2", "s3"):
        ledger.open_session(digest, "a1", at=NOON, ends=NOON + timedelta(hours=1))
    assert (whose("s1"), whose("s1", hours=1), whose("nothing")) == ("Ada", None, None)
    ledger.close_session("s1")
    assert (whose("s1"), whose("s2")) == (None, "Ada")
    ledger.set_password("a1", "a new hash", DEED)
    assert (whose("s2"), whose("s3")) == (None, None)


def test_a_key_acts_as_its_account_until_it_is_revoked(ledger: Ledger) -> None:
    """What the ledger keeps of it does not show the digest."""
    key = ApiKey("k1", "a1", "a script", "ns-abcde", NOON)
    ledger.add_key(key, "digest", DEED)
    assert ledger.keys() == [key]
    found = ledger.account_of_key("digest")
    assert found is not None
    assert found.name == "Ada"
    ledger.revoke_key("k1", DEED)
    assert ledger.account_of_key("digest") is None
    with pytest.raises(NotFound):
        ledger.revoke_key("k1", DEED)


def test_who_is_removed_has_no_session_and_no_key(ledger: Ledger) -> None:
    """Others keep theirs."""
    ledger.add_account(Account("a2", "Bob", Role.USER, NOON), "his", DEED)
    for account in ("a1", "a2"):
        ledger.open_session(f"s {account}", account, at=NOON, ends=NOON + timedelta(hours=1))
        ledger.add_key(ApiKey(f"k {account}", account, "", "ns-", NOON), f"d {account}", DEED)
    ledger.remove_account("a2", DEED)
    assert ledger.account_of_session("s a2", at=NOON) is None
    assert ledger.account_of_key("d a2") is None
    assert ledger.account_of_session("s a1", at=NOON) is not None
    with pytest.raises(NotFound):
        ledger.account("a2")


def test_choices_are_kept_an_owner_each_and_can_be_forgotten(ledger: Ledger) -> None:
    """None takes a choice back; the house is an owner like others."""
    ledger.choose("a1", {"blind": True, "x": 1})
    ledger.choose("", {"temperature": 0.5}, deed=DEED)
    ledger.choose("a1", {"x": None, "blind": False})
    assert ledger.choices("a1") == {"blind": False}
    assert ledger.choices("") == {"temperature": 0.5}
    assert len(ledger.deeds(limit=10)) == 2


def test_deeds_are_told_newest_first(ledger: Ledger) -> None:
    """So many as are asked for."""
    ledger.note(Deed(NOON, "Ada", "looked around"))
    assert [deed.action for deed in ledger.deeds(limit=1)] == ["looked around"]
    assert ledger.deeds(limit=5)[1] == DEED
