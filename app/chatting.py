"""Commands that answer: the server, and one turn in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.house import AsJson, Nightschool, build, house_of, now
from assistant.terminal import (
    err,
    out,
    print_json,
    print_warning,
)
from memory.errors import NotRemembered

cli = typer.Typer()


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
    house.engine = house.shared()
    _ = house.key, house.embedder
    if house.ledger.read_only:
        print_warning(str(NotRemembered(house.ledger.read_only)))
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

    house = house_of(context)
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
                for source in dict.fromkeys(r["source"] for r in event.exchange.recollections if r.get("source")):
                    err.print(f"from {source}", style="dim", markup=False, highlight=False)
            if event.warning:
                print_warning(event.warning)
    house.memory.save()
