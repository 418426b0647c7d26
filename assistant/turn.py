"""One turn: recall → prompt → generate → store. Read `turn` first; the rest of the package serves it.

The page, the HTTP routes and the command line all go through here; so does the simulated user of a bench, who asks many
questions at once (`assistant.batch`, made of the same steps). It knows nothing of how they show it, and nothing of how
a night trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Event, Timer
from time import perf_counter
from typing import Any

from assistant import prompt as prompts
from assistant.engine import AdapterFiles, Engine, FinishReason, Piece, Sampling
from assistant.meter import Measured, Meter
from assistant.places import Places
from assistant.prompt import Prompt
from assistant.settings import Settings
from assistant.stops import Stops
from assistant.until import until
from memory.errors import BadInput, ForgottenMeanwhile, ModelUnavailable, NightschoolError, NotFound, NotRemembered
from memory.ledger import Ledger
from memory.recall import Memory
from memory.records import BASE, Adapter, AdapterState, Exchange, Message, Recollection, sign
from memory.scrubbing import is_blank, scrub

MEMORY = "memory"
"""What a user chooses in the ledger: whether anything is recalled for their answers. It is, unless they say no."""


@dataclass(frozen=True)
class Assistant:
    """The collaborators of every turn. Clock and ids are passed in, so that a test decides both."""

    settings: Settings
    ledger: Ledger
    memory: Memory
    engine: Engine
    key: bytes
    """Signs what was said; see `memory.records.sign`."""
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    stops: Stops = field(default_factory=Stops)
    """Of the turns under way; whoever ends the process ends them first."""
    meter: Meter = field(default_factory=Meter)
    """What is only known as it happens: how long answers take, how many are under way, what fails."""
    places: Places = field(default_factory=Places)
    """Whose turn it is, where more ask than the engine answers at once."""


@dataclass(frozen=True)
class Ask:
    """What somebody wants to know, and how it shall be answered."""

    question: str
    conversation_id: str | None = None
    parent_id: str | None = None
    history: Sequence[Message] | None = None
    """The dialogue so far; None: what the ledger holds of the exchanges up to `parent_id`."""
    memory: bool = True
    not_recalled: frozenset[str] = frozenset()
    """Exchanges that must not come back as known: the answer that is being asked for again."""
    adapter: str | None = None
    """A version, or `base`; None: whichever is active when the turn begins."""
    sampling: Sampling | None = None
    temporary: bool = False
    """Nothing of it is kept: neither in the ledger nor in recall."""
    remember: bool = True
    """Whether recall may bring back the conversation that this opens; one that goes on keeps what was said of it."""
    train: bool = True
    """Whether nights may train on it, likewise."""
    user: str = "local"
    stop: Event = field(default_factory=Event)


@dataclass(frozen=True)
class Recalled:
    """First of a turn's events: what was found, and which version answers.

    `left_out` counts the exchanges of the dialogue, its oldest, that the prompt had no room for.
    """

    exchange_id: str
    recollections: tuple[Recollection, ...]
    adapter: str
    adapter_sha256: str | None
    left_out: int = 0


@dataclass(frozen=True)
class Waiting:
    """Other people are answered first: so many answers come before this one. Who has waited is told of the 0, too."""

    before: int


@dataclass(frozen=True)
class Words:
    """Some more of the answer."""

    text: str


@dataclass(frozen=True)
class Answered:
    """Last of a turn's events.

    `warning` says in one line what the asker should know: that the exchange was not stored, that the dialogue was too
    long to be read whole, that the answer broke off. In the last case `broke` is why; what was said by then stands.
    `stored` is whether the ledger has it.
    """

    exchange: Exchange
    prompt_tokens: int
    answer_tokens: int
    warning: str | None = None
    broke: Exception | None = None
    stored: bool = True
    forgotten: bool = False
    """Whether something that it was answered with was forgotten meanwhile: it must not be gone on with either."""


TurnEvent = Recalled | Waiting | Words | Answered


@dataclass(frozen=True)
class Prepared:
    """A question with everything that is settled before the first word of its answer."""

    ask: Ask
    exchange_id: str
    question: str
    history: Sequence[Message]
    prompt: Prompt
    adapter: AdapterFiles | None
    sampling: Sampling
    began: float
    """`perf_counter` at the start, in seconds; so are the times below."""
    recalled_at: float
    since: int = 0
    """The ledger's `last_forgetting` at the start."""


@dataclass
class Said:
    """What has been said of an answer so far, and how it ended."""

    words: list[str] = field(default_factory=list)
    first_word_at: float | None = None
    finish: FinishReason = "stopped"
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def take(self, piece: Piece) -> None:
        if piece.text:
            self.first_word_at = self.first_word_at or perf_counter()
            self.words.append(piece.text)
        self.answer_tokens = piece.answer_tokens or self.answer_tokens
        if piece.finish:
            self.finish = piece.finish
            self.prompt_tokens, self.answer_tokens = piece.prompt_tokens, piece.answer_tokens


