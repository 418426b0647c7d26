"""The front door: settings → `build` → one command each. `nightschool --help` lists them.

Nothing is decided here. Each command loads what it needs and no more, so that `nightschool lessons` starts without
torch.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from assistant import wire
from assistant.settings import load
from memory.errors import BadInput, NightschoolError
from memory.ledger import Ledger
from memory.records import Night, NightStatus
from training.settings import Settings

if TYPE_CHECKING:
    from assistant.local import LocalEngine
    from assistant.turn import Assistant
    from memory.embedder import Embedder
    from memory.recall import Memory
    from training.nightly import School, Tell

LOOPBACK = ("127.0.0.1", "localhost", "::1")

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split("\n")[0]
)
memory_cli = typer.Typer(no_args_is_help=True, help="What is remembered: search it, list it, rebuild its index.")
cli.add_typer(memory_cli, name="memory")
out, err = Console(), Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs")]


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
        return secret_key(self.settings.home / "secret.key")

    @cached_property
    def embedder(self) -> Embedder:
        from assistant.models import embedder_path
        from memory.embedder import SentenceEmbedder

        return SentenceEmbedder(embedder_path(self.settings.models))

    @cached_property
    def memory(self) -> Memory:
        from memory.recall import Memory

        folder = None if self.ledger.read_only else self.settings.home / "index"
        score = self.settings.recall_min_score
        return Memory(self.ledger, self.embedder, folder, min_score=score, save_every=32)

    @cached_property
    def engine(self) -> LocalEngine:
        from assistant.local import LocalEngine
        from assistant.models import resolve

        return LocalEngine(resolve(self.settings.model, self.settings.models), weights=self.settings.weights)

    @cached_property
    def assistant(self) -> Assistant:
        from assistant.turn import Assistant

        return Assistant(self.settings, self.ledger, self.memory, self.engine, self.key, now, new_id)

    def school(self, tell: Tell) -> School:
        """The collaborators of a night in this process."""
        from assistant.local import LocalEngine
        from assistant.models import resolve
        from training.lease import this_process
        from training.nightly import School
        from training.teacher import LocalTeacher

        settings = self.settings
        # On a CPU the night pays for unpacking once instead of at every step, for the same values; a GPU keeps 4 bits.
        engine = LocalEngine(resolve(settings.model, settings.models), weights="unpacked")
        cache = settings.home / "nights" / "base-answers.json"
        teacher = LocalTeacher(engine, lambda: self.embedder, settings.night, settings.system_prompt, cache)
        return School(
            home=settings.home,
            ledger=self.ledger,
            teacher=teacher,
            settings=settings.night,
            system_prompt=settings.system_prompt,
            key=self.key,
            clock=now,
            holder=this_process(),
            tell=tell,
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


def secret_key(path: Path) -> bytes:
    """The key that signs what the assistant says, made at the first start, readable by its owner alone.

    Where the home can't be written, a key for this run: nothing that it signs is stored either.

    Raises: BadInput when there is a file that is no key, or not ours to read.
    """
    with suppress(OSError):
        _make_key(path)
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except (FileNotFoundError, NotADirectoryError):
        return secrets.token_bytes(32)
    except OSError as error:
        raise BadInput(
            f"{path} can't be read ({error.strerror}): make it readable, or choose another --home"
        ) from error
    except ValueError:
        key = b""
    if not key:
        raise BadInput(f"{path} holds no key: put it back from a backup, or delete it and lose what it signed")
    return key


def _make_key(path: Path) -> None:
    """Put a new key there, unless there is one: whole at once, so that no other process ever reads half of it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, not a rename: of two processes that make one, the first one's stays.
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:
            # A file system without links.
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


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
    house = build(home=context.obj, host=host, port=port, model=model, nightly_at=nightly_at)
    settings = house.settings
    if settings.host not in LOOPBACK:
        raise BadInput(
            f"listening on {settings.host} would let anybody in, and there is no account yet: keep to 127.0.0.1"
        )
    listener = _listen(settings.host, settings.port)
    # Everything that can be refused is refused before the page is up.
    _ = house.engine, house.key, house.embedder
    if house.ledger.read_only:
        err.print(f"nothing is being remembered: {house.ledger.read_only}", style="yellow")
    host_name = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host_name}:{listener.getsockname()[1]}"
    _serve(house, listener, address)


