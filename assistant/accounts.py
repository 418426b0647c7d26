"""Accounts: who may log in, who somebody is that comes with a session or a key, and what their role lets them do.

As long as there is no account, whoever reaches a server on loopback is its one user and may do everything. From the
first account on everybody logs in, and what was said before is the first account's. Secrets are 256 random bits and
kept as SHA-256; passwords as argon2id.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from memory.accounts import Account, ApiKey, Deed, Role
from memory.errors import BadInput, NotAllowed, NotFound
from memory.ledger import Ledger

LOCAL = Account("local", "local", Role.ADMIN, datetime(1970, 1, 1, tzinfo=UTC))
"""The one user of a house without accounts. The first account bears the same id, and so owns what was said before."""

SESSION_LASTS = timedelta(days=30)
PASSWORD_CHARS = (10, 200)
NAME = re.compile(r"[\w.@ +-]{1,64}")
KEY_PREFIX = "ns-"

TRIES, PER = 5, timedelta(minutes=15)
"""Wrong passwords after which a name, and an address, must wait: a thousand tries take two days."""


@dataclass
class Throttle:
    """Counts failures by what failed. Safe to use from several threads; it forgets with the process."""

    clock: Callable[[], datetime]
    tries: int = TRIES
    per: timedelta = PER
    _failed: dict[str, list[datetime]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def begin(self, *whats: str) -> None:
        """A try, which counts as failed until it has `succeeded`: many at once are no more than many one after another.

        Raises: NotAllowed (429) where any of them has failed too often lately.
        """
        with self._lock:
            since = self.clock() - self.per
            self._failed = {w: kept for w, at in self._failed.items() if (kept := [a for a in at if a > since])}
            if any(len(self._failed.get(what, ())) >= self.tries for what in whats):
                minutes = round(self.per.total_seconds() / 60)
                raise NotAllowed(f"too many wrong passwords: wait {minutes} minutes and try again", status=429)
            for what in whats:
                self._failed.setdefault(what, []).append(self.clock())

    def succeeded(self, what: str, *others: str) -> None:
        """Forget what failed of `what`, and of the others this try alone."""
        with self._lock:
            self._failed.pop(what, None)
            for other in others:
                del self._failed.get(other, [])[-1:]


class Accounts:
    """Everything about accounts, over the ledger.

    Args:
        trusting: whether a house without accounts lets everybody in: only where no other machine can reach it.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        *,
        trusting: bool = True,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._ledger, self._clock, self._new_id, self._trusting = ledger, clock, new_id, trusting
        self._hasher = hasher or PasswordHasher()
        self._throttle = Throttle(clock)
        self.first_link = secrets.token_urlsafe(32)
        """The end of the address at which the first account can be made, once."""

    # ------------------------------------------------------------------ who is it?

    @property
    def needed(self) -> bool:
        """Whether one has to log in."""
        return self._ledger.has_accounts()

    def of(self, *, session: str | None = None, key: str | None = None) -> Account | None:
        """Who comes with that session or API key; None for nobody. A key that is given alone counts."""
        if not self.needed:
            return LOCAL if self._trusting else None
        if key is not None:
            return self._ledger.account_of_key(digest(key))
        return self._ledger.account_of_session(digest(session), at=self._clock()) if session else None

    def by_id(self, account_id: str | None, *, least: Role = Role.USER) -> Account:
        """The account as it stands now. Raises: NotAllowed for nobody, and for a role below `least`."""
        if not self.needed and self._trusting:
            return LOCAL
        try:
            found = self._ledger.account(account_id or "")
        except NotFound:
            raise NotAllowed("you are not logged in any more: log in again", status=401) from None
        allowed(found, least)
        return found

    def log_in(self, name: str, password: str, *, address: str) -> str:
        """The secret of a new session. Raises: NotAllowed."""
        by_name, by_address = f"name {name.strip().casefold()[:64]}", f"address {address}"
        self._throttle.begin(by_name, by_address)
        found = self._ledger.password_hash(name)
        known = found[1] if found else self._nobody
        if not self._is_password(known, password) or found is None:
            self._note(name[:64], "log-in refused", f"from {address}")
            raise NotAllowed("the name or the password is wrong", status=401)
        self._throttle.succeeded(by_name, by_address)
        account = found[0]
        if self._hasher.check_needs_rehash(known):
            self._ledger.set_password(account.id, self._hasher.hash(password), self._deed(account, "hash renewed"))
        secret, at = secrets.token_urlsafe(32), self._clock()
        self._ledger.open_session(digest(secret), account.id, at=at, ends=at + SESSION_LASTS)
        self._note(account.name, "logged in", f"from {address}")
        return secret

    def log_out(self, session: str) -> None:
        self._ledger.close_session(digest(session))

    # ------------------------------------------------------------------ accounts

    def all(self) -> list[Account]:
        return self._ledger.accounts()

    def add(self, name: str, password: str, role: Role, *, by: str) -> Account:
        """A new account; the first one must be an admin's. Raises: BadInput."""
        name = unicodedata.normalize("NFKC", name).strip()
        if not NAME.fullmatch(name):
            raise BadInput("a name has 1 to 64 letters, digits, spaces or one of . @ + - _")
        first = not self.needed
        if first and role is not Role.ADMIN:
            raise BadInput("the first account must be an admin's: nobody else could make more")
        account = Account(LOCAL.id if first else self._new_id(), name, role, self._clock())
        self._ledger.add_account(account, self._hash(password), self._deed(by, "account added", f"{name}, {role}"))
        return account

    def add_first(self, link: str, name: str, password: str) -> Account:
        """The first account, by the one-time link of this start. Raises: NotAllowed, BadInput."""
        if self.needed or not secrets.compare_digest(link.encode(), self.first_link.encode()):
            raise NotAllowed("this link has been used, or is of an earlier start: see where the server was started")
        return self.add(name, password, Role.ADMIN, by="the first link")

    def set_role(self, account_id: str, role: Role, *, by: str) -> None:
        """Raises: NotFound; BadInput for the last admin."""
        name = self._ledger.account(account_id).name
        self._ledger.set_role(account_id, role, self._deed(by, "role changed", f"{name}: {role}"))

    def set_password(self, account_id: str, password: str, *, by: str) -> None:
        """It ends all sessions of the account. Raises: NotFound, BadInput."""
        name = self._ledger.account(account_id).name
        self._ledger.set_password(account_id, self._hash(password), self._deed(by, "password changed", name))

    def change_password(self, account: Account, old: str, new: str) -> None:
        """By the account itself. Raises: NotAllowed when `old` is not its password; BadInput."""
        what = f"name {account.name.casefold()}"
        self._throttle.begin(what)
        found = self._ledger.password_hash(account.name)
        if found is None or not self._is_password(found[1], old):
            raise NotAllowed("the old password is wrong")
        self._throttle.succeeded(what)
        self.set_password(account.id, new, by=account.name)

    def remove(self, account_id: str, *, by: str) -> None:
        """Raises: NotFound; BadInput for the last admin."""
        name = self._ledger.account(account_id).name
        self._ledger.remove_account(account_id, self._deed(by, "account removed", name))

    # ------------------------------------------------------------------ keys

    def keys(self) -> list[ApiKey]:
        return self._ledger.keys()

    def add_key(self, account_id: str, label: str, *, by: str) -> str:
        """A new key, which is told this once. Raises: NotFound, BadInput."""
        if not self.needed:
            raise BadInput("without accounts no key is needed: programs on this machine are let in")
        secret = KEY_PREFIX + secrets.token_urlsafe(32)
        label = " ".join(label.split())[:80] or "a program"
        key = ApiKey(self._new_id(), account_id, label, secret[:8], self._clock())
        name = self._ledger.account(account_id).name
        self._ledger.add_key(key, digest(secret), self._deed(by, "API key made", f"{label}, for {name}"))
        return secret

    def revoke_key(self, key_id: str, *, by: str) -> None:
        """Raises: NotFound."""
        self._ledger.revoke_key(key_id, self._deed(by, "API key revoked", key_id))

    # ------------------------------------------------------------------

    @cached_property
    def _nobody(self) -> str:
        """What a name that nobody has is checked against, so that it takes as long as one that somebody has."""
        return self._hasher.hash(secrets.token_urlsafe())

    def _hash(self, password: str) -> str:
        least, most = PASSWORD_CHARS
        if not least <= len(password) <= most:
            raise BadInput(f"a password has {least} to {most} characters")
        return self._hasher.hash(password)

    def _is_password(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password[: PASSWORD_CHARS[1] + 1])
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            return False

    def _deed(self, by: Account | str, action: str, detail: str = "") -> Deed:
        return Deed(self._clock(), by if isinstance(by, str) else by.name, action, detail)

    def _note(self, by: str, action: str, detail: str) -> None:
        self._ledger.note(Deed(self._clock(), by, action, detail))


def allowed(account: Account, least: Role) -> None:
    """Raises: NotAllowed for a role below `least`."""
    if not account.role.may(least):
        raise NotAllowed(f"only {'an' if least is Role.ADMIN else 'a'} {least} may do that, and you are {account.role}")


def digest(secret: str) -> str:
    """What is kept of a secret that nobody can guess."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
