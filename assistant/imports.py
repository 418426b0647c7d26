"""Past dialogues of elsewhere, into memory, lessons, or both: the format is found by itself.

OpenAI's and ShareGPT's JSON lines, and the exports of ChatGPT, Claude and Open WebUI. An imported answer is signed by
this assistant when it is stored: whoever imports it says that it may be taught. The same file again adds nothing, and
a later export of a dialogue that has gone on adds what was said since.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from assistant.feedback import lesson_from
from memory.documents import content_of
from memory.errors import BadInput
from memory.ledger import Ledger
from memory.records import BASE, Exchange, Message, Rating, sign
from memory.scrubbing import scrub

Into = Literal["memory", "lessons", "both"]
MOST_BYTES = 500_000_000
TITLE_CHARS = 200
IMPORTED = "imported"
ROLES: dict[str, Literal["user", "assistant"]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}


@dataclass(frozen=True)
class Line:
    """One message of a past dialogue."""

    role: Literal["user", "assistant"]
    content: str
    at: datetime | None = None


@dataclass(frozen=True)
class Dialogue:
    """A past dialogue; `title` is empty where it had none."""

    lines: Sequence[Line]
    title: str = ""


@dataclass(frozen=True)
class Imported:
    """What an import found and wrote. `known` exchanges were there already; what was not made of them yet, is made."""

    format: str
    dialogues: int
    exchanges: int
    lessons: int
    known: int


def bring(
    ledger: Ledger,
    path: Path,
    *,
    into: Into,
    key: bytes,
    clock: Callable[[], datetime],
    user: str = "local",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Imported:
    """Store the dialogues of a file. Raises: BadInput, NotRemembered."""
    name, dialogues = read(path)
    stored = lessons = known = 0
    remember, train = into != "lessons", into != "memory"
    for done, dialogue in enumerate(dialogues, 1):
        said = dict(_exchanges(dialogue.lines, user=user, key=key, at=clock()))
        chain, held = _placed(ledger, said, _prefixes(dialogue.lines, user))
        for exchange in chain:
            if exchange.id not in held:
                # With what it is for, in one transaction: an import may be killed, and a night may run meanwhile.
                ledger.add_exchange(exchange, remember=remember, train=train)
            # One that somebody has taken back is not taught anew.
            if into != "memory" and (exchange.id not in held or ledger.lesson_of(exchange.id) is None):
                rating = Rating(f"{exchange.id}-liked", exchange.id, exchange.created_at, 1, user=user)
                lesson = lesson_from(exchange, rating, f"{exchange.id}-lesson")
                if lesson is not None:
                    ledger.rate(rating, lesson)
                    lessons += 1
        if chain and dialogue.title:
            ledger.suggest_title(chain[-1].conversation_id, dialogue.title)
        stored, known = stored + len(chain) - len(held), known + len(held)
        for conversation in dict.fromkeys(held.values()):
            remembered, trained = ledger.use(conversation)
            ledger.set_use(conversation, remember=remembered or remember, train=trained or train)
        progress(done, len(dialogues))
    return Imported(name, len(dialogues), stored, lessons, known)


def read(path: Path) -> tuple[str, list[Dialogue]]:
    """(format, dialogues) of a file. Raises: BadInput."""
    rows, dialogues = _rows(path), list[Dialogue]()
    # What most rows are: one that is none of it is named.
    fitting = [sum(isinstance(row, dict) and fits(row) for _, row in rows) for _, fits, _ in FORMATS]
    name, fits, lines = FORMATS[fitting.index(max(fitting))]
    if not max(fitting):
        known = ", ".join(name for name, *_ in FORMATS)
        raise BadInput(f"{path.name} is in no format that is known: {known}")
    for number, (where, row) in enumerate(rows, 1):
        told = f"{path.name} looks like {name}, and its dialogue {number:,}"
        if not (isinstance(row, dict) and fits(row)):
            raise BadInput(f"{told} is none ({where}): {json.dumps(row)[:80]}")
        try:
            dialogues.append(Dialogue(list(lines(row)), _title(row)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{told} can't be read ({where}): {error!r}") from error
    return name, dialogues


def _rows(path: Path) -> list[tuple[str, Any]]:
    """A JSON list's items, or the values of JSON lines, each with where it stands."""
    try:
        text = content_of(path, most=MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} is no UTF-8 text: byte {error.start:,} is wrong") from error
    try:
        whole = json.loads(text)
        items = whole if isinstance(whole, list) else [whole]
        return [(f"item {number:,} of the file", item) for number, item in enumerate(items, 1)]
    except (ValueError, RecursionError):
        pass
    rows = []
    # Not splitlines(): JSON texts may hold line separators that are none of the file's.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((f"line {number:,}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path.name}, line {number}: it is no JSON ({error})") from error
    return rows


