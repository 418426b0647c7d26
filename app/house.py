"""What every command is built from: settings → `build` → the collaborators that a home holds, made when asked for."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.keys import keep_key, secret_key
from assistant.settings import load
from memory.errors import ModelUnavailable, NightschoolError
from memory.ledger import Ledger
from training.settings import Settings

if TYPE_CHECKING:
    from assistant.accounts import Accounts
    from assistant.engine import AdapterFiles
    from assistant.local import LocalEngine, Weights
    from assistant.remote import RemoteEngine
    from assistant.shared import SharedEngine
    from assistant.turn import Assistant
    from memory.embedder import Embedder
    from memory.recall import Memory
    from memory.reranker import Reranker
    from training.nightly import School, Tell
    from training.room import Card

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs")]
OfUser = Annotated[
    str | None, typer.Option("--user", help="whose it is: an account by name or id; without accounts there is one user")
]


@dataclass
class Nightschool:
    """Everything that a home holds, made when it is first asked for."""

    settings: Settings

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.open(self.settings.home / "ledger.db")

    @property
    def records(self) -> Ledger:
        """The ledger, to show what is in it. Raises: NightschoolError where it can't be opened."""
        if self.ledger.stands_in:
            raise NightschoolError(f"there is nothing to be read: {self.ledger.read_only} (choose another --home)")
        return self.ledger

    @cached_property
    def key(self) -> bytes:
        path = self.settings.home / "secret.key"
        key = secret_key(path)
        # What is signed with it is stored no earlier than the key is.
        self.ledger.before_writing_again = lambda: keep_key(path, key)
        return key

    @cached_property
    def embedder(self) -> Embedder:
        from assistant.models import embedder_of
        from memory.embedder import SentenceEmbedder

        return SentenceEmbedder(embedder_of(self.settings))

    @cached_property
    def memory(self) -> Memory:
        from memory.embedder import named
        from memory.recall import Memory

        settings = self.settings
        return Memory(
            self.ledger,
            self.embedder,
            settings.home / "index",
            min_score=settings.recall_min_score,
            min_score_corrected=settings.recall_min_score_corrected,
            min_score_told=settings.recall_min_score_told,
            reranker=self.reranker,
            earlier=lambda maker: named(maker.name, [*([maker.path] if maker.path else []), settings.models]),
        )

    @cached_property
    def reranker(self) -> Reranker | None:
        if not self.settings.recall_reranker:
            return None
        from memory.reranker import CrossEncoder

        return CrossEncoder(self.settings.recall_reranker)

    @cached_property
    def engine(self) -> LocalEngine | RemoteEngine | SharedEngine:
        """Who computes the words of the day."""
        return self.remote() if self.settings.engine == "remote" else self.local

    def shared(self) -> SharedEngine | RemoteEngine:
        """The engine of a server: one in this process hands its memory to nights that need it, and then the server of
        `remote_url` answers, where one is named.
        """
        from assistant.shared import SharedEngine

        settings = self.settings
        if settings.engine == "remote":
            return self.remote()
        instead = self.remote() if settings.remote_url else None
        return SharedEngine(lambda: self._engine(settings.weights, warms=True), self.ledger, clock=now, instead=instead)

    @cached_property
    def local(self) -> LocalEngine:
        """The engine in this process, whoever serves: benches and exams look into its weights."""
        return self._engine(self.settings.weights)

    def remote(self) -> RemoteEngine:
        """An engine over the server of `remote_url`. Raises: BadInput where none is named."""
        from assistant.remote import over

        return over(self.settings)

    @cached_property
    def assistant(self) -> Assistant:
        from assistant.turn import Assistant

        return Assistant(self.settings, self.ledger, self.memory, self.engine, self.key, now, new_id)

    def accounts(self, *, trusting: bool = True) -> Accounts:
        from assistant.accounts import Accounts

        return Accounts(self.ledger, now, new_id, trusting=trusting)

    def school(self, tell: Tell, engine: LocalEngine | None = None) -> School:
        """The collaborators of a night in this process, on `engine` or one of its own."""
        from assistant.forgetting import Writing
        from training.lease import this_process
        from training.nightly import School
        from training.room import RoomyTeacher, free_on_card, needed_before
        from training.teacher import LocalTeacher

        settings = self.settings
        # On a CPU the night pays for unpacking once instead of at every step, for the same values; a GPU keeps 4 bits.
        engine = engine or self._engine("unpacked")
        cache = settings.home / "nights" / "base-answers.json"
        writing = Writing(self.ledger, settings.home)
        teacher = RoomyTeacher(
            LocalTeacher(engine, lambda: self.embedder, settings.night, settings.system_prompt, cache, writing),
            self.card,
            settings.night.card,
            needs_mb=lambda: needed_before(self.ledger),
            free_mb=free_on_card,
        )
        return School(
            home=settings.home,
            ledger=self.ledger,
            teacher=teacher,
            settings=settings.night,
            system_prompt=settings.system_prompt,
            key=self.key,
            clock=now,
            holder=this_process(),
            writing=writing,
            admit=self._admitted,
            tell=tell,
        )

    @property
    def admit(self) -> Callable[[AdapterFiles], None]:
        """What looks at a version before it serves: the engine, or where its weights are not here the files alone."""
        from assistant.local import check_adapter

        try:
            return self.engine.admit
        except ModelUnavailable:
            return check_adapter

    @cached_property
    def card(self) -> Card:
        """A night's side of sharing memory with the day."""
        from training.room import Card

        return Card(self.ledger, now)

    def _admitted(self, files: AdapterFiles) -> None:
        """Have the server of the day load a version that is about to serve; one that is down does it later."""
        from assistant.upstream import Down

        if self.settings.engine == "remote":
            with suppress(Down), closing(self.remote()) as engine:
                engine.admit(files)

    def _engine(self, weights: Weights, *, warms: bool = False) -> LocalEngine:
        from assistant.local import LocalEngine
        from assistant.models import resolve

        models = self.settings.models
        return LocalEngine(
            resolve(self.settings.model, models), weights=weights, copies=models / "unpacked", warms=warms
        )


def build(**overrides: Any) -> Nightschool:
    """Settings from all sources, `overrides` first, and what is built from them. Raises: BadInput."""
    return Nightschool(load(Settings, **overrides))


def now() -> datetime:
    """The clock of everything that runs from here."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new id, in no order and impossible to guess."""
    return uuid.uuid4().hex


def house_of(context: typer.Context) -> Nightschool:
    """What a command works on: the home that its options name."""
    return build(home=context.obj)