def _serve(house: Nightschool, listener: socket.socket, address: str) -> None:
    import uvicorn

    from assistant import api, ui
    from assistant.nights import request_night
    from training.schedule import NightWatch, every_night, night_command

    settings, failure = house.settings, []
    web = api.create(house.assistant, ready=lambda: _why_not_ready(house.engine, failure))
    ui.mount(web, house.assistant)
    server = uvicorn.Server(uvicorn.Config(web, log_level="warning", timeout_graceful_shutdown=5))

    def warm_up() -> None:
        try:
            house.engine.load()
            house.memory.recall("warm up", k=1)
            house.memory.refresh()
        except Exception as error:
            # Also what no one foresaw (a library that can't be imported): a server that never gets ready says why.
            failure.append(str(error) or type(error).__name__)
            server.should_exit = True

    command, environment = night_command(settings)
    watch = NightWatch(house.ledger, command, settings.home / "logs", clock=now, environment=environment)
    clock = every_night(lambda: request_night(house.assistant), settings.nightly_at) if settings.nightly_at else None
    warming = threading.Thread(target=warm_up, name="warm up", daemon=True)
    warming.start()
    watch.start()
    if clock:
        clock.start()
    out.print(f"Nightschool is at {address}", highlight=False)
    sys.stdout.flush()
    # uvicorn shuts down, and then raises the signal again: SIGTERM must not kill before the nights are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        if clock:
            clock.shutdown(wait=False)
        watch.stop()
        house.memory.save()
    if failure:
        raise NightschoolError(failure[0])


def _why_not_ready(engine: LocalEngine, failure: Sequence[str]) -> str | None:
    if failure:
        return failure[0]
    return None if engine.ready else "the model is being loaded"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be opened ({error.strerror})"
        raise BadInput(f"port {port} on {host} {why}: choose another with --port, or --port 0 for any") from error
    return listener


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
                _print_json(
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
    night: Annotated[str | None, typer.Option(hidden=True, help="the queued night to run")] = None,
    as_json: AsJson = False,
) -> None:
    """Tonight's lesson, now; prints the report."""
    from assistant.nights import request_night
    from training.nightly import preview, run

    house = _house(context)
    night_settings = house.settings.night
    changed = {"seed": seed, "max_minutes": max_minutes}
    changed = {name: value for name, value in changed.items() if value is not None}
    house = build(home=context.obj, night=night_settings.model_dump() | changed)
    seed = house.settings.night.seed
    if dry_run:
        _print_preview(preview(house.school(lambda *_: None), seed=seed), as_json=as_json)
        return
    if night:
        # Started by the server: the chat comes first.
        os.nice(10)
    night_id = night or request_night(house.assistant).id
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _progress(quiet=as_json or night is not None) as tell:
        ended = run(house.school(tell), night_id, seed=seed)
    if as_json:
        _print_json(wire.night(ended))
    else:
        _print_ended(ended)
    if ended.status is NightStatus.FAILED:
        raise typer.Exit(1)


@cli.command()
def nights(context: typer.Context, as_json: AsJson = False) -> None:
    """The nights, newest first, and how each ended."""
    ledger = _house(context).ledger
    ledger.reap_nights(at=now())
    found = ledger.nights()
    if as_json:
        _print_json([wire.night(x, report=False) for x in found])
        return
    rows = [
        [x.id[:8], f"{x.created_at:%Y-%m-%d %H:%M}", x.status, x.adapter or "", "; ".join(x.reasons)] for x in found
    ]
    _print_table(["night", "asked for", "status", "adapter", "why"], rows, none="no night yet: nightschool nightly")


@cli.command()
def adapters(context: typer.Context, as_json: AsJson = False) -> None:
    """The versions, newest first, and which one serves."""
    found = _house(context).ledger.adapters()
    if as_json:
        _print_json([wire.adapter(x) for x in found])
        return
    rows = [[x.version, x.state, f"{x.created_at:%Y-%m-%d %H:%M}", x.sha256[:12], x.reason] for x in found]
    _print_table(["version", "state", "made", "sha256", "why"], rows, none="no adapter yet: the base model serves")


@cli.command()
def lessons(context: typer.Context, as_json: AsJson = False) -> None:
    """The lessons, newest first, and where each is on its way."""
    found = _house(context).ledger.lessons(newest_first=True)
    if as_json:
        _print_json([wire.lesson(x) for x in found])
        return
    rows = [[x.id[:8], x.question, x.wanted or "", x.state, x.reason] for x in found]
    _print_table(["lesson", "question", "wanted", "state", "why"], rows, none="no lesson yet: rate an answer")


@cli.command()
def promote(context: typer.Context, version: str) -> None:
    """Let a version serve (vN, or base). Servers that run follow with their next answer."""
    from assistant import versions

    house = _house(context)
    versions.promote(house.ledger, house.settings.home, version)
    out.print(f"{escape(version)} serves")


@cli.command()
def rollback(context: typer.Context) -> None:
    """Let the version before this one serve."""
    from assistant import versions

    house = _house(context)
    out.print(f"{versions.roll_back(house.ledger, house.settings.home)} serves")