# ---------------------------------------------------------------------- formats


def _title(row: Mapping[str, Any]) -> str:
    found = row.get("title") or row.get("name")  # Claude's
    return " ".join(scrub(found).split())[:TITLE_CHARS] if isinstance(found, str) else ""


def _openai(row: Mapping[str, Any]) -> Iterator[Line]:
    for message in row["messages"]:
        # Whoever calls a tool need not say anything.
        content = message.get("content") if message.get("tool_calls") else message["content"]
        yield from _line(message["role"], content, message.get("timestamp"))


def _sharegpt(row: Mapping[str, Any]) -> Iterator[Line]:
    for message in row["conversations"]:
        yield from _line(message["from"], message["value"], message.get("timestamp"))


def _chatgpt(row: Mapping[str, Any]) -> Iterator[Line]:
    """The branch that was seen last: from its end back to the root."""
    nodes, at, branch = row["mapping"], row.get("current_node"), list[Mapping[str, Any]]()
    if at is None:
        at = next((name for name, node in reversed(list(nodes.items())) if not node.get("children")), None)
    while at is not None and len(branch) < len(nodes):  # a parent that is its own child would never end
        branch.append(nodes[at])
        at = nodes[at].get("parent")
    for node in reversed(branch):
        message = node.get("message")
        if message:
            parts = (message.get("content") or {}).get("parts") or []
            text = "".join(part for part in parts if isinstance(part, str))
            yield from _line(message["author"]["role"], text, message.get("create_time"))


def _claude(row: Mapping[str, Any]) -> Iterator[Line]:
    for message in row["chat_messages"]:
        yield from _line(message["sender"], message.get("text") or message.get("content"), message.get("created_at"))


def _open_webui(row: Mapping[str, Any]) -> Iterator[Line]:
    chat = row["chat"]
    messages = chat.get("messages")
    if not messages:
        held, at, messages = chat["history"]["messages"], chat["history"].get("currentId"), []
        while at is not None and len(messages) < len(held):
            messages.insert(0, held[at])
            at = held[at].get("parentId")
    for message in messages:
        yield from _line(message["role"], message["content"], message.get("timestamp"))


FORMATS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Iterator[Line]]], ...] = (
    ("OpenAI", lambda row: isinstance(row.get("messages"), list), _openai),
    ("ShareGPT", lambda row: isinstance(row.get("conversations"), list), _sharegpt),
    ("ChatGPT", lambda row: isinstance(row.get("mapping"), dict), _chatgpt),
    ("Claude", lambda row: isinstance(row.get("chat_messages"), list), _claude),
    ("Open WebUI", lambda row: isinstance(row.get("chat"), dict), _open_webui),
)
"""Name, how a row of it is known, and how its lines are read."""


def _line(role: str, content: Any, at: Any) -> Iterator[Line]:
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    known = ROLES.get(role)
    if known and isinstance(content, str) and content.strip():
        yield Line(known, scrub(content).strip(), _time(at))


def _time(at: Any) -> datetime | None:
    if isinstance(at, int | float) and not isinstance(at, bool):
        # Milliseconds, where seconds would be in another age.
        try:
            return datetime.fromtimestamp(at / 1000 if at > 1e11 else at, UTC)
        except (OverflowError, OSError, ValueError):
            return None
    if isinstance(at, str) and at:
        found = datetime.fromisoformat(at)
        try:
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except OverflowError:
            return None
    return None


