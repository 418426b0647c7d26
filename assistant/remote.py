"""The engine in another program: any OpenAI-compatible server. With vLLM, versions are loaded while it runs.

Nights still train here, on the same weights (`model` in the settings), and publish a folder; the first answer of a
version has the server load that folder, under a name that holds its hash, and asks for that name. So what answers is
what was published, and a rollback only asks for another name. It does not know how a server is started.
"""

from __future__ import annotations

import asyncio
import queue
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from assistant import models
from assistant.engine import AdapterFiles, Capabilities, FinishReason, Piece, Sampling
from assistant.fits import check_fit
from assistant.local import check_adapter
from assistant.models import ModelFiles, context_of
from assistant.rendering import as_text, as_text_of_any, read_tokenizer, render
from assistant.settings import Settings
from assistant.upstream import Down, Dropped, UnknownThere, Upstream, read_chunk, says_something, whole_signs
from memory.errors import BadInput, ModelUnavailable, NightschoolError
from memory.records import Message

T = TypeVar("T")

KEPT = 8
"""Versions that the server is left with; of more, the one that has not been asked for the longest is dropped there."""

AT_ONCE = 8
"""Answers of an exam or a bench that are asked for together."""

LOOK_EVERY = 5.0
"""Seconds between two looks at a server that is down."""

LOOKS_AT_STOP = 0.05
"""Seconds in which a pressed stop is seen."""

ENDS_WITHIN = 3.0
"""Seconds that are waited for an answer's counts once it has said why it ends."""

DATED = re.compile(r"(?:-preview|-exp)?(?:-\d{3,8}(?:-\d\d){0,2}|-\d\d-\d\d)|-(?:preview|latest)|[:@].+")
"""What may stand behind a model's name in answers of the same one: a date or a tag."""

CHARACTERS_A_TOKEN = 3
"""Of an estimate that is rather too high: English has four, and other scripts fewer (counted as UTF-8)."""