@cli.command()
def undo(context: typer.Context, lesson: Annotated[str, typer.Argument(help="its id, or how it begins")]) -> None:
    """Take a lesson back: the next night has never seen it."""
    from assistant.feedback import undo_lesson

    house = _house(context)
    found = [x for x in house.ledger.lessons() if lesson and x.id.startswith(lesson)]
    if len(found) != 1:
        raise BadInput(
            f"{len(found) or 'no'} lesson{'s' * (len(found) > 1)} called {lesson[:40]!r}: see nightschool lessons"
        )
    undo_lesson(house.assistant, found[0].id)
    out.print("undone: the next night has never seen it; nightschool nightly retrains without it")


# ---------------------------------------------------------------------- memory, models, health


@memory_cli.command("search")
def memory_search(context: typer.Context, query: str, k: int = 5, as_json: AsJson = False) -> None:
    """What would be recalled for a question, with scores."""
    from assistant.turn import clean

    house = _house(context)
    found = house.memory.recall(clean(query, limit=house.settings.message_chars, what="query"), k=k)
    if as_json:
        _print_json([wire.recollection(r) for r in found])
        return
    rows = [[f"{r.score:.2f}", r.question, r.answer, r.reason] for r in found]
    _print_table(["score", "question", "answer", "why"], rows, none="nothing near to that is remembered")


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
        _print_json(
            [
                {"id": e.id, "created_at": e.created_at.isoformat(), "question": e.question, "answer": e.answer}
                for e in found
            ]
        )
        return
    rows = [[f"{e.created_at:%Y-%m-%d %H:%M}", e.question, e.answer, e.adapter] for e in found]
    _print_table(["when", "question", "answer", "version"], rows, none="nothing is remembered yet")


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
        _print_json([vars(f) for f in findings])
    else:
        rows = [["[green]ok[/]" if f.ok else "[red]bad[/]", f.what, escape(f.told)] for f in findings]
        _print_table(["", "what", "found"], rows, none="", markup=True)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


@cli.command()
def bench(
    context: typer.Context,
    stream: Annotated[Path | None, typer.Argument(help="a stream's file; without one the five facts shipped")] = None,
    as_json: AsJson = False,
) -> None:
    """A simulated user: asks, rates, lets a night run, asks again. In a data directory of its own."""
    from training.bench import loop, seconds_to_first_answer
    from training.streams import read, shipped

    models = _house(context).settings.models
    items = read(stream) if stream else shipped()
    with tempfile.TemporaryDirectory(prefix="nightschool-bench-") as home:
        house = build(home=Path(home), models_dir=models)
        figures = loop(
            house.assistant, lambda: _night_of_its_own(house), items, say=lambda line: err.print(escape(line))
        )
        err.print("a start")
        measured = {"seconds_to_first_answer": seconds_to_first_answer(house.settings), **asdict(figures)}
    if as_json:
        _print_json(measured)
        return
    rows = [[name.replace("_", " "), str(value)] for name, value in measured.items() if name != "answers"]
    _print_table(["figure", "value"], rows, none="")


def _night_of_its_own(house: Nightschool) -> Night:
    """Run a night as the server does, in another process, and wait for it."""
    from assistant.nights import request_night
    from training.schedule import night_command

    night_id = request_night(house.assistant).id
    command, environment = night_command(house.settings)
    subprocess.run([*command, night_id], env=environment, check=False, stdout=sys.stderr)  # noqa: S603 - our own
    return house.ledger.night(night_id)


# ---------------------------------------------------------------------- printing


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Tell]:
    columns = (
        TextColumn("{task.fields[stage]:8}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bars:
        task = bars.add_task("", total=1.0, stage="")

        def tell(stage: str, share: float, detail: str) -> None:
            bars.update(task, completed=share, stage=stage, description=escape(detail))

        yield tell


def _print_ended(ended: Any) -> None:
    file = Path(ended.report) / "report.md" if ended.report else None
    if file and file.is_file() and ended.status in (NightStatus.PROMOTED, NightStatus.REJECTED):
        from rich.markdown import Markdown

        out.print(Markdown(file.read_text("utf-8")))
    else:
        out.print(escape(f"{ended.status}: {'; '.join(ended.reasons)}"), highlight=False)


def _print_preview(syllabus: Any, *, as_json: bool) -> None:
    if as_json:
        dropped = {k: {"state": d.state, "reason": d.reason} for k, d in syllabus.dropped.items()}
        _print_json({"lessons_in": [wire.lesson(x) for x in syllabus.kept], "lessons_out": dropped})
        return
    rows = [[x.id[:8], "taught", x.question, x.wanted or ""] for x in syllabus.kept]
    rows += [[lesson_id[:8], "left out", decision.reason, ""] for lesson_id, decision in syllabus.dropped.items()]
    _print_table(
        ["lesson", "tonight", "question or why not", "wanted"], rows, none="nothing to learn, because nothing is rated"
    )


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, none: str, markup: bool = False) -> None:
    if not rows:
        out.print(none, highlight=False)
        return
    table = Table(*head, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(value if markup else escape(str(value)) for value in row))
    out.print(table)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))  # noqa: T201 - for programs, so never wrapped


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
