"""The front door: settings → `build` → one command each. `nightschool --help` lists them.

Nothing is decided here. Each command loads what it needs and no more, so that `nightschool lessons` starts without
torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from assistant import wire
from assistant.keys import keep_key, secret_key
from assistant.settings import load
from assistant.terminal import (
    err,
    night_progress,
    out,
    print_json,
    print_markdown,
    print_night,
    print_preview,
    print_table,
)
from memory.accounts import Account, Role
from memory.errors import BadInput, NightschoolError, NotRemembered
from memory.ledger import Ledger
from memory.records import Forgotten, Night, NightStatus, Unfinished
from training.settings import Settings

if TYPE_CHECKING:
    from assistant.accounts import Accounts
    from assistant.local import LocalEngine, Weights
    from assistant.turn import Assistant
    from memory.embedder import Embedder
    from memory.recall import Memory
    from memory.reranker import Reranker
    from training.nightly import School, Tell

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split("\n")[0]
)
memory_cli = typer.Typer(no_args_is_help=True, help="What is remembered: search it, list it, rebuild its index.")
cli.add_typer(memory_cli, name="memory")
users_cli = typer.Typer(no_args_is_help=True, help="Who may log in: add, list, change and remove accounts.")
cli.add_typer(users_cli, name="users")

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs")]
OfUser = Annotated[
    str | None, typer.Option("--user", help="whose it is: an account by name or id; without accounts there is one user")
]


# ---------------------------------------------------------------------- what every command is built from


@dataclass
class Nightschool:
    """Everything that a home holds, made when it is first asked for."""

    settings: Settings

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.open(self.settings.home / "ledger.db")

    @cached_property
    def key(self) -> bytes:
        path = self.settings.home / "secret.key"
        key = secret_key(path)
        # What is signed with it is stored no earlier than the key is.
        self.ledger.before_writing_again = lambda: keep_key(path, key)
        return key

    @cached_property
    def embedder(self) -> Embedder:
        from assistant.models import embedder_path
        from memory.embedder import SentenceEmbedder

        wanted = self.settings.recall_embedder
        return SentenceEmbedder(Path(wanted).expanduser() if wanted else embedder_path(self.settings.models))

    @cached_property
    def memory(self) -> Memory:
        from memory.embedder import named
        from memory.recall import Memory

        settings = self.settings
        beside = [Path(settings.recall_embedder).expanduser().parent] if settings.recall_embedder else []
        return Memory(
            self.ledger,
            self.embedder,
            settings.home / "index",
            min_score=settings.recall_min_score,
            min_score_corrected=settings.recall_min_score_corrected,
            reranker=self.reranker,
            earlier=lambda name: named(name, [settings.models, *beside]),
        )

    @cached_property
    def reranker(self) -> Reranker | None:
        if not self.settings.recall_reranker:
            return None
        from memory.reranker import CrossEncoder

        return CrossEncoder(self.settings.recall_reranker)

    @cached_property
    def engine(self) -> LocalEngine:
        return self._engine(self.settings.weights)

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
        from training.teacher import LocalTeacher

        settings = self.settings
        # On a CPU the night pays for unpacking once instead of at every step, for the same values; a GPU keeps 4 bits.
        engine = engine or self._engine("unpacked")
        cache = settings.home / "nights" / "base-answers.json"
        writing = Writing(self.ledger, settings.home)
        teacher = LocalTeacher(engine, lambda: self.embedder, settings.night, settings.system_prompt, cache, writing)
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
            tell=tell,
        )

    def _engine(self, weights: Weights) -> LocalEngine:
        from assistant.local import LocalEngine
        from assistant.models import resolve

        models = self.settings.models
        return LocalEngine(resolve(self.settings.model, models), weights=weights, copies=models / "unpacked")


def build(**overrides: Any) -> Nightschool:
    """Settings from all sources, `overrides` first, and what is built from them. Raises: BadInput."""
    return Nightschool(load(Settings, **overrides))


def now() -> datetime:
    """The clock of everything that runs from here."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new id, in no order and impossible to guess."""
    return uuid.uuid4().hex


def _house(context: typer.Context) -> Nightschool:
    return build(home=context.obj)


# ---------------------------------------------------------------------- chatting


@cli.callback()
def _options(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="data directory, instead of $NIGHTSCHOOL_HOME")] = None,
) -> None:
    context.obj = home


