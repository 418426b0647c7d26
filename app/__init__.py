"""The front door: settings → `build` → one command each. `nightschool --help` lists them.

house.py        what every command is built from
chatting.py     serve, ask
learning.py     nightly, nights, adapters, lessons, export, promote, rollback, undo, canaries
people.py       users
remembering.py  import, memory
health.py       fetch, doctor
measuring.py    bench, bench-memory, bench-speed, bench-load

Nothing is decided here. Each command loads what it needs and no more, so that `nightschool lessons` starts without
torch.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app import chatting, health, learning, measuring, people, remembering
from app.house import Nightschool, build
from assistant.terminal import err
from memory.errors import NightschoolError

__all__ = ["Nightschool", "build", "cli", "main"]

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A chat assistant that remembers at once and learns overnight.",
)


@cli.callback()
def _options(
    context: typer.Context,
    home: Annotated[str | None, typer.Option(help="data directory, instead of $NIGHTSCHOOL_HOME")] = None,
) -> None:
    context.obj = home


for group in (chatting, learning, remembering, health, measuring):
    cli.add_typer(group.cli)
cli.add_typer(people.cli, name="users")


def main() -> None:
    """The command `nightschool`: one clear line and a non-zero exit for what can be told, a traceback for a bug."""
    try:
        cli()
    except NightschoolError as error:
        err.print(f"nightschool: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
