"""Commands about the machine: bring the models, and look at everything."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.markup import escape

from app.house import AsJson, house_of
from assistant.terminal import (
    err,
    print_json,
    print_table,
)

cli = typer.Typer()


@cli.command()
def fetch(context: typer.Context) -> None:
    """Bring the embedded models here and check them; what is there already stays."""
    from assistant.models import fetch as bring

    bring(house_of(context).settings.models, say=lambda line: err.print(escape(line), highlight=False))


@cli.command()
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Hardware, model, disk, ledger, index, hashes: what is well and what is not."""
    from assistant.doctor import examine

    findings = examine(house_of(context).settings)
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        rows = [["[green]ok[/]" if f.ok else "[red]bad[/]", f.what, escape(f.told)] for f in findings]
        print_table(["", "what", "found"], rows, none="", markup=True)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)