@cli.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free one")] = None,
    model: Annotated[str | None, typer.Option(help="embedded, a folder, or a hub id")] = None,
    nightly_at: Annotated[str | None, typer.Option(help="HH:MM, a night every day")] = None,
) -> None:
    """Chat in the browser, over HTTP, and run the nights."""
    from assistant.door import LOOPBACK
    from assistant.server import Server, listen, url

    house = build(home=context.obj, host=host, port=port, model=model, nightly_at=nightly_at)
    listener = listen(house.settings.host, house.settings.port, accounts=house.ledger.has_accounts())
    accounts = house.accounts(trusting=house.settings.host in LOOPBACK)
    # Everything that can be refused is refused before the page is up.
    _ = house.engine, house.key, house.embedder
    if house.ledger.read_only:
        err.print(escape(str(NotRemembered(house.ledger.read_only))), style="yellow", highlight=False)
    server = Server(house.assistant, house.engine, accounts)
    with _night_watch(house):
        address = url(house.settings.host, listener)
        out.print(f"Nightschool is at {address}", highlight=False)
        sys.stdout.flush()
        if not accounts.needed:
            link = f"{address}/first/{accounts.first_link}"
            told = f"no account is needed on this machine; to make the first one: {link}"
            err.print(told, highlight=False, markup=False, soft_wrap=True)
        server.run(listener)


@contextmanager
def _night_watch(house: Nightschool) -> Iterator[None]:
    """For as long as the context lasts, nights that anybody asks for are run; by the clock too, where one is set."""
    from assistant.live import settings_now
    from assistant.nights import request_night
    from training.schedule import NightClock, NightWatch, night_command

    settings = house.settings
    command, environment = night_command(settings)
    watch = NightWatch(house.ledger, command, settings.home / "logs", clock=now, environment=environment)
    clock = NightClock(lambda: request_night(house.assistant), lambda: settings_now(house.ledger, settings).nightly_at)
    watch.start()
    clock.start()
    try:
        yield
    finally:
        clock.stop()
        watch.stop()


@cli.command()
def ask(
    context: typer.Context,
    question: str,
    memory: Annotated[bool, typer.Option(help="use what is remembered")] = True,
    version: Annotated[str | None, typer.Option("--adapter", help="vN or base, instead of the active one")] = None,
    as_json: AsJson = False,
) -> None:
    """One turn in the terminal, streamed."""
    from assistant.turn import Answered, Ask, Words, turn

    house = _house(context)
    for event in turn(house.assistant, Ask(question, memory=memory, adapter=version)):
        if isinstance(event, Words) and not as_json:
            print(event.text, end="", flush=True)  # noqa: T201 - plain text, as it comes
        elif isinstance(event, Answered):
            if as_json:
                exchange = event.exchange
                print_json(
                    {
                        "exchange_id": exchange.id,
                        "answer": exchange.answer,
                        "adapter": exchange.adapter,
                        "adapter_sha256": exchange.adapter_sha256,
                        "recollections": list(exchange.recollections),
                        "timings": dict(exchange.timings),
                        "warning": event.warning,
                    }
                )
            else:
                print()  # noqa: T201
            if event.warning:
                err.print(escape(event.warning), style="yellow")
    house.memory.save()


# ---------------------------------------------------------------------- learning


@cli.command()
def nightly(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be taught, and change nothing")] = False,
    seed: Annotated[int | None, typer.Option(help="of everything that is drawn")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="budget for training")] = None,
    candidates: Annotated[int | None, typer.Option(help="settings to train, of which the best is published")] = None,
    night: Annotated[str | None, typer.Option(hidden=True, help="the queued night to run")] = None,
    as_json: AsJson = False,
) -> None:
    """Tonight's lesson, now; prints the report."""
    from assistant.nights import request_night
    from training.nightly import preview, run

    house = _house(context)
    night_settings = house.settings.night
    changed = {"seed": seed, "max_minutes": max_minutes, "candidates": candidates}
    changed = {name: value for name, value in changed.items() if value is not None}
    house = build(home=context.obj, night=night_settings.model_dump() | changed)
    seed = house.settings.night.seed
    if dry_run:
        found = preview(house.school(lambda *_: None), seed=seed)
        left_out = {key: {"state": x.state, "reason": x.reason} for key, x in found.dropped.items()}
        print_preview(found.kept, left_out, as_json=as_json)
        return
    if night:
        # Started by the server: the chat comes first.
        os.nice(10)
    night_id = night or request_night(house.assistant).id
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with night_progress(quiet=as_json or night is not None) as tell:
        ended = run(house.school(tell), night_id, seed=seed)
    if as_json:
        print_json(wire.night(ended))
    else:
        print_night(ended)
    if ended.status is NightStatus.FAILED:
        raise typer.Exit(1)


