"""What is only known as it happens: how long recall, first words and tokens take, what is under way, what fails.

Of this process alone, in a registry of its own: `/metrics` tells it beside what the ledger knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Of recall, of a first word, of a whole answer."""

TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)
"""Of one token after the first."""


STATES = ("recalling", "queued", "reading", "answering")
"""Of a turn under way, in this order: until its prompt is made, its place free, its first word said, its last."""


class Meter:
    """Counts the turns of one process."""

    def __init__(self) -> None:
        self.registry = made = CollectorRegistry()
        self._under_way = Gauge("nightschool_turns_under_way", "Turns by what they are at", ["state"], registry=made)
        for state in STATES:
            self._under_way.labels(state)
        self._recall = Histogram("nightschool_recall_seconds", "Recall of a turn", registry=made, buckets=SECONDS)
        self._first = Histogram(
            "nightschool_time_to_first_token_seconds",
            "From the question to the first word, waiting included",
            registry=made,
            buckets=SECONDS,
        )
        self._each = Histogram(
            "nightschool_time_per_output_token_seconds",
            "Of an answer's tokens after the first, their mean",
            registry=made,
            buckets=TOKEN_SECONDS,
        )
        self._whole = Histogram("nightschool_turn_seconds", "A whole turn", registry=made, buckets=SECONDS)
        self._tokens = Counter("nightschool_tokens", "Tokens read and said", ["kind"], registry=made)
        for kind in ("prompt", "answer"):
            self._tokens.labels(kind)
        self._answers = Counter("nightschool_answers", "Answers by how they ended", ["finish"], registry=made)
        self._errors = Counter("nightschool_errors", "Turns that failed, by what was raised", ["kind"], registry=made)
        self._refused = Counter(
            "nightschool_chats_refused", "Chats over HTTP that were one too many (429)", registry=made
        )
        self._places = Gauge("nightschool_chats_max", "Chats over HTTP that there may be at once", registry=made)

    @contextmanager
    def turn(self) -> Iterator[Measured]:
        """One turn, from its question to its last event, however it ends."""
        measured = Measured(self)
        self._under_way.labels(measured.state).inc()
        try:
            yield measured
        except GeneratorExit:
            raise
        except Exception as error:
            # Whatever it is: it is counted, and goes on.
            self.failed(error)
            raise
        finally:
            self._under_way.labels(measured.state).dec()
            self._whole.observe(perf_counter() - measured.began)

    def failed(self, error: Exception) -> None:
        self._errors.labels(type(error).__name__).inc()

    def refused(self) -> None:
        self._refused.inc()

    def room(self, places: int) -> None:
        """How many chats over HTTP there may be at once."""
        self._places.set(places)


class Measured:
    """One turn as it goes. Times are `perf_counter`'s, in seconds."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.began = perf_counter()
        self.first_at: float | None = None
        self.state = STATES[0]

    def recalled(self, seconds: float) -> None:
        """The prompt is made."""
        self._meter._recall.observe(seconds)
        self._is("queued")

    def begun(self) -> None:
        """It has its place: the engine reads the prompt."""
        self._is("reading")

    def said(self, asked_at: float) -> None:
        """A word came."""
        if self.first_at is None:
            self.first_at = perf_counter()
            self._meter._first.observe(self.first_at - asked_at)
            self._is("answering")

    def _is(self, state: str) -> None:
        self._meter._under_way.labels(self.state).dec()
        self.state = state
        self._meter._under_way.labels(state).inc()

    def answered(self, finish: str, prompt_tokens: int, answer_tokens: int, broke: Exception | None = None) -> None:
        """The last word has come."""
        self._meter._answers.labels("broke" if broke else finish).inc()
        if broke:
            self._meter.failed(broke)
        self._meter._tokens.labels("prompt").inc(prompt_tokens)
        self._meter._tokens.labels("answer").inc(answer_tokens)
        if self.first_at is not None and answer_tokens > 1:
            self._meter._each.observe((perf_counter() - self.first_at) / (answer_tokens - 1))
