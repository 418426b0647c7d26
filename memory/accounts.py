"""Who may do what, as the ledger keeps it: accounts, their sessions and keys, what was chosen, and what was done.

The nouns stand here beside their transactions, and `Ledger` takes these in: accounts and exchanges know of each other
only by an id. Secrets never come here: of passwords there is a hash, of sessions and keys a digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from memory.database import Database
from memory.sql import accounts as sql


class Role(StrEnum):
    """What an account may do; each role may do all that the ones before it may."""

    USER = "user"
    TEACHER = "teacher"
    ADMIN = "admin"

    def may(self, least: Role) -> bool:
        """Whether this role is at least `least`."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(least)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in. `id` is what exchanges, ratings and lessons name as their user."""

    id: str
    name: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key for programs: it acts as the account that it was made for. `begins` is all of it that is kept in clear."""

    id: str
    account_id: str
    label: str
    begins: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of the audit log: who did what."""

    at: datetime
    by: str
    action: str
    detail: str = ""


class People(Database):
    """The part of the ledger that is about people. Methods that change who may do what write a `Deed` with it."""

    # ------------------------------------------------------------------ accounts

    def add_account(self, account: Account, password_hash: str, deed: Deed) -> None:
        """Raises: BadInput when the name is taken."""
        with self._write() as db:
            sql.add(db, account.id, account.name, str(account.role), password_hash, account.created_at)
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def accounts(self) -> list[Account]:
        """In the order in which they were made."""
        with self._read() as db:
            return [_account(row) for row in sql.all_accounts(db)]

    def has_accounts(self) -> bool:
        with self._read() as db:
            return sql.any_account(db)

    def account(self, account_id: str) -> Account:
        """Raises: NotFound."""
        with self._read() as db:
            return _account(sql.account(db, account_id))

    def password_hash(self, name: str) -> tuple[Account, str] | None:
        """The account of that name with the hash of its password."""
        with self._read() as db:
            row = sql.named(db, name)
            return None if row is None else (_account(row), row["password_hash"])

    def set_role(self, account_id: str, role: Role, deed: Deed) -> None:
        """Raises: NotFound; BadInput when nobody would be admin any more."""
        with self._write() as db:
            sql.set_role(db, account_id, str(role))
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def set_password(self, account_id: str, password_hash: str, deed: Deed) -> None:
        """A new password ends all sessions of the account. Raises: NotFound."""
        with self._write() as db:
            sql.set_password(db, account_id, password_hash)
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def remove_account(self, account_id: str, deed: Deed) -> None:
        """With its sessions and keys; what was said under it stays. Raises: NotFound; BadInput for the last admin."""
        with self._write() as db:
            sql.remove(db, account_id)
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    # ------------------------------------------------------------------ sessions and keys

    def open_session(self, digest: str, account_id: str, *, at: datetime, ends: datetime) -> None:
        with self._write() as db:
            sql.open_session(db, digest, account_id, at, ends)

    def close_session(self, digest: str) -> None:
        with self._write() as db:
            sql.close_session(db, digest)

    def account_of_session(self, digest: str, *, at: datetime) -> Account | None:
        """Whose session that is, unless it has ended."""
        with self._read() as db:
            row = sql.of_session(db, digest, at)
            return None if row is None else _account(row)

    def add_key(self, key: ApiKey, digest: str, deed: Deed) -> None:
        with self._write() as db:
            sql.add_key(db, key.id, key.account_id, key.label, key.begins, digest, key.created_at)
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def keys(self) -> list[ApiKey]:
        """The newest first."""
        with self._read() as db:
            return [ApiKey(**row) for row in sql.keys(db)]

    def revoke_key(self, key_id: str, deed: Deed) -> None:
        """Raises: NotFound."""
        with self._write() as db:
            sql.revoke_key(db, key_id)
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def account_of_key(self, digest: str) -> Account | None:
        with self._read() as db:
            row = sql.of_key(db, digest)
            return None if row is None else _account(row)

    # ------------------------------------------------------------------ what was chosen, and what was done

    def choices(self, owner: str) -> dict[str, Any]:
        """What `owner` has chosen: name → value."""
        with self._read() as db:
            return sql.choices(db, owner)

    def choose(self, owner: str, values: Mapping[str, Any], *, deed: Deed | None = None) -> None:
        """Keep what `owner` chose; a value of None forgets the choice."""
        with self._write() as db:
            sql.choose(db, owner, values)
            if deed:
                sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def note(self, deed: Deed) -> None:
        """Write a line of the audit log."""
        with self._write() as db:
            sql.did(db, deed.at, deed.by, deed.action, deed.detail)

    def deeds(self, *, limit: int) -> list[Deed]:
        """The newest first."""
        with self._read() as db:
            return [Deed(**row) for row in sql.deeds(db, limit)]


def _account(row: Any) -> Account:
    return Account(row["id"], row["name"], Role(row["role"]), row["created_at"])
