"""The ledger's nights: who runs one, how it ended, the versions that came of it, and which one serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from memory import sql
from memory.accounts import Deed
from memory.database import Database
from memory.records import BASE, Adapter, Lease, LessonEvent, Night, NightStatus


class Nights(Database):
    """The part of the ledger that is about nights and versions. One night at a time: a lease says whose it is."""

    def request_night(self, night: Night) -> Night:
        """Queue `night`, or the one that was cut off and can go on, or the one that waits already.

        Raises:
            AlreadyRunning: one runs; the error names who holds the lease.
        """
        with self._write() as db:
            return sql.nights.request(db, night)

    def begin_night(
        self,
        night_id: str,
        *,
        holder: str,
        at: datetime,
        ttl: timedelta,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Night:
        """Take the lease and mark the night as running, with the seed and the settings that it runs with (None keeps
        those that it was requested with).

        Raises:
            AlreadyRunning: another holder's lease is in force.
            NotFound: no such night.
            BadInput: it has ended already.
        """
        with self._write() as db:
            return sql.nights.begin(db, night_id, holder=holder, at=at, ttl=ttl, seed=seed, settings=settings)

    def renew_lease(self, holder: str, *, at: datetime, ttl: timedelta) -> bool:
        """The heartbeat. False when the lease is no longer this holder's."""
        with self._write() as db:
            return sql.nights.renew_lease(db, holder, at=at, ttl=ttl)

    def lease(self) -> Lease | None:
        """The lease as it stands, expired or not."""
        with self._read() as db:
            return sql.nights.lease(db)

    def night_progress(self, night_id: str, *, stage: str, progress: float, detail: str = "") -> None:
        """Say how far a night is; `progress` in [0, 1] over all stages."""
        with self._write() as db:
            sql.nights.progressed(db, night_id, stage=stage, progress=progress, detail=detail)

    def name_adapter(self, night_id: str) -> str:
        """The version that this night's adapter will bear: the next free one, the same again after a cut-off."""
        with self._write() as db:
            return sql.nights.name_adapter(db, night_id)

    def end_night(
        self,
        night_id: str,
        *,
        holder: str,
        status: NightStatus,
        reasons: Sequence[str],
        at: datetime,
        report: str | None = None,
        adapter: Adapter | None = None,
        back_to: str | None = None,
        drift: Mapping[str, Any] | None = None,
        lessons: Sequence[tuple[str, LessonEvent]] = (),
        resumable: bool = False,
    ) -> Night:
        """Everything a night's end changes, in one transaction: the version that serves, the lessons, the verdict, the
        lease. Before it nothing has changed for the day; after it everything has.

        Args:
            back_to: an earlier version, or `base`, that serves from now on.
            drift: how the night found the version that served.

        Raises:
            AlreadyRunning: the lease went to another holder meanwhile; nothing was written.
            LeaseLost: the lease was ended meanwhile, and nobody holds one now; nothing was written.
        """
        with self._write() as db:
            sql.nights.check_lease(db, night_id, holder=holder)
            if adapter is not None:
                sql.adapters.add(db, adapter)
            if back_to is not None:
                if back_to != BASE:
                    sql.adapters.may_serve(db, back_to)
                sql.adapters.flip(db, back_to, reasons[0])
            if drift is not None:
                sql.drifts.add(db, night_id, drift)
            # Conversations may have been deleted while the night ran, and their lessons with them.
            sql.lessons.advance_all(db, lessons, deleted_ok=True)
            return sql.nights.end(
                db, night_id, status=status, reasons=reasons, report=report, at=at, resumable=resumable
            )

    def cancel_night(self, night_id: str, *, why: str, at: datetime, deed: Deed) -> Night:
        """End a night that waits or runs, for good. Its process finds its lease gone and changes nothing.

        Raises: NotFound; BadInput when it has ended already.
        """
        with self._write() as db:
            sql.nights.cancel(db, night_id, why=why, at=at)
            sql.accounts.did(db, deed.at, deed.by, deed.action, deed.detail)
            return sql.nights.get(db, night_id)

    def reap_nights(self, *, at: datetime) -> list[Night]:
        """Nights that say they run though nobody holds their lease any more are marked failed, to be resumed."""
        if not self.writable():
            return []
        with self._write() as db:
            return [sql.nights.get(db, night_id) for night_id in sql.nights.reap(db, at)]

    def abandon_lease(self, night_id: str, *, at: datetime) -> None:
        """End a dead night's lease before its time: for who started the process and saw it die."""
        with self._write() as db:
            sql.nights.end_lease(db, night_id)
            sql.nights.reap(db, at)

    def night(self, night_id: str) -> Night:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.nights.get(db, night_id)

    def nights(self, *, limit: int = 100) -> list[Night]:
        """The newest nights first."""
        with self._read() as db:
            return sql.nights.newest(db, limit=limit)

    # ------------------------------------------------------------------ adapters

    def adapter(self, version: str) -> Adapter:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.adapters.get(db, version)

    def adapters(self) -> list[Adapter]:
        """The newest version first."""
        with self._read() as db:
            return sql.adapters.newest(db)

    def active_adapter(self) -> Adapter | None:
        """The version that serves; None for the base."""
        with self._read() as db:
            return sql.adapters.active(db)

    def withdraw_adapter(self, version: str, reason: str) -> None:
        """A version that may not serve again. Raises: NotFound."""
        with self._write() as db:
            sql.adapters.withdraw(db, version, reason)

    def activate(self, version: str, *, reason: str) -> Adapter | None:
        """Let `version` serve (`base` for none); the one before it retires. One transaction: it is the switch.

        Raises: NotFound; BadInput for a version that failed its exam.
        """
        with self._write() as db:
            if version != BASE:
                sql.adapters.may_serve(db, version)
            sql.adapters.flip(db, version, reason)
            return sql.adapters.active(db)

    # ------------------------------------------------------------------ what nights tell each other

    def last_drift(self) -> dict[str, Any] | None:
        """How the newest night that looked found the version that served."""
        with self._read() as db:
            return sql.drifts.newest(db)

    def study_log(self, *, first: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """The log of what candidates of nights have shown, in the order of writing, from place `first` on."""
        with self._read() as db:
            return sql.study.entries(db, first=first, limit=limit)

    def append_study_log(self, entries: Sequence[Mapping[str, Any]]) -> None:
        with self._write() as db:
            sql.study.append(db, entries)