@cli.command()
def nights(context: typer.Context, as_json: AsJson = False) -> None:
    """The nights, newest first, and how each ended."""
    ledger = _house(context).ledger
    ledger.reap_nights(at=now())
    found = ledger.nights()
    if as_json:
        print_json([wire.night(x, report=False) for x in found])
        return
    rows = [
        [x.id[:8], f"{x.created_at:%Y-%m-%d %H:%M}", x.status, x.adapter or "", "; ".join(x.reasons)] for x in found
    ]
    print_table(["night", "asked for", "status", "adapter", "why"], rows, none="no night yet: nightschool nightly")


@cli.command()
def adapters(context: typer.Context, as_json: AsJson = False) -> None:
    """The versions, newest first, and which one serves."""
    found = _house(context).ledger.adapters()
    if as_json:
        print_json([wire.adapter(x) for x in found])
        return
    rows = [[x.version, x.state, f"{x.created_at:%Y-%m-%d %H:%M}", x.sha256[:12], x.reason] for x in found]
    print_table(["version", "state", "made", "sha256", "why"], rows, none="no adapter yet: the base model serves")


@cli.command()
def lessons(context: typer.Context, as_json: AsJson = False) -> None:
    """The lessons, newest first, and where each is on its way."""
    found = _house(context).ledger.lessons(newest_first=True)
    if as_json:
        print_json([wire.lesson(x) for x in found])
        return
    rows = [[x.id[:8], x.question, x.wanted or "", x.state, x.reason] for x in found]
    print_table(["lesson", "question", "wanted", "state", "why"], rows, none="no lesson yet: rate an answer")


@cli.command()
def promote(context: typer.Context, version: str, as_json: AsJson = False) -> None:
    """Let a version serve (vN, or base). Servers that run follow with their next answer."""
    from assistant import versions

    house = _house(context)
    versions.promote(house.ledger, house.settings.home, version, model=house.settings.model)
    _print_serving(version, as_json=as_json)


@cli.command()
def rollback(context: typer.Context, as_json: AsJson = False) -> None:
    """Let the version before this one serve."""
    from assistant import versions

    house = _house(context)
    version = versions.roll_back(house.ledger, house.settings.home, model=house.settings.model)
    _print_serving(version, as_json=as_json)


def _print_serving(version: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"active": version})
    else:
        out.print(f"{escape(version)} serves")


@cli.command()
def undo(
    context: typer.Context,
    lesson: Annotated[str, typer.Argument(help="its id, or how it begins")],
    as_json: AsJson = False,
) -> None:
    """Take a lesson back: the next night has never seen it."""
    from assistant.feedback import undo_lesson

    ledger = _house(context).ledger
    found = [x for x in ledger.lessons() if lesson and x.id.startswith(lesson)]
    if len(found) != 1:
        raise BadInput(
            f"{len(found) or 'no'} lesson{'s' * (len(found) > 1)} called {lesson[:40]!r}: see nightschool lessons"
        )
    undone = undo_lesson(ledger, found[0].id, clock=now, new_id=new_id)
    if as_json:
        print_json(wire.lesson(undone))
    else:
        out.print("undone: the next night has never seen it; nightschool nightly retrains without it")


# ---------------------------------------------------------------------- people

FromStdin = Annotated[bool, typer.Option("--password-stdin", help="read it from there instead of asking")]
COMMAND_LINE = "the command line"


@users_cli.command("add")
def users_add(
    context: typer.Context,
    name: str,
    role: Annotated[Role | None, typer.Option(help="user unless it is the first account: that is an admin's")] = None,
    from_stdin: FromStdin = False,
) -> None:
    """Make an account. The first one owns what was said so far, and from then on everybody logs in."""
    accounts = _house(context).accounts()
    role = role or (Role.USER if accounts.needed else Role.ADMIN)
    made = accounts.add(name, _password(from_stdin=from_stdin), role, by=COMMAND_LINE)
    out.print(f"{escape(made.name)} may log in, as {made.role}", highlight=False)


