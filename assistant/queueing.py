"""Turns for clients that may hang up: each in a thread of this module's own, a bounded number of them at once.

The event loop only waits for their events, so that whoever asks for something else is answered meanwhile. A client that
hangs up sets its turn's `stop`; the turn ends with its next word and stores what was said, as every stopped one. What a
turn is, and how its events are shown, is not known here.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from time import monotonic

from starlette.requests import Request

from assistant.meter import Meter
from assistant.turn import Ask, Assistant, TurnEvent, turn
from memory.errors import Busy


class Turns:
    """The turns that are under way: answered, or waiting for the model.

    Where there are accounts, the last quarter of the places is for users who have no other: one of them can't shut out
    the rest.

    Args:
        most: how many of them there may be; who comes then is refused, and told when to come back.
        meter: counts those who are.
    """

    def __init__(self, *, most: int, meter: Meter) -> None:
        self._most, self._meter = most, meter
        meter.room(most)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="turn")
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._last_took = 1.0

    def begin(self, assistant: Assistant, ask: Ask) -> AsyncIterator[TurnEvent]:
        """The events of `turn`, which begins now and goes on whether they are read or not; `ask.stop` ends it.

        Raises: Busy here; what `turn` raises, where its event would come.
        """
        several = assistant.ledger.has_accounts()
        with self._lock:
            under_way, own = self._under_way.total(), self._under_way[ask.user]
            kept_free = self._most // 4 if several and own else 0
            if under_way >= self._most - kept_free:
                self._meter.refused()
                raise Busy(under_way, own=own if several else 0, seconds=max(1, math.ceil(self._last_took)))
            self._under_way[ask.user] += 1
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[TurnEvent | Exception | None] = asyncio.Queue()

        def hand(event: TurnEvent | Exception | None) -> None:
            with suppress(RuntimeError):  # The loop is closed: nobody is there to read it any more.
                loop.call_soon_threadsafe(events.put_nowait, event)

        self._threads.submit(self._run, assistant, ask, hand)
        return _read(events)

    def _run(self, assistant: Assistant, ask: Ask, hand: Callable[[TurnEvent | Exception | None], None]) -> None:
        began = monotonic()
        last: Exception | None = None
        try:
            for event in turn(assistant, ask):
                hand(event)
        except Exception as error:
            # Whatever it is: raised where the client waits for it.
            last = error
        finally:
            # Before the last word is handed over: who asks once it is there finds the place free.
            with self._lock:
                self._under_way[ask.user] -= 1
                if not self._under_way[ask.user]:
                    del self._under_way[ask.user]
                self._last_took = monotonic() - began
            hand(last)


@asynccontextmanager
async def stopped_when_gone(request: Request, stop: threading.Event) -> AsyncIterator[None]:
    """Set `stop` as soon as who sent `request` hangs up, or when the block is left by an error or a cancellation."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stop.set()

    watching = asyncio.create_task(watch())
    try:
        yield
    except BaseException:
        stop.set()
        raise
    finally:
        watching.cancel()


async def _read(events: asyncio.Queue[TurnEvent | Exception | None]) -> AsyncIterator[TurnEvent]:
    while (event := await events.get()) is not None:
        if isinstance(event, Exception):
            raise event
        yield event