# ---------------------------------------------------------------------- exchanges


def _placed(
    ledger: Ledger, said: Mapping[int, Exchange], prefixes: Sequence[str]
) -> tuple[list[Exchange], dict[str, str]]:
    """The exchanges of a dialogue as the ledger has them, or is to have them; and the conversations of those that it
    has.

    What follows the last that it has goes on in that one's conversation. Where that has gone on with other words, it is
    another dialogue that begins alike: a conversation of its own, which shares the beginning.
    """
    if not said:
        return [], {}
    # Up to schema 0005 all of a dialogue bore the name of the whole, as far as it then went.
    opens = next(iter(said))
    whole = {f"{prefix}-{opens}": prefix for prefix in prefixes}
    held = ledger.conversations_of([*(one.id for one in said.values()), *whole])
    before = next((name for one, name in reversed(whole.items()) if one in held), None)
    named = {number: f"{before}-{number}" for number in said}
    held |= ledger.conversations_of(list(named.values())) if before else {}
    chain = [replace(one, id=named[number] if named[number] in held else one.id) for number, one in said.items()]
    held = {one.id: held[one.id] for one in chain if one.id in held}
    last = max((place for place, one in enumerate(chain) if one.id in held), default=-1)
    here = beyond = held[chain[last].id] if held else chain[0].conversation_id
    if held and last + 1 < len(chain) and any(parent == chain[last].id for _, parent in ledger.forks(here)):
        beyond = chain[last + 1].conversation_id
    placed = list[Exchange]()
    for place, one in enumerate(chain):
        conversation = held.get(one.id, here if place < last else beyond)
        follows = placed[-1] if placed and placed[-1].conversation_id == conversation else None
        placed.append(replace(one, conversation_id=conversation, parent_id=follows.id if follows else None))
    return placed, held


def _prefixes(lines: Sequence[Line], user: str) -> list[str]:
    """A name for what was said up to each line: the same in a dialogue that went on, whatever the format."""
    digest, names = hashlib.sha256(f"{user}\n".encode()), list[str]()
    for line in lines:
        digest.update(json.dumps([line.role, line.content]).encode())
        names.append(f"imported-{digest.hexdigest()[:32]}")
    return names


def _exchanges(lines: Sequence[Line], *, user: str, key: bytes, at: datetime) -> Iterator[tuple[int, Exchange]]:
    """A question and the answer after it, with the dialogue before, and which turn that is. Their ids are made of what
    was said up to the answer, their conversations as if each opened one (see `_placed`).

    Of several answers in a row, as where a tool was asked, the last is the answer; several messages are one question.
    What bears a time to come was said now: or it would be the newest for years.
    """
    history, last = list[Message](), at
    turns = list[tuple[Line, str]]()
    for _, named in itertools.groupby(zip(lines, _prefixes(lines, user), strict=True), key=lambda pair: pair[0].role):
        told, names = zip(*named, strict=True)
        turns.append((_turn(told), names[-1]))
    for number, ((question, _), (answer, name)) in enumerate(itertools.pairwise(turns)):
        if question.role != "user" or answer.role != "assistant":
            continue
        last = min(question.at or answer.at or last, at)
        prompt: list[Message] = [*history, {"role": "user", "content": question.content}]
        yield (
            number,
            Exchange(
                id=f"{name}-{number}",
                conversation_id=name,
                parent_id=None,
                user=user,
                created_at=last,
                question=question.content,
                answer=answer.content,
                history=list(history),
                prompt=prompt,
                model_id=IMPORTED,
                adapter=BASE,
                adapter_sha256=None,
                recollections=(),
                sampling={},
                timings={},
                finish_reason="stop",
                signature=sign(key, prompt, answer.content),
            ),
        )
        history += [prompt[-1], {"role": "assistant", "content": answer.content}]


def _turn(said: Sequence[Line]) -> Line:
    """What one side said until the other spoke."""
    if said[0].role == "assistant":
        return said[-1]
    return replace(said[0], content="\n\n".join(line.content for line in said))