@users_cli.command("list")
def users_list(context: typer.Context, as_json: AsJson = False) -> None:
    """The accounts, oldest first."""
    found = _house(context).accounts().all()
    if as_json:
        print_json(
            [{"id": a.id, "name": a.name, "role": a.role, "created_at": a.created_at.isoformat()} for a in found]
        )
        return
    rows = [[a.name, a.role, f"{a.created_at:%Y-%m-%d %H:%M}"] for a in found]
    print_table(["name", "role", "made"], rows, none="no account yet: whoever uses this machine is its one user")


@users_cli.command("role")
def users_role(context: typer.Context, name: str, role: Role) -> None:
    """Make somebody user, teacher or admin."""
    accounts = _house(context).accounts()
    accounts.set_role(_named(accounts, name).id, role, by=COMMAND_LINE)
    out.print(f"{escape(name)} is {role}", highlight=False)


@users_cli.command("password")
def users_password(context: typer.Context, name: str, from_stdin: FromStdin = False) -> None:
    """Set a new password; all browsers of the account are logged out."""
    accounts = _house(context).accounts()
    accounts.set_password(_named(accounts, name).id, _password(from_stdin=from_stdin), by=COMMAND_LINE)
    out.print(f"{escape(name)} has a new password", highlight=False)


@users_cli.command("remove")
def users_remove(context: typer.Context, name: str) -> None:
    """Remove an account with its sessions and keys. What was said under it stays."""
    accounts = _house(context).accounts()
    accounts.remove(_named(accounts, name).id, by=COMMAND_LINE)
    out.print(f"{escape(name)} may not log in any more", highlight=False)


def _named(accounts: Accounts, name: str) -> Account:
    found = [account for account in accounts.all() if account.name.casefold() == name.strip().casefold()]
    if not found:
        raise BadInput(f"there is no account {name[:40]!r}: see nightschool users list")
    return found[0]


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


# ---------------------------------------------------------------------- memory, models, health


@cli.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="past dialogues of OpenAI, ShareGPT, ChatGPT, Claude or Open WebUI")],
    into: Annotated[str, typer.Option(help="memory, lessons or both")],
    user: OfUser = None,
    as_json: AsJson = False,
) -> None:
    """Start from past dialogues: to be recalled, to be taught, or both."""
    from typing import cast, get_args

    from assistant.imports import Into, bring

    if into not in get_args(Into):
        raise BadInput(f"--into is {into[:40]!r}: it must be one of {', '.join(get_args(Into))}")
    house = _house(context)
    whose = _whose(house, user)
    found = bring(house.ledger, file, into=cast("Into", into), key=house.key, clock=now, user=whose)
    if as_json:
        print_json(asdict(found))
    else:
        told = "{format}: {dialogues} dialogues, {exchanges} exchanges stored, {lessons} lessons, {known} known already"
        out.print(told.format(**asdict(found)), highlight=False)


def _whose(house: Nightschool, user: str | None) -> str:
    """The id of who is named; by default of who uses this machine. Raises: NotFound."""
    return "local" if user is None else house.ledger.user_called(user)


@memory_cli.command("search")
def memory_search(context: typer.Context, query: str, k: int = 5, as_json: AsJson = False) -> None:
    """What is remembered of something, by meaning and by words, with scores."""
    from assistant.turn import clean

    house = _house(context)
    if k < 1:
        raise BadInput(f"--k is {k}: it must be 1 at least")
    found = house.memory.search(clean(query, limit=house.settings.message_chars, what="query"), k=k)
    house.memory.save()
    if as_json:
        print_json({"results": [wire.found(r) for r in found]})
        return
    rows = [[f"{r.dense or 0:.2f}", f"{r.lexical or 0:.1f}", r.question, r.answer, r.reason] for r in found]
    print_table(["near", "words", "question", "answer", "why"], rows, none="nothing like that is remembered")


@memory_cli.command("list")
def memory_list(
    context: typer.Context, most: Annotated[int, typer.Option("--limit", min=1)] = 20, as_json: AsJson = False
) -> None:
    """The newest exchanges."""
    ledger = _house(context).ledger
    last = ledger.last_seq()
    found = [
        exchange
        for _, (exchange, _) in sorted(ledger.rated_exchanges(range(max(1, last - most + 1), last + 1)).items())
    ]
    if as_json:
        print_json(
            [
                {"id": e.id, "created_at": e.created_at.isoformat(), "question": e.question, "answer": e.answer}
                for e in found
            ]
        )
        return
    rows = [[f"{e.created_at:%Y-%m-%d %H:%M}", e.question, e.answer, e.adapter] for e in found]
    print_table(["when", "question", "answer", "version"], rows, none="nothing is remembered yet")


