"""Commands that measure: simulated users, recall, speed, and a server under load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.house import AsJson, Nightschool, build, house_of
from assistant.terminal import (
    err,
    night_progress,
    print_json,
    print_markdown,
    print_table,
)
from memory.errors import BadInput
from memory.records import Night

cli = typer.Typer()

OF_STREAMS = {
    "arms": "arms",
    "seeds": "seeds",
    "nights": "nights",
    "days": "days",
    "items": "items",
    "out_dir": "out",
    "public_sets": "public-sets",
}
"""What `bench` is told of streams alone: parameter → option."""


@cli.command()
def bench(
    context: typer.Context,
    streams: Annotated[list[Path] | None, typer.Argument(help="files of streams, one run over all of them")] = None,
    arms: Annotated[
        str, typer.Option(help="of base, memory, nll, joint, sequential, ceiling, poison")
    ] = "base,memory,nll,joint",
    seeds: Annotated[str, typer.Option(help="with commas")] = "0",
    nights: Annotated[int | None, typer.Option(min=1, help="stop after so many days")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="of each stream the first so many days alone")] = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="of each day the first so many alone, taught ones and probes")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", help="where results are, and go on from")] = Path("bench"),
    public_sets: Annotated[
        bool | None, typer.Option(help="PIQA and BoolQ at the end of each run; by default where they are installed")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A simulated user asks, rates, and lets nights run; without a stream, five facts once, and the time of a start."""
    if not streams:
        given = [option for name, option in OF_STREAMS.items() if _is_given(context, name)]
        if given:
            raise BadInput(f"--{given[0]} is said of streams, and none is named: name a file of one")
        _bench_loop(context, as_json=as_json)
        return
    from training import public_sets as sets
    from training.bench import Product, PublicSets, compare
    from training.settings import NightSettings

    wanted = sets.installed() if public_sets is None else public_sets
    questions = sets.load() if wanted else {}
    house = house_of(context)
    settings, engine = house.settings, house.local
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
            days_each=days,
            items_each=items,
            public=public,
            progress=lambda share, told: tell("bench", share, told),
        )
    if as_json:
        print_json(json.loads((out_dir / "results.json").read_text("utf-8"))["summary"])
    else:
        print_markdown((out_dir / "report.md").read_text("utf-8"))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _bench_loop(context: typer.Context, *, as_json: bool) -> None:
    from training.bench import loop, seconds_to_first_answer
    from training.streams import shipped

    models = house_of(context).settings.models
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
    house = house_of(context)
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
        made.engine, made.embedder = house.local, house.embedder
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


@cli.command("bench-load")
def bench_load(
    url: Annotated[str, typer.Argument(help="a running server, like http://127.0.0.1:7860")],
    users: Annotated[int, typer.Option(min=1, help="at once")] = 32,
    minutes: Annotated[float, typer.Option(min=0.01)] = 5.0,
    seed: Annotated[int, typer.Option(help="of what each of them does")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="of an answer")] = 48,
    key: Annotated[str, typer.Option(help="an admin's API key, where there are accounts")] = "",
    as_json: AsJson = False,
) -> None:
    """Users who ask, stop, hang up and rate, all at once: does the server leak turns, threads, files or memory?"""
    from training.bench.load import load as use

    with night_progress(quiet=as_json) as tell:
        found = use(
            url,
            users=users,
            seconds=minutes * 60,
            seed=seed,
            key=key,
            max_tokens=max_tokens,
            progress=lambda share, words: tell("load", share, words),
        )
    told = found.as_json()
    if as_json:
        print_json(told)
    else:
        print_table(["figure", "value"], [[name, str(value)] for name, value in told.items()], none="")
    if found.failures:
        raise typer.Exit(1)


@cli.command("bench-speed")
def bench_speed(
    context: typer.Context,
    users: Annotated[str, typer.Option(help="numbers of users at once, with commas")] = "8,32",
    tokens: Annotated[int, typer.Option(min=8, help="of one conversation's answer")] = 128,
    user_tokens: Annotated[int, typer.Option(min=8, help="of each user's answer")] = 64,
    parts: Annotated[str, typer.Option(help="what to measure, with commas")] = "one_conversation,users,night,switch",
    as_json: AsJson = False,
) -> None:
    """First token, tokens a second alone and with many users, a night's, and a switch, beside peers installed here.

    Peers: plain transformers; llama.cpp and vLLM in the environments that PEER_LLAMA_CPP (with PEER_GGUF) and PEER_VLLM
    name; TRL's trainer, where it is installed.
    """
    from assistant.models import resolve
    from training.bench import speed

    wanted, known = parts.split(","), ("one_conversation", "users", "night", "switch")
    if unknown := [part for part in wanted if part not in known]:
        raise BadInput(f"--parts has {unknown[0][:40]!r}: there are {', '.join(known)}")
    counts = users.split(",")
    if not all(count.isdecimal() and int(count) > 0 for count in counts):
        raise BadInput(f"--users is {users[:40]!r}: write numbers with commas, like 8,32")
    settings = house_of(context).settings
    found = speed.measure(
        resolve(settings.model, settings.models),
        settings.models / "unpacked",
        users=[int(count) for count in counts],
        tokens=tokens,
        user_tokens=user_tokens,
        parts=wanted,
        say=lambda line: err.print(escape(line), highlight=False),
    )
    if as_json:
        print_json(found)
        return
    print_table(["what", "who", "figures"], list(speed.table(found)), none="")