def turn(assistant: Assistant, ask: Ask) -> Iterator[TurnEvent]:
    """Answer one question, streamed, and store the exchange with everything that made it, unless it is temporary.

    Setting `ask.stop` ends the answer early, and so does its time (`answer_seconds`); what was said by then is stored.
    So it is where the engine fails in the middle. A ledger that can't be written does not stop the answer: the last
    event carries the warning.

    Raises:
        BadInput: an empty or too long message.
        NotFound: no such parent exchange or adapter.
        ModelUnavailable: the adapter's files are damaged, or not a word came.
    """
    with assistant.meter.turn() as measured, assistant.stops.under_way(ask.stop):
        yield from _turn(assistant, ask, measured)


def _turn(assistant: Assistant, ask: Ask, measured: Measured) -> Iterator[TurnEvent]:
    ready = prepare(assistant, ask)
    measured.recalled(ready.recalled_at - ready.began)
    adapter = ready.adapter
    yield Recalled(
        ready.exchange_id,
        ready.prompt.used,
        adapter.version if adapter else BASE,
        adapter.sha256 if adapter else None,
        ready.prompt.left_out,
    )
    said, patience = Said(), assistant.settings.answer_seconds
    broke: Exception | None = None
    try:
        with _within(patience, ask.stop) as late, assistant.places.place(ask.user) as place:
            before = 0
            for before in place.wait(ask.stop, lambda: assistant.engine.capabilities.at_once):
                yield Waiting(before)
            measured.begun()
            if before and not ask.stop.is_set():
                yield Waiting(0)
            pieces = assistant.engine.generate(ready.prompt.messages, ready.sampling, adapter=adapter, stop=ask.stop)
            for piece in until(pieces, ready.sampling.stop, ask.stop):
                said.take(piece)
                if piece.text:
                    measured.said(ready.began)
                    yield Words(piece.text)
        if late.is_set():
            broke = ModelUnavailable(f"the answer was not finished within {patience:g} s (answer_seconds)")
            if not said.words:
                raise broke
    except GeneratorExit:
        # The reader has gone away. What was said by then is stored all the same, so that it can be rated.
        measured.answered(said.finish, said.prompt_tokens, said.answer_tokens)
        kept(assistant, ready, said)
        raise
    except Exception as error:
        # Whatever it is: where something was said, that stands, and the last event says what happened.
        if not said.words:
            raise
        broke = error
    measured.answered(said.finish, said.prompt_tokens, said.answer_tokens, broke)
    yield kept(assistant, ready, said, broke=broke)