@memory_cli.command("add")
def memory_add(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="txt, md, pdf, or csv and jsonl of question and answer")],
    user: OfUser = None,
    as_json: AsJson = False,
) -> None:
    """Remember documents: what is asked about them is answered with their words, and the source is named."""
    from memory.documents import Library

    house = _house(context)
    library, whose = Library(house.ledger, house.memory, now, new_id), _whose(house, user)
    rows: list[dict[str, Any]] = []
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        for file in bars.track(files, description="reading"):
            document, how = library.add(file, user=whose)
            rows.append({"id": document.id, "name": document.name, "passages": document.passages, "how": how})
        task = bars.add_task("taking in", total=None)
        house.memory.refresh(lambda done, total: bars.update(task, completed=done, total=total))
    house.memory.save()
    if as_json:
        print_json(rows)
        return
    shown = [[x["id"][:8], x["name"], str(x["passages"]), x["how"]] for x in rows]
    print_table(["document", "name", "passages", ""], shown, none="")


@memory_cli.command("documents")
def memory_documents(context: typer.Context, as_json: AsJson = False) -> None:
    """The documents that are remembered; `memory forget --document ID` removes one."""
    found = _house(context).ledger.documents()
    if as_json:
        print_json([asdict(document) for document in found])
        return
    rows = [[x.id, x.name, str(x.passages), f"{x.created_at:%Y-%m-%d %H:%M}"] for x in found]
    print_table(["document", "name", "passages", "added"], rows, none="no document yet: nightschool memory add FILE")


