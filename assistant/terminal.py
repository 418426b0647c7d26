"""What the commands print: tables and Markdown for people, JSON for programs, a bar while a night goes on.

What people and models wrote is escaped, so that it is never markup.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from assistant import wire
from memory.records import Lesson, Night, NightStatus

out, err = Console(), Console(stderr=True)


def print_json(value: Any) -> None:
    """`value` for programs: never wrapped, never coloured."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))  # noqa: T201 - rich would wrap it


def print_warning(text: str) -> None:
    """One line beside what is printed, however long, whoever wrote what is in it."""
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, none: str, markup: bool = False) -> None:
    """A table, or the line `none` where there are no rows. With `markup` the values are rich's, and escaped already."""
    if not rows:
        out.print(none, highlight=False)
        return
    table = Table(*head, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(value if markup else escape(str(value)) for value in row))
    out.print(table)


def print_preview(kept: Sequence[Lesson], left_out: Mapping[str, Mapping[str, str]], *, as_json: bool) -> None:
    """What a night would teach now; `left_out` is lesson id → its `state` and the `reason`."""
    if as_json:
        print_json({"lessons_in": [wire.lesson(x) for x in kept], "lessons_out": left_out})
        return
    rows = [[x.id[:8], "taught", x.question, x.wanted or ""] for x in kept]
    rows += [[lesson_id[:8], "left out", decision["reason"], ""] for lesson_id, decision in left_out.items()]
    head = ["lesson", "tonight", "question or why not", "wanted"]
    print_table(head, rows, none="nothing to learn, because nothing is rated")


def print_markdown(text: str) -> None:
    """A report, as a terminal can show it."""
    from rich.markdown import Markdown

    out.print(Markdown(text))


def print_night(ended: Night) -> None:
    """The report of a night that came to its end, else its status and why."""
    file = Path(ended.report) / "report.md" if ended.report else None
    whole = (NightStatus.PROMOTED, NightStatus.REJECTED, NightStatus.NOTHING_TO_LEARN)
    if file and file.is_file() and ended.status in whole:
        print_markdown(file.read_text("utf-8"))
    else:
        out.print(escape(f"{ended.status}: {'; '.join(ended.reasons)}"), highlight=False)


@contextmanager
def night_progress(*, quiet: bool) -> Iterator[Callable[[str, float, str], None]]:
    """A bar on stderr, for as long as the context lasts. What it gives is called with stage, share done and detail."""
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
