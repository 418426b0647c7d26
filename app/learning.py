"""Commands about what is learned: nights, lessons, versions, and what learning has cost."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.house import AsJson, build, house_of, new_id, now
from assistant import wire
from assistant.terminal import (
    night_progress,
    out,
    print_json,
    print_night,
    print_preview,
    print_table,
)
from memory.errors import BadInput
from memory.records import NightStatus

cli = typer.Typer()


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

    house = house_of(context)
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
        try:
            ended = run(house.school(tell), night_id, seed=seed)
        finally:
            house.card.give_back()
    if as_json:
        print_json(wire.night(ended))
    else:
        print_night(ended)
    if ended.status is NightStatus.FAILED:
        raise typer.Exit(1)


@cli.command()
def nights(context: typer.Context, as_json: AsJson = False) -> None:
    """The nights, newest first, and how each ended."""
    ledger = house_of(context).records
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
    found = house_of(context).records.adapters()
    if as_json:
        print_json([wire.adapter(x) for x in found])
        return
    rows = [[x.version, x.state, f"{x.created_at:%Y-%m-%d %H:%M}", x.sha256[:12], x.reason] for x in found]
    print_table(["version", "state", "made", "sha256", "why"], rows, none="no adapter yet: the base model serves")


@cli.command()
def lessons(context: typer.Context, as_json: AsJson = False) -> None:
    """The lessons, newest first, and where each is on its way."""
    found = house_of(context).records.lessons(newest_first=True)
    if as_json:
        print_json([wire.lesson(x) for x in found])
        return
    rows = [[x.id[:8], x.question, x.wanted or "", x.state, x.reason] for x in found]
    print_table(["lesson", "question", "wanted", "state", "why"], rows, none="no lesson yet: rate an answer")


@cli.command()
def export(
    context: typer.Context,
    form: Annotated[str, typer.Option("--format", help="sft, dpo, kto or sharegpt")] = "sft",
    to: Annotated[Path | None, typer.Option("--out", help="a file that is not there yet; else it is printed")] = None,
) -> None:
    """The lessons that a night may train, as rows that other trainers take: one JSON object a line."""
    from training.export import FORMATS, exported, fit
    from training.lessons import in_force

    known = next((one for one in FORMATS if one == form), None)
    if known is None:
        raise BadInput(f"--format is {form!r}: it must be one of {', '.join(FORMATS)}")
    lines = [f"{line}\n" for line in exported(fit(in_force(house_of(context).records)), known)]
    if to is None:
        sys.stdout.writelines(lines)
        return
    try:
        with to.open("x", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise BadInput(f"{to} can't be written: {error.strerror}") from error
    out.print(f"rows: {len(lines)}, in {escape(str(to))}")


@cli.command()
def promote(context: typer.Context, version: str, as_json: AsJson = False) -> None:
    """Let a version serve (vN, or base). Servers that run follow with their next answer."""
    from assistant import versions

    house = house_of(context)
    versions.promote(house.ledger, house.settings.home, version, model=house.settings.model, admit=house.admit)
    _print_serving(version, as_json=as_json)


@cli.command()
def rollback(context: typer.Context, as_json: AsJson = False) -> None:
    """Let the version before this one serve."""
    from assistant import versions

    house = house_of(context)
    version = versions.roll_back(house.ledger, house.settings.home, model=house.settings.model, admit=house.admit)
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

    ledger = house_of(context).ledger
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


@cli.command()
def canaries(
    context: typer.Context,
    version: Annotated[str | None, typer.Option("--adapter", help="vN, instead of the active one")] = None,
    as_json: AsJson = False,
) -> None:
    """Public sets (PIQA, BoolQ) with a version and with the base: whether learning has cost it common sense."""
    from assistant.turn import adapter_files
    from training import public_sets as sets

    house, questions = house_of(context), sets.load()
    adapter = house.ledger.adapter(version) if version else house.ledger.active_adapter()
    if adapter is None:
        raise BadInput("the base serves: there is nothing to compare it with; name a version with --adapter")
    files, engine = adapter_files(house.settings.home, adapter), house.local
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
