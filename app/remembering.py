"""Commands about what is remembered: search it, list it, add to it, forget it, and start from past dialogues."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from app.house import AsJson, Nightschool, OfUser, house_of, new_id, now
from assistant import wire
from assistant.terminal import (
    err,
    out,
    print_json,
    print_table,
    print_warning,
)
from assistant.texts import counted
from memory.errors import BadInput, NightschoolError
from memory.records import Forgotten, Unfinished

cli = typer.Typer()
memory_cli = typer.Typer(no_args_is_help=True, help="What is remembered: search, list, add to, forget, rebuild.")
cli.add_typer(memory_cli, name="memory")


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
    house = house_of(context)
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

    house = house_of(context)
    if k < 1:
        raise BadInput(f"--k is {k}: it must be 1 at least")
    found = house.memory.search(clean(query, limit=house.settings.message_chars, what="query"), k=k)
    house.memory.save()
    if as_json:
        print_json({"results": [wire.found(r) for r in found]})
        return
    rows = [[_score(r.dense, 2), _score(r.lexical, 1), r.question, r.answer, r.reason] for r in found]
    print_table(["near", "words", "question", "answer", "why"], rows, none="nothing like that is remembered")


def _score(found: float | None, digits: int) -> str:
    """Of one ranking; nothing where that did not find it."""
    return "" if found is None else f"{found:.{digits}f}"


@memory_cli.command("list")
def memory_list(
    context: typer.Context, most: Annotated[int, typer.Option("--limit", min=1)] = 20, as_json: AsJson = False
) -> None:
    """The newest exchanges; with --json also the conversations that they are of."""
    ledger = house_of(context).records
    last = ledger.last_seq()
    found = [
        exchange
        for _, (exchange, _) in sorted(ledger.rated_exchanges(range(max(1, last - most + 1), last + 1)).items())
    ]
    if as_json:
        print_json(
            [
                {
                    "id": e.id,
                    "conversation_id": e.conversation_id,
                    "created_at": e.created_at.isoformat(),
                    "question": e.question,
                    "answer": e.answer,
                }
                for e in found
            ]
        )
        return
    rows = [[e.id, f"{e.created_at:%Y-%m-%d %H:%M}", e.question, e.answer] for e in found]
    head = ["exchange", "when", "question", "answer"]
    print_table(head, rows, none="nothing is remembered yet")


@memory_cli.command("add")
def memory_add(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="txt, md, pdf, or csv and jsonl of question and answer")],
    user: OfUser = None,
    as_json: AsJson = False,
) -> None:
    """Remember documents: what is asked about them is answered with their words, and the source is named."""
    from memory.documents import Library

    house = house_of(context)
    library, whose = Library(house.ledger, house.memory, now, new_id), _whose(house, user)
    rows: list[dict[str, Any]] = []
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        for file in bars.track(files, description="reading"):
            try:
                document, how = library.add(file, user=whose)
            except BadInput as error:
                if len(files) == 1:
                    raise
                # One of many that can't be read must not keep out those that follow.
                print_warning(str(error))
                continue
            rows.append({"id": document.id, "name": document.name, "passages": document.passages, "how": how})
        task = bars.add_task("taking in", total=None)
        house.memory.refresh(lambda done, total: bars.update(task, completed=done, total=total))
    house.memory.save()
    if as_json:
        print_json(rows)
    else:
        shown = [[x["id"][:8], x["name"], str(x["passages"]), x["how"]] for x in rows]
        print_table(["document", "name", "passages", ""], shown, none="no document was added")
    if refused := len(files) - len(rows):
        raise BadInput(f"{refused} of {len(files)} files could not be added")


@memory_cli.command("documents")
def memory_documents(context: typer.Context, as_json: AsJson = False) -> None:
    """The documents that are remembered; `memory forget --document ID` removes one."""
    found = house_of(context).records.documents()
    if as_json:
        print_json([asdict(document) for document in found])
        return
    rows = [[x.id, x.name, str(x.passages), f"{x.created_at:%Y-%m-%d %H:%M}"] for x in found]
    print_table(["document", "name", "passages", "added"], rows, none="no document yet: nightschool memory add FILE")


@memory_cli.command("forget")
def memory_forget(
    context: typer.Context,
    exchange: Annotated[str | None, typer.Argument(help="an exchange's id")] = None,
    conversation: Annotated[str | None, typer.Option(help="all of a conversation: its id")] = None,
    user: Annotated[str | None, typer.Option(help="all of a user, by name or id")] = None,
    document: Annotated[str | None, typer.Option(help="a document's id")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="all of everybody")] = False,
    answers: Annotated[
        bool, typer.Option("--answers", help="also what was answered with it or follows it, and may say it once more")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Forget for good: from the ledger, the index and the nights' files now, from the weights with the next night."""
    from assistant.forgetting import forget, still_in_the_weights
    from memory.recall import folders, forget_in

    if sum(x is not None for x in (exchange, conversation, user, document)) + everything != 1:
        raise BadInput("name one: an exchange's id, --conversation, --user, --document or --everything")
    house = house_of(context)
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
        answers=answers,
    )
    left = still_in_the_weights(house.ledger)
    unfinished = house.ledger.unfinished()
    told = {"exchanges": len(gone.exchanges), "lessons": len(gone.lessons), "passages": len(gone.passages)}
    if as_json:
        more = {"lessons_still_in_the_weights": left, "answered_with_it": list(gone.answered_with)}
        print_json(told | more | {"index_unfinished": bool(unfinished.places), "log_unfinished": unfinished.log})
        return
    for line in _still_to_say(gone, unfinished):
        print_warning(line)
    counts = ", ".join(counted(count, name.removesuffix("s")) for name, count in told.items())
    out.print(f"forgotten: {counts}", highlight=False)
    if left:
        out.print(f"{left} of its lessons are still in the weights that serve: the next night trains without them")


def _still_to_say(gone: Forgotten, unfinished: Unfinished) -> list[str]:
    """What who had something forgotten should know beyond that it is."""
    lines = []
    if gone.answered_with:
        ids = ", ".join(gone.answered_with[:5]) + (", …" if len(gone.answered_with) > 5 else "")
        lines.append(f"{len(gone.answered_with)} exchanges that stay were answered with it and may repeat it: {ids}")
        lines.append("forget them too, one by one; --answers would have taken them along")
    if unfinished.places:
        lines.append("another process holds the index: its vectors are removed from it with the next question")
    if unfinished.log:
        lines.append("another process reads the ledger: its log keeps older pages until the next question")
    return lines


@memory_cli.command("rebuild")
def memory_rebuild(context: typer.Context) -> None:
    """Make the search index anew from the ledger."""
    house = house_of(context)
    with Progress(console=err, transient=True) as bars:
        task = bars.add_task("embedding", total=None)
        house.memory.rebuild(lambda done, total: bars.update(task, completed=done, total=total))
    house.memory.save()
    if house.memory.not_saved:
        raise NightschoolError(f"the index can't be saved: {house.memory.not_saved}")
    out.print(f"in the index: {counted(house.ledger.count_exchanges(), 'exchange')}")