@memory_cli.command("forget")
def memory_forget(
    context: typer.Context,
    exchange: Annotated[str | None, typer.Argument(help="an exchange's id")] = None,
    conversation: Annotated[str | None, typer.Option(help="all of a conversation")] = None,
    user: Annotated[str | None, typer.Option(help="all of a user, by name or id")] = None,
    document: Annotated[str | None, typer.Option(help="a document's id")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="all of everybody")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget for good: from the ledger, the index and the nights' files now, from the weights with the next night."""
    from assistant.forgetting import forget, still_in_the_weights
    from memory.recall import folders, forget_in

    if sum(x is not None for x in (exchange, conversation, user, document)) + everything != 1:
        raise BadInput("name one: an exchange's id, --conversation, --user, --document or --everything")
    house = _house(context)
    index = folders(house.settings.home / "index")
    gone = forget(
        house.ledger,
        # Without an embedder: to forget must not need one.
        lambda places: forget_in(index, places),
        house.settings.home,
        house.key,
        exchange=exchange,
        conversation=conversation,
        user=None if user is None else house.ledger.user_called(user),
        document=document,
        everything=everything,
    )
    left = still_in_the_weights(house.ledger)
    unfinished = house.ledger.unfinished()
    told = {"exchanges": len(gone.exchanges), "lessons": len(gone.lessons), "passages": len(gone.passages)}
    if as_json:
        more = {"lessons_still_in_the_weights": left, "answered_with_it": list(gone.answered_with)}
        print_json(told | more | {"index_unfinished": bool(unfinished.places), "log_unfinished": unfinished.log})
        return
    for line in _still_to_say(gone, unfinished):
        err.print(line, style="yellow", highlight=False)
    out.print("forgotten: " + ", ".join(f"{count} {name}" for name, count in told.items()), highlight=False)
    if left:
        out.print(f"{left} of its lessons are still in the weights that serve: the next night trains without them")


def _still_to_say(gone: Forgotten, unfinished: Unfinished) -> list[str]:
    """What who had something forgotten should know beyond that it is."""
    lines = []
    if gone.answered_with:
        ids = ", ".join(gone.answered_with[:5]) + (", …" if len(gone.answered_with) > 5 else "")
        lines.append(f"{len(gone.answered_with)} exchanges that stay were answered with it and may repeat it: {ids}")
    if unfinished.places:
        lines.append("another process holds the index: its vectors are removed from it with the next question")
    if unfinished.log:
        lines.append("another process reads the ledger: its log keeps older pages until the next question")
    return lines


@memory_cli.command("rebuild")
def memory_rebuild(context: typer.Context) -> None:
    """Make the search index anew from the ledger."""
    house = _house(context)
    with Progress(console=err, transient=True) as bars:
        task = bars.add_task("embedding", total=None)
        house.memory.rebuild(lambda done, total: bars.update(task, completed=done, total=total))
    house.memory.save()
    if house.memory.not_saved:
        raise NightschoolError(f"the index can't be saved: {house.memory.not_saved}")
    out.print(f"{house.ledger.count_exchanges()} exchanges are in the index")


@cli.command()
def fetch(context: typer.Context) -> None:
    """Bring the embedded models here and check them; what is there already stays."""
    from assistant.models import fetch as bring

    bring(_house(context).settings.models, say=lambda line: err.print(escape(line), highlight=False))


@cli.command()
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Hardware, model, disk, ledger, index, hashes: what is well and what is not."""
    from assistant.doctor import examine

    findings = examine(_house(context).settings)
    if as_json:
        print_json([vars(f) for f in findings])
    else:
        rows = [["[green]ok[/]" if f.ok else "[red]bad[/]", f.what, escape(f.told)] for f in findings]
        print_table(["", "what", "found"], rows, none="", markup=True)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


@cli.command()
def canaries(
    context: typer.Context,
    version: Annotated[str | None, typer.Option("--adapter", help="vN, instead of the active one")] = None,
    as_json: AsJson = False,
) -> None:
    """Public sets (PIQA, BoolQ) with a version and with the base: whether learning has cost it common sense."""
    from assistant.turn import adapter_files
    from training import public_sets as sets

    house, questions = _house(context), sets.load()
    adapter = house.ledger.adapter(version) if version else house.ledger.active_adapter()
    if adapter is None:
        raise BadInput("the base serves: there is nothing to compare it with; name a version with --adapter")
    files, engine = adapter_files(house.settings.home, adapter), house.engine
    with night_progress(quiet=as_json) as tell:
        before = sets.score(engine, questions, None, lambda share, told: tell("base", share / 2, told))
        after = sets.score(engine, questions, files, lambda share, told: tell(files.version, (1 + share) / 2, told))
    found = sets.compared(questions, before, after)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            name,
            f"{one['before']:.1%}",
            f"{one['after']:.1%}",
            f"{one['difference']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]",
            "yes" if one["holds"] else f"no: more than {sets.LOST_MAX:g} points are lost",
        ]
        for name, one in found.items()
    ]
    print_table(["set", "base", files.version, "points, 95 %", "within bound"], rows, none="")


@cli.command()
def bench(
    context: typer.Context,
    streams: Annotated[list[Path] | None, typer.Argument(help="files of streams, one run over all of them")] = None,
    arms: Annotated[
        str, typer.Option(help="of base, memory, nll, joint, sequential, ceiling")
    ] = "base,memory,nll,joint",
    seeds: Annotated[str, typer.Option(help="with commas")] = "0",
    nights: Annotated[int | None, typer.Option(min=1, help="stop after so many days")] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="where results are, and go on from")] = Path("bench"),
    public_sets: Annotated[
        bool | None, typer.Option(help="PIQA and BoolQ at the end of each run; by default where they are installed")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A simulated user asks, rates, and lets nights run; without a stream, five facts once, and the time of a start."""
    if not streams:
        _bench_loop(context, as_json=as_json)
        return
    from training import public_sets as sets
    from training.bench import Product, PublicSets, compare
    from training.settings import NightSettings

    wanted = sets.installed() if public_sets is None else public_sets
    questions = sets.load() if wanted else {}
    house = _house(context)
    settings, engine = house.settings, house.engine
    public = PublicSets(questions, lambda files, tell: sets.score(engine, questions, files, tell)) if wanted else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def product(home: Path, night: NightSettings) -> Product:
        made = Nightschool(settings.model_copy(update={"home": home, "models_dir": settings.models, "night": night}))
        made.engine, made.embedder = engine, house.embedder
        return Product(made.assistant, made.school(lambda *_: None, engine))

    with night_progress(quiet=as_json) as tell:
        compare(
            streams,
            out=out_dir,
            build=product,
            settings=settings,
            model_id=engine.model_id,
            model_sha256=engine.files.sha256,
            arms=arms,
            seeds=seeds,
            nights=nights,
            public=public,
            progress=lambda share, told: tell("bench", share, told),
        )
    if as_json:
        print_json(json.loads((out_dir / "results.json").read_text("utf-8"))["summary"])
    else:
        print_markdown((out_dir / "report.md").read_text("utf-8"))


def _bench_loop(context: typer.Context, *, as_json: bool) -> None:
    from training.bench import loop, seconds_to_first_answer
    from training.streams import shipped

    models = _house(context).settings.models
    with tempfile.TemporaryDirectory(prefix="nightschool-bench-") as home:
        house = build(home=Path(home), models_dir=models, answer_tokens=64)
        figures = loop(
            house.assistant, lambda: _night_of_its_own(house), shipped(), say=lambda line: err.print(escape(line))
        )
        err.print("a start")
        measured = {"seconds_to_first_answer": seconds_to_first_answer(house.settings), **asdict(figures)}
    if as_json:
        print_json(measured)
        return
    rows = [[name.replace("_", " "), str(value)] for name, value in measured.items() if name != "answers"]
    print_table(["figure", "value"], rows, none="")


@cli.command("bench-memory")
def bench_memory(
    context: typer.Context,
    evidence: Annotated[Path | None, typer.Option(help="a LoCoMo file: is the evidence found?")] = None,
    streams: Annotated[list[Path] | None, typer.Option("--stream", help="corrections, asked in other words")] = None,
    scale: Annotated[int | None, typer.Option(min=1000, help="so many exchanges: latency, size, start")] = None,
    plot: Annotated[Path | None, typer.Option(help="with --scale: an SVG of what one more exchange costs")] = None,
    rounds: Annotated[int | None, typer.Option("--kill", min=1, help="two writers, one killed, so many times")] = None,
    as_json: AsJson = False,
) -> None:
    """Recall, measured; at least one of the options says of what."""
    if not (evidence or streams or scale or rounds):
        raise BadInput("say what to measure: --evidence FILE, --stream FILE, --scale N or --kill N")
    house = _house(context)
    rows: list[dict[str, Any]] = []
    with night_progress(quiet=as_json) as tell:
        if evidence:
            from memory.bench.evidence import measure

            rows += measure(evidence, house.embedder, progress=lambda share, told: tell("evidence", share, told))
        for file in streams or ():
            rows.append(_bench_recalled(house, file, lambda done, of: tell("stream", done / of, f"{done} of {of}")))
        if scale:
            from memory.bench.plot import draw
            from memory.bench.scale import grow

            around = _real_vectors(house, evidence) if evidence else None
            grown = grow(scale, around=around, progress=lambda share, told: tell("scale", share, told))
            rows += grown
            if plot:
                draw(grown, plot)
        if rounds:
            from memory.bench.crash import survive

            rows.append(survive(rounds, progress=lambda share, told: tell("kill", share, told)))
    if as_json:
        print_json(rows)
        return
    for head in dict.fromkeys(tuple(row) for row in rows):
        print_table(head, [[str(v) for v in row.values()] for row in rows if tuple(row) == head], none="")


def _real_vectors(house: Nightschool, file: Path) -> Any:
    from memory.bench.evidence import read

    return house.embedder.embed([turn.text for talk in read(file) for turn in talk.turns])


def _bench_recalled(house: Nightschool, file: Path, progress: Any) -> dict[str, Any]:
    from training.bench import recalled

    with tempfile.TemporaryDirectory(prefix="nightschool-bench-") as home:
        changed = {"home": Path(home), "models_dir": house.settings.models}
        made = Nightschool(house.settings.model_copy(update=changed))
        made.engine, made.embedder = house.engine, house.embedder
        try:
            return recalled(made.assistant, file, progress=progress)
        finally:
            made.ledger.close()


def _night_of_its_own(house: Nightschool) -> Night:
    """Run a night as the server does, in another process, and wait for it."""
    from assistant.nights import request_night
    from training.schedule import night_command

    night_id = request_night(house.assistant).id
    command, environment = night_command(house.settings)
    subprocess.run([*command, night_id], env=environment, check=False, stdout=sys.stderr)  # noqa: S603 - our own
    return house.ledger.night(night_id)


def main() -> None:
    """The command `nightschool`: one clear line and a non-zero exit for what can be told, a traceback for a bug."""
    try:
        cli()
    except NightschoolError as error:
        err.print(f"nightschool: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