class RemoteEngine:
    """An `Engine` over a server. Making one is cheap; `load` waits until the server is there.

    Args:
        upstream: the server. It belongs to this engine from now on.
        model_id: of the weights that the server has, as nights name them.
        files: those weights here, of which the tokenizer alone is read; None: tokens are estimated.
        name: what the server calls the base; empty: the first that it lists.
        adapters: where the server finds the folder of all versions; None: where it is here.
    """

    def __init__(
        self,
        upstream: Upstream,
        model_id: str,
        *,
        files: ModelFiles | None = None,
        name: str = "",
        adapters: Path | None = None,
    ) -> None:
        self._upstream, self._model_id, self._files, self._name = upstream, model_id, files, name
        self._adapters = adapters
        self._loop = _Loop()
        self._context = context_of(files.path) if files else None
        self._base: str | None = name or None
        self._trouble: str | None = f"the model's server at {upstream.url} has not answered yet"
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self._loading: dict[str, Future[None]] = {}
        self._in_use: Counter[str] = Counter()
        self._tokenizer: Any = None

    # ------------------------------------------------------------------ whether it is there

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def capabilities(self) -> Capabilities:
        """The context is the smaller one of what the weights and the server take."""
        exact = self._files is not None
        return Capabilities(adapters=True, seeds=True, counts_exactly=exact, context=self._context, at_once=1000)

    @property
    def ready(self) -> bool:
        """Whether the server was there when it was last asked for anything."""
        return self._trouble is None

    @property
    def trouble(self) -> str | None:
        """Why it can't answer now, in one line."""
        return self._trouble

    def load(self) -> None:
        """Wait until the server is there, and from then on watch whether it stays. Ends when the engine is closed."""
        if self._files:
            self._reads()
        while not self._closed.is_set():
            with suppress(NightschoolError):
                self.look()
            if self._trouble is None:
                threading.Thread(target=self._watch, name="remote watch", daemon=True).start()
                return
            self._closed.wait(LOOK_EVERY)

    def look(self) -> None:
        """Ask the server for its models. Raises: ModelUnavailable: it is down, or has not what is configured."""
        try:
            self._find(self._loop.wait(self._upstream.models()))
        except NightschoolError as error:
            self._trouble = str(error)
            raise
        self._trouble = None

    def _find(self, listed: Sequence[Mapping[str, Any]]) -> None:
        names = [str(model["id"]) for model in listed]
        if not names or (self._name and self._name not in names):
            found = ", ".join(repr(name) for name in names[:5]) or "nothing"
            wanted = repr(self._name) if self._name else "a model"
            raise ModelUnavailable(
                f"the model's server at {self._upstream.url} serves {found}, not {wanted}: set remote_model"
            )
        if not self._name and self._base and self._base not in names:
            # Nights train on the weights that it had.
            raise ModelUnavailable(
                f"the model's server at {self._upstream.url} no longer serves {self._base!r} but {names[0]!r}:"
                " set remote_model"
            )
        self._base = self._name or self._base or names[0]
        most = listed[names.index(self._base)].get("max_model_len")
        if isinstance(most, int) and most > 0:
            self._context = min(most, self._context or most)
        with self._lock:
            # A server that was started again has none of the versions.
            for name in [name for name in self._loaded if name not in names and not self._in_use[name]]:
                del self._loaded[name]

    def close(self) -> None:
        """Hang up, and end the engine's thread."""
        self._closed.set()
        with suppress(NightschoolError):
            self._loop.wait(self._upstream.close())
        self._loop.close()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_EVERY):
            with suppress(NightschoolError):
                self.look()

    # ------------------------------------------------------------------ answers

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: threading.Event
    ) -> Iterator[Piece]:
        """See `Engine.generate`. Words said before the server fails stand.

        Raises: ModelUnavailable; BadInput where the server does not take the request.
        """
        try:
            with self._serving(adapter, stop) as name:
                try:
                    yield from self._answer(name, prompt, sampling, stop)
                except UnknownThere:
                    # It was started again since, and no longer has the version: nothing was said yet.
                    if adapter is None:
                        raise
                    self._forget(name)
                    self._load(adapter, stop)
                    yield from self._answer(name, prompt, sampling, stop)
        except _Stopped:
            yield Piece("", "stopped", self.count_tokens(prompt), 0)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """See `Engine.complete`: the server batches what is asked at once."""

        def answer(prompt: Sequence[Message]) -> str:
            pieces = self.generate(prompt, Sampling(max_tokens), adapter=adapter, stop=threading.Event())
            return "".join(piece.text for piece in pieces).strip()

        with ThreadPoolExecutor(AT_ONCE) as threads:
            asked = {threads.submit(answer, prompt): place for place, prompt in enumerate(prompts)}
            for done in as_completed(asked):
                yield asked[done], done.result()

    def admit(self, adapter: AdapterFiles) -> None:
        """Have the server load a version, if it has not. Raises: ModelUnavailable: it is damaged, or is refused."""
        self._load(adapter, None)

    def _load(self, adapter: AdapterFiles, stop: threading.Event | None) -> None:
        """Raises: ModelUnavailable; _Stopped."""
        name = name_of(adapter)
        if self._has(name):
            return
        check_adapter(adapter)
        if self._files:
            check_fit(adapter, self._files.path)
        path = self._adapters / adapter.path.name if self._adapters else adapter.path
        with self._lock:
            if name in self._loaded:
                return
            # Whoever wants it meanwhile waits for the same, and is told the same.
            loading = self._loading.get(name)
            if loading is None:
                loading = self._loading[name] = self._loop.begin(self._load_there(name, path))
        with self._noticing():
            self._wait(loading, stop)

    def _wait(self, work: Future[T], stop: threading.Event | None) -> T:
        """What `work` comes to. Raises: what it raises; _Stopped: `stop` was set, or the engine closed, before that."""
        while True:
            try:
                return work.result(LOOKS_AT_STOP)
            except TimeoutError:
                if work.done():
                    return work.result()
                if self._closed.is_set() or (stop is not None and stop.is_set()):
                    raise _Stopped from None

    async def _load_there(self, name: str, path: Path) -> None:
        dropped: list[str] = []
        try:
            await self._upstream.load_adapter(name, str(path))
            with self._lock:
                self._loaded[name] = None
                unused = [one for one in self._loaded if one != name and not self._in_use[one]]
                dropped = unused[: max(0, len(self._loaded) - KEPT)]
                for one in dropped:
                    del self._loaded[one]
        finally:
            with self._lock:
                del self._loading[name]
        for one in dropped:
            with suppress(ModelUnavailable):
                await self._upstream.unload_adapter(one)

    def _has(self, name: str) -> bool:
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
            return name in self._loaded

    @contextmanager
    def _serving(self, adapter: AdapterFiles | None, stop: threading.Event) -> Iterator[str]:
        """What to ask the server for, which keeps it as long as the context lasts. Raises: _Stopped."""
        if adapter is None:
            if self._base is None:
                self.look()
            assert self._base is not None  # noqa: S101 - `look` sets it or raises
            yield self._base
            return
        name = name_of(adapter)
        with self._lock:
            self._in_use[name] += 1
        try:
            self._load(adapter, stop)
            yield name
        finally:
            with self._lock:
                self._in_use[name] -= 1

    def _forget(self, name: str) -> None:
        with self._lock:
            self._loaded.pop(name, None)

    def _answer(
        self, name: str, prompt: Sequence[Message], sampling: Sampling, stop: threading.Event
    ) -> Iterator[Piece]:
        plain: list[Message] = [{**message, "content": self._as_text(message["content"])} for message in prompt]
        request = _request(name, plain, sampling)
        pieces: queue.Queue[Piece | BaseException] = queue.Queue()
        answering = self._loop.begin(self._stream(request, pieces))
        said: list[str] = []
        heard = monotonic()
        try:
            with self._noticing():
                while True:
                    if stop.is_set():
                        yield Piece("", "stopped", self.count_tokens(prompt), self._count("".join(said)))
                        return
                    try:
                        piece = pieces.get(timeout=LOOKS_AT_STOP)
                    except queue.Empty:
                        # What keeps a connection open is no word.
                        if monotonic() - heard > self._upstream.patience + LOOKS_AT_STOP:
                            raise self._upstream.silent() from None
                        continue
                    heard = monotonic()
                    if isinstance(piece, BaseException):
                        raise piece
                    if piece.finish:
                        asked = piece.prompt_tokens or self.count_tokens(prompt)
                        yield Piece("", piece.finish, asked, piece.answer_tokens or self._count("".join(said)))
                        return
                    said.append(piece.text)
                    yield piece
        finally:
            # Whoever is no longer listened to must not be computed on: this hangs up.
            answering.cancel()

    async def _stream(self, request: Mapping[str, Any], pieces: queue.Queue[Piece | BaseException]) -> None:
        """Put the answer's pieces where `_answer` waits for them; the last has why it ended, or is an error."""
        finish: FinishReason | None = None
        usage: Mapping[str, Any] = {}
        half = ""
        try:
            async with asyncio.timeout(None) as patience:
                async for chunk in self._upstream.chat(request):
                    said, why, counted = self._read(request, chunk)
                    said, half = whole_signs(half + said)
                    if said or says_something(chunk):
                        pieces.put(Piece(said))
                    if why and finish is None:
                        patience.reschedule(asyncio.get_running_loop().time() + ENDS_WITHIN)
                    finish, usage = why or finish, counted or usage
            if finish is None:
                raise ModelUnavailable(f"the model's server at {self._upstream.url} ended without saying why")
            pieces.put(_last(finish, usage))
        except Exception as error:
            # Whatever it is: raised where the asker waits for it. Of an answer that has said why it ends, all is there.
            whole = finish is not None and isinstance(error, Dropped | Down | TimeoutError)
            pieces.put(_last(finish, usage) if whole else error)

    def _read(
        self, request: Mapping[str, Any], chunk: Mapping[str, Any]
    ) -> tuple[str, FinishReason | None, dict[str, int]]:
        """See `read_chunk`. Raises: ModelUnavailable: it is no part of this answer."""
        self._check_name(str(request["model"]), chunk.get("model"))
        try:
            return read_chunk(chunk)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            told = f"the model's server at {self._upstream.url} says what is no part of an answer"
            raise ModelUnavailable(f"{told}: {str(chunk)[:80]}") from error

    def _check_name(self, asked: str, answers: Any) -> None:
        """Raises: ModelUnavailable where another model answers. A date or a tag may stand behind a name, as in
        `gpt-4o-2024-08-06`; `gpt-4o-mini` is another.
        """
        more = str(answers).removeprefix(asked)
        if answers and answers != asked and not (str(answers).startswith(asked) and DATED.fullmatch(more)):
            raise ModelUnavailable(
                f"the model's server at {self._upstream.url} answers as {str(answers)[:80]!r}, not as {asked!r}:"
                " set remote_model"
            )

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """That the server is down is known from the first request on that finds it so; the watch sees it come back."""
        try:
            yield
        except Down as error:
            self._trouble = str(error)
            raise

    # ------------------------------------------------------------------ tokens

    def _as_text(self, content: str) -> str:
        """What is said, in which no token of a template stands: servers read it in a message as in their own template,
        so that a document that quotes one would end the turn.
        """
        return as_text(self._reads(), content) if self._files else as_text_of_any(content)

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        if self._files is None:
            return sum(4 + self._count(message["content"]) for message in prompt)
        text = render(self._reads(), self._model_id, prompt)
        return len(self._reads()(text, add_special_tokens=False)["input_ids"])

    def _count(self, text: str) -> int:
        if self._files is None:
            return -(-len(text.encode()) // CHARACTERS_A_TOKEN)
        return len(self._reads()(text, add_special_tokens=False)["input_ids"])

    def _reads(self) -> Any:
        if self._tokenizer is None:
            assert self._files is not None  # noqa: S101 - asked for by those who have looked
            try:
                self._tokenizer = read_tokenizer(self._files.path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                told = f"the tokenizer in {self._files.path} can't be loaded: {lines[0]}"
                raise ModelUnavailable(told) from error
        return self._tokenizer


def over(settings: Settings) -> RemoteEngine:
    """An engine over the server that the settings name. Raises: BadInput where they name none."""
    if not settings.remote_url:
        raise BadInput("setting 'remote_url' is empty: it names the server that answers, like http://host:8000/v1")
    try:
        files = models.resolve(settings.model, settings.models)
    except ModelUnavailable:
        # Chatting needs no weights here; nights do, and say so.
        files = None
    key = settings.remote_key.get_secret_value()
    return RemoteEngine(
        Upstream(settings.remote_url, key=key, patience=settings.remote_timeout),
        models.name_of(settings.model),
        files=files,
        name=settings.remote_model,
        adapters=settings.remote_adapters,
    )


def name_of(adapter: AdapterFiles) -> str:
    """What the server calls a version: with its hash, so that no other weights can ever answer under its name."""
    return f"{adapter.version}-{adapter.sha256[:12]}"


def _request(name: str, prompt: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": name,
        "messages": [dict(message) for message in prompt],
        "max_tokens": sampling.max_tokens,
        "temperature": 0 if sampling.greedy else sampling.temperature,
        "stream_options": {"include_usage": True},
    }
    if not sampling.greedy:
        request["top_p"] = sampling.top_p
        if sampling.seed is not None:
            request["seed"] = sampling.seed
    if sampling.stop:
        request["stop"] = list(sampling.stop)
    return request


def _last(finish: FinishReason | None, usage: Mapping[str, Any]) -> Piece:
    return Piece("", finish, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))


class _Stopped(Exception):
    """Who waited no longer does."""


class _Loop:
    """An event loop in a thread of its own, which is there from the first call on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="remote", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.begin(work).result()

    def close(self) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None
