"""Many questions at once: recall, prompt and exchange are a turn's, the answers are computed in batches.

For whoever asks much and waits for all of it: the simulated user of a bench. Always greedy, and nothing is streamed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

from assistant.engine import AdapterFiles, Engine
from assistant.turn import Answered, Ask, Assistant, Prepared, Said, exchange_of, prepare
from assistant.turn import store as store_exchange
from memory.errors import BadInput

CUT_WITHIN = 4
"""Tokens under the most at which an answer counts as cut off: decoded, stripped and counted again it can be shorter. An
answer that ended just there by itself counts as cut off too, and is then not learned as a whole one."""


def ask_many(
    assistant: Assistant,
    asks: Sequence[Ask],
    *,
    store: bool,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Answered]:
    """Answer `asks`, and return what the last event of each one's turn would be, in their order.

    All of them recall before the first is answered, so that none finds another in the memory. Timings are those of the
    whole batch.

    Args:
        store: write the exchanges to the ledger, in the order of `asks` once all are answered, so that they can be
            rated. False leaves no trace, in the ledger or in recall.
        progress: called with (answers so far, questions).

    Raises:
        BadInput: an empty or too long message, or a sampling that is not greedy.
        NotFound: no such parent exchange or adapter.
        ModelUnavailable: the adapter's files are damaged.
    """
    ready = [_greedy(prepare(assistant, ask)) for ask in asks]
    said: dict[int, Said] = {}
    for (adapter, most), places in _alike(ready).items():
        messages = [ready[place].prompt.messages for place in places]
        for i, answer in assistant.engine.complete(messages, max_tokens=most, adapter=adapter):
            said[places[i]] = _said(assistant.engine, ready[places[i]], answer)
            progress(len(said), len(ready))
    answered = []
    for place, question in enumerate(ready):
        exchange = exchange_of(assistant, question, said[place])
        warning = store_exchange(assistant, exchange) if store else None
        asked, answers = said[place].prompt_tokens, said[place].answer_tokens
        answered.append(Answered(exchange, asked, answers, warning, stored=store and warning is None))
    return answered


def text_tokens(engine: Engine, text: str) -> int:
    """Tokens of a bare text, as far as they can be told from those of whole prompts: one more or less."""
    if not text:
        return 0
    with_text, with_one = (engine.count_tokens([{"role": "user", "content": content}]) for content in (text, "x"))
    return with_text - with_one + 1


def _greedy(ready: Prepared) -> Prepared:
    """Raises: BadInput where the asker wanted dice."""
    if ready.ask.sampling is not None and not ready.ask.sampling.greedy:
        raise BadInput("many questions at once are answered greedily: leave the temperature at 0")
    return replace(ready, sampling=replace(ready.sampling, temperature=0.0))


def _alike(ready: Sequence[Prepared]) -> dict[tuple[AdapterFiles | None, int], list[int]]:
    """Places of the questions that can share a batch: the same version answers, at the same length at most."""
    groups: dict[tuple[AdapterFiles | None, int], list[int]] = defaultdict(list)
    for place, question in enumerate(ready):
        groups[question.adapter, question.sampling.max_tokens].append(place)
    return groups


def _said(engine: Engine, ready: Prepared, answer: str) -> Said:
    tokens, most = text_tokens(engine, answer), ready.sampling.max_tokens
    return Said(
        words=[answer],
        first_word_at=perf_counter(),
        finish="length" if tokens > most - CUT_WITHIN else "stop",
        prompt_tokens=ready.prompt.tokens,
        answer_tokens=tokens,
    )
