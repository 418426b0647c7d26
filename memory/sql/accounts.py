"""Accounts, sessions, keys, choices and the audit log, as rows. What a role may do, it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.errors import BadInput, NotFound

ADMIN = "admin"


def add(db: sa.Connection, account_id: str, name: str, role: str, password_hash: str, at: datetime) -> None:
    """Raises: BadInput when the name is taken, in whatever case."""
    if (held := named(db, name)) is not None:
        raise BadInput(f"there is an account {held['name']!r} already: choose another name")
    values = {"id": account_id, "name": name, "login": login(name), "role": role, "password_hash": password_hash}
    db.execute(sa.insert(t.accounts).values(**values, created_at=at))


def login(name: str) -> str:
    """What two names must not share."""
    return name.strip().casefold()


def all_accounts(db: sa.Connection) -> list[sa.RowMapping]:
    """The oldest first."""
    return list(db.execute(sa.select(t.accounts).order_by(t.accounts.c.created_at, t.accounts.c.id)).mappings())


def any_account(db: sa.Connection) -> bool:
    """Whether there is one."""
    return db.execute(sa.select(t.accounts.c.id).limit(1)).first() is not None


def account(db: sa.Connection, account_id: str) -> sa.RowMapping:
    """Raises: NotFound."""
    row = db.execute(sa.select(t.accounts).where(t.accounts.c.id == account_id)).mappings().first()
    if row is None:
        raise NotFound("account", account_id)
    return row


def named(db: sa.Connection, name: str) -> sa.RowMapping | None:
    """The account that logs in with `name`."""
    return db.execute(sa.select(t.accounts).where(t.accounts.c.login == login(name))).mappings().first()


def set_role(db: sa.Connection, account_id: str, role: str) -> None:
    """Raises: NotFound; BadInput when no admin would be left."""
    account(db, account_id)
    if role != ADMIN:
        _refuse_without_admin(db, account_id)
    db.execute(sa.update(t.accounts).where(t.accounts.c.id == account_id).values(role=role))


def set_password(db: sa.Connection, account_id: str, password_hash: str) -> None:
    """Ends the account's sessions. Raises: NotFound."""
    account(db, account_id)
    db.execute(sa.update(t.accounts).where(t.accounts.c.id == account_id).values(password_hash=password_hash))
    db.execute(sa.delete(t.sessions).where(t.sessions.c.account_id == account_id))


def remove(db: sa.Connection, account_id: str) -> None:
    """With its sessions, keys and choices. Raises: NotFound; BadInput for the last admin."""
    account(db, account_id)
    _refuse_without_admin(db, account_id)
    db.execute(sa.delete(t.sessions).where(t.sessions.c.account_id == account_id))
    db.execute(sa.delete(t.api_keys).where(t.api_keys.c.account_id == account_id))
    db.execute(sa.delete(t.choices).where(t.choices.c.owner == account_id))
    db.execute(sa.delete(t.accounts).where(t.accounts.c.id == account_id))


def _refuse_without_admin(db: sa.Connection, account_id: str) -> None:
    others = sa.select(t.accounts.c.id).where(t.accounts.c.role == ADMIN, t.accounts.c.id != account_id)
    if db.execute(others.limit(1)).first() is None:
        raise BadInput("this is the last admin: make somebody else admin first")


# ---------------------------------------------------------------------- sessions and keys


def open_session(db: sa.Connection, digest: str, account_id: str, at: datetime, ends: datetime) -> None:
    """Those that have ended are cleared away at the same time."""
    db.execute(sa.delete(t.sessions).where(t.sessions.c.ends_at <= at))
    values = {"digest": digest, "account_id": account_id, "created_at": at, "ends_at": ends}
    db.execute(sa.insert(t.sessions).values(**values))


def close_session(db: sa.Connection, digest: str) -> None:
    """Log out."""
    db.execute(sa.delete(t.sessions).where(t.sessions.c.digest == digest))


def of_session(db: sa.Connection, digest: str, at: datetime) -> sa.RowMapping | None:
    """The account whose session that is, unless it has ended."""
    query = sa.select(t.accounts).join(t.sessions, t.sessions.c.account_id == t.accounts.c.id)
    query = query.where(t.sessions.c.digest == digest, t.sessions.c.ends_at > at)
    return db.execute(query).mappings().first()


def add_key(
    db: sa.Connection, key_id: str, account_id: str, label: str, begins: str, digest: str, at: datetime
) -> None:
    """Raises: NotFound when there is no such account."""
    account(db, account_id)
    values = {"id": key_id, "account_id": account_id, "label": label, "begins": begins, "digest": digest}
    db.execute(sa.insert(t.api_keys).values(**values, created_at=at))


def keys(db: sa.Connection) -> list[dict[str, Any]]:
    """The newest first, without their digests."""
    columns = [column for column in t.api_keys.c if column.name != "digest"]
    query = sa.select(*columns).order_by(t.api_keys.c.created_at.desc(), t.api_keys.c.id)
    return [dict(row) for row in db.execute(query).mappings()]


def revoke_key(db: sa.Connection, key_id: str) -> None:
    """Raises: NotFound."""
    if db.execute(sa.delete(t.api_keys).where(t.api_keys.c.id == key_id)).rowcount == 0:
        raise NotFound("API key", key_id)


def of_key(db: sa.Connection, digest: str) -> sa.RowMapping | None:
    """The account that the key acts as."""
    query = sa.select(t.accounts).join(t.api_keys, t.api_keys.c.account_id == t.accounts.c.id)
    return db.execute(query.where(t.api_keys.c.digest == digest)).mappings().first()


# ---------------------------------------------------------------------- choices, and the audit log


def choices(db: sa.Connection, owner: str) -> dict[str, Any]:
    """Name → value."""
    query = sa.select(t.choices.c.name, t.choices.c.value).where(t.choices.c.owner == owner)
    return dict(db.execute(query).all())


def choose(db: sa.Connection, owner: str, values: Mapping[str, Any]) -> None:
    """A value of None forgets the choice."""
    for name, value in values.items():
        db.execute(sa.delete(t.choices).where(t.choices.c.owner == owner, t.choices.c.name == name))
        if value is not None:
            db.execute(sa.insert(t.choices).values(owner=owner, name=name, value=value))


def did(db: sa.Connection, at: datetime, by: str, action: str, detail: str) -> None:
    """One line more."""
    db.execute(sa.insert(t.audit).values(at=at, by=by, action=action, detail=detail))


def deeds(db: sa.Connection, limit: int) -> list[dict[str, Any]]:
    """The newest first."""
    columns = (t.audit.c.at, t.audit.c.by, t.audit.c.action, t.audit.c.detail)
    query = sa.select(*columns).order_by(t.audit.c.seq.desc()).limit(limit)
    return [dict(row) for row in db.execute(query).mappings()]