def prepare(assistant: Assistant, ask: Ask) -> Prepared:
    """Recall, and build the prompt. Nothing is stored, and no word computed.

    Raises: BadInput, NotFound, as `turn`.
    """
    began, since = perf_counter(), assistant.ledger.last_forgetting()
    settings = assistant.settings
    question = clean(ask.question, limit=settings.message_chars)
    adapter = serving(assistant, ask.adapter)
    history = _history(assistant, ask)

    wanted = settings.recall_k + len(ask.not_recalled)
    version = adapter.version if adapter and settings.graduation else None
    recalls = ask.memory and assistant.ledger.choices(ask.user).get(MEMORY, True)
    found = assistant.memory.recall(question, k=wanted, user=ask.user, version=version) if recalls else []
    found = [r for r in found if r.exchange_id not in ask.not_recalled][: settings.recall_k]
    recalled_at = perf_counter()
    sampling = ask.sampling or Sampling(settings.answer_tokens, settings.temperature, settings.top_p)
    context = assistant.engine.capabilities.context
    # A quarter of what the model reads at once is the answer's at least, if it may be so long.
    room = context - min(sampling.max_tokens, context // 4) if context else settings.prompt_tokens
    built = prompts.build(
        question,
        count=assistant.engine.count_tokens,
        budget=min(settings.prompt_tokens, room),
        history=history,
        recollections=found,
        recall_share=settings.recall_share,
        system=settings.system_prompt,
    )
    if context:
        sampling = replace(sampling, max_tokens=max(1, min(sampling.max_tokens, context - built.tokens)))
    return Prepared(ask, assistant.new_id(), question, history, built, adapter, sampling, began, recalled_at, since)


def exchange_of(assistant: Assistant, ready: Prepared, said: Said) -> Exchange:
    """The exchange that a prepared question and what was said to it make, signed."""
    ended = perf_counter()
    answer = "".join(said.words).strip()
    adapter, used = ready.adapter, ready.prompt.used
    return Exchange(
        id=ready.exchange_id,
        conversation_id=ready.ask.conversation_id or assistant.new_id(),
        parent_id=ready.ask.parent_id,
        user=ready.ask.user,
        created_at=assistant.clock(),
        question=ready.question,
        answer=answer,
        history=tuple(ready.history),
        prompt=ready.prompt.messages,
        model_id=assistant.engine.model_id,
        adapter=adapter.version if adapter else BASE,
        adapter_sha256=adapter.sha256 if adapter else None,
        recollections=tuple(_used(r) for r in used),
        sampling={k: v for k, v in asdict(ready.sampling).items() if v not in (None, ())},
        timings={
            "recall_s": round(ready.recalled_at - ready.began, 4),
            "first_token_s": round((said.first_word_at or ended) - ready.began, 4),
            "total_s": round(ended - ready.began, 4),
            "prompt_tokens": said.prompt_tokens,
            "answer_tokens": said.answer_tokens,
        },
        finish_reason=said.finish,
        signature=sign(assistant.key, ready.prompt.messages, answer),
    )


def kept(
    assistant: Assistant, ready: Prepared, said: Said, *, storing: bool = True, broke: Exception | None = None
) -> Answered:
    """The turn's last event, with its exchange stored, unless it is temporary."""
    exchange, storing = exchange_of(assistant, ready, said), storing and not ready.ask.temporary
    not_stored, forgotten = None, False
    if storing:
        try:
            not_stored = store(assistant, exchange, ready)
        except ForgottenMeanwhile as error:
            not_stored, forgotten = str(error), True
    broken = f"the answer broke off: {one_line(broke)}" if broke else None
    warning = "; ".join(filter(None, [not_stored, _left_out(ready.prompt), broken]))
    return Answered(
        exchange,
        said.prompt_tokens,
        said.answer_tokens,
        warning=warning or None,
        broke=broke,
        stored=storing and not_stored is None,
        forgotten=forgotten,
    )


def store(assistant: Assistant, exchange: Exchange, ready: Prepared) -> str | None:
    """Into the ledger, and into recall. Where that can't be, one line that says why; the answer stands all the same.

    Raises: ForgottenMeanwhile: nothing is stored, nor may it be shown as a part of the dialogue.
    """
    ask = ready.ask
    try:
        assistant.ledger.add_exchange(exchange, since=ready.since, remember=ask.remember, train=ask.train)
    except (NotRemembered, NotFound) as error:
        return str(error)
    assistant.memory.remember()
    return None


@contextmanager
def _within(seconds: float, stop: Event) -> Iterator[Event]:
    """After `seconds` both `stop` and what is yielded are set, unless the block has ended."""
    late = Event()

    def give_up() -> None:
        late.set()
        stop.set()

    timer = Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _left_out(prompt: Prompt) -> str | None:
    many = prompt.left_out
    if not many:
        return None
    first = "its first message and the answer to it" if many == 1 else f"its first {many} messages and their answers"
    return f"the conversation is longer than the model reads at once: {first} were left out"


def one_line(error: Exception) -> str:
    """What is told of an error: its own line where it is one of ours, else its kind and its first line."""
    if isinstance(error, NightschoolError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def clean(text: str, *, limit: int, what: str = "message") -> str:
    """The text as it can be stored and shown: without NULs and halves of surrogate pairs, and without outer space.

    Raises: BadInput when nothing is left, or more than `limit` characters.
    """
    if len(text) > limit:
        raise BadInput(f"the {what} has {len(text):,} characters, the most is {limit:,}: shorten it")
    whole = scrub(text).strip()
    if is_blank(whole):
        raise BadInput(f"the {what} is empty")
    return whole


def serving(assistant: Assistant, version: str | None) -> AdapterFiles | None:
    """The files of `version`, by default of the one that is active now; None for the base.

    Raises: NotFound, too where it did not pass or was withdrawn; BadInput when `version` belongs to another model.
    """
    if version == BASE:
        return None
    adapter = assistant.ledger.adapter(version) if version is not None else assistant.ledger.active_adapter()
    if adapter is None:
        return None
    if version is not None and adapter.state is AdapterState.REJECTED:
        raise NotFound("adapter", version)
    if adapter.model_id != assistant.engine.model_id:
        if version is None:
            # The model was changed in the settings: what another one learned does not fit this one.
            return None
        raise BadInput(f"{version} belongs to the model {adapter.model_id}, and {assistant.engine.model_id} serves")
    return adapter_files(assistant.settings.home, adapter)


def adapter_files(home: Path, adapter: Adapter) -> AdapterFiles:
    """The files of a published version, by what the ledger knows of it."""
    return AdapterFiles(adapter.version, adapter.sha256, adapter_folder(home, adapter.version))


def adapter_folder(home: Path, version: str) -> Path:
    """Where a published version lies."""
    return home / "adapters" / version


def _used(r: Recollection) -> dict[str, Any]:
    """What the ledger keeps of a recollection beside the answer that it was given for."""
    scores = {"score": r.score, "dense": r.dense, "lexical": r.lexical}
    document = {"source": r.source, "document_id": r.document_id} if r.source else {}
    return {"exchange_id": r.exchange_id, **scores, "reason": r.reason, **document}


def _history(assistant: Assistant, ask: Ask) -> list[Message]:
    if ask.history is not None:
        if ask.parent_id is not None:
            # Forgotten since: a page that was open meanwhile must not write it back.
            assistant.ledger.exchange(ask.parent_id)
        return list(ask.history)
    messages: list[Message] = []
    for exchange in assistant.ledger.thread(ask.parent_id):
        messages.append({"role": "user", "content": exchange.question})
        messages.append({"role": "assistant", "content": exchange.answer})
    return messages
