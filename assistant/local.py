"""The engine in this process: NF4 weights, LoRA adapters, many answers at once.

Two paths compute the same: `transformers` with PEFT, at once and one answer at a time, whoever asks first; and, once it
is warm, the decoder of our own (`assistant.decoder`, on CPUs and NVIDIA cards), which answers all who ask together,
several times faster. The weights are the same to the bit; the arithmetic is float32 on a CPU, and bfloat16 with sums in
float32 on a card. A night may train in bfloat16, but what it made is examined by whatever serves. What the second can't
compute, the first does.

It does not know where an adapter came from, only the hash it must have.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.adapters import MANIFEST, WEIGHTS_FILE, check_adapter
from assistant.engine import AdapterFiles, Capabilities, Piece, Sampling
from assistant.loading import Weights, load, rounds
from assistant.models import ModelFiles, context_of
from assistant.prefix import key_values, may_share, shared
from assistant.reading import PutDown, until_stopped
from assistant.rendering import render
from assistant.switching import Switch
from assistant.words import Stream, pieces
from memory.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from assistant.decoder.batcher import Request
    from assistant.decoder.decoder import Decoder

__all__ = ["MANIFEST", "WEIGHTS_FILE", "GivenUp", "LocalEngine", "Weights", "check_adapter"]

NO_PENALTY: Mapping[str, Any] = {"repetition_penalty": 1.0}
"""What models ask of transformers' `generate` beside, which neither the decoder nor an exam does."""

AT_ONCE = 32
"""Answers that are computed together; more wait for their turn."""

log = logging.getLogger(__name__)


class GivenUp(Exception):
    """Who waited for the model no longer wants it."""


class LocalEngine:
    """An `Engine` over weights on this machine. Making one is cheap; `load` takes seconds and happens once.

    Args:
        files: from `assistant.models.resolve`.
        weights: see `assistant.loading`.
        copies: folder where unpacked weights are kept for the next start (see `assistant.unpacked`); None: nowhere.
        warms: whether loading it begins to `warm` it, in a thread: for whoever serves for longer than that takes.
    """

    def __init__(
        self, files: ModelFiles, *, weights: Weights = "auto", copies: Path | None = None, warms: bool = False
    ) -> None:
        self.files = files
        self._warms = warms
        self._weights: Weights = weights
        self._copies = copies
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._warming = threading.Lock()
        self._closed = False
        self._loaded: Switch | None = None
        self._tokenizer: Any = None
        self._decoder: Decoder | None = None
        self._refusal: str | None = None

    @property
    def model_id(self) -> str:
        return self.files.model_id

    @property
    def capabilities(self) -> Capabilities:
        context = context_of(self.files.path)
        at_once = AT_ONCE if self._decoder else 1
        return Capabilities(adapters=True, seeds=True, counts_exactly=True, context=context, at_once=at_once)

    @property
    def ready(self) -> bool:
        return self._loaded is not None

    def admit(self, adapter: AdapterFiles) -> None:
        """See `Engine.admit`. No weights are loaded for it."""
        from assistant.fits import check_fit

        check_adapter(adapter)
        check_fit(adapter, self.files.path)

    def load(self) -> None:
        """Read, quantise and place the weights. Raises: ModelUnavailable."""
        self._load()

    def _load(self) -> Switch:
        with self._loading:
            if self._loaded is None:
                self._tokenizer, model = load(self.files, self._weights, self._copies)
                self._loaded = Switch(model, self.model_id)
                if self._warms:
                    threading.Thread(target=self._warm_up, name="warm", daemon=True).start()
            return self._loaded

    def warm(self) -> str | None:
        """Make the decoder of our own ready, in seconds in which answers come as before.

        Returns why it can't serve here, or None where it does from now on. Raises: ModelUnavailable.
        """
        from assistant.decoder import why_not

        self.load()
        with self._warming:
            if self._decoder:
                return None
            reason = "it was closed" if self._closed else self._refusal or why_not(self._switch.model.device.type)
            if reason and reason == self._refusal:
                return reason
            if reason is None:
                from assistant.decoder.decoder import Decoder
                from assistant.decoder.shape import NotPacked

                try:
                    # Answers go on meanwhile: it reads the weights, which no adapter changes.
                    self._decoder = Decoder(self._switch.model, self.end_ids, at_once=AT_ONCE, alone=self.using)
                except NotPacked as error:
                    reason = str(error)
            if reason:
                self._refusal = reason
                log.info("answers come from transformers, one at a time: %s", reason)
            return reason

    def _warm_up(self) -> None:
        try:
            self.warm()
        except Exception as error:
            # Whatever it is (compilers fail in ways of their own): nobody waits for it, and answers come as before.
            self._refusal = f"it failed: {error}"
            log.exception("the decoder could not be made ready; answers come from transformers, one at a time")

    def close(self) -> None:
        """End the decoder's threads; what it answers ends where it is. Answers come from transformers after that."""
        self._closed = True
        with self._warming:
            decoder, self._decoder = self._decoder, None
        if decoder:
            decoder.close()

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        self.load()
        return self._tokenizer

    @contextmanager
    def using(
        self, adapter: AdapterFiles | None, *, unless: threading.Event | None = None
    ) -> Iterator[PreTrainedModel]:
        """The model with `adapter` on (None: the base), for the caller alone until the block ends.

        Raises:
            ModelUnavailable: the adapter's weights are not the ones with its hash.
            GivenUp: `unless` was set while another caller had the model.
        """
        self.load()
        while not self._lock.acquire(timeout=0.05):
            if unless is not None and unless.is_set():
                raise GivenUp
        try:
            switch = self._switch
            switch.to(adapter)
            yield switch.model
        finally:
            self._lock.release()

    @contextmanager
    def base(self, *, rounded: bool = False) -> Iterator[PreTrainedModel]:
        """The model without a trace of an adapter, for training one on it. What was loaded is dropped, and what the
        decoder has read: training wants the memory.

        Args:
            rounded: in bfloat16, where the weights are unpacked on a CPU. Who computes next reads them anew: exact ones
                beside them would be two thirds of all.
        """
        self.load()
        if self._decoder:
            self._decoder.forget()
        # Nor may the decoder read them while they are rounded.
        with self._warming if rounded else nullcontext(), self._lock:
            switch = self._switch
            switch.clear()
            if not (rounded and rounds(switch.model)):
                yield switch.model
                return
            try:
                # Positions with it, which costs little and was tried otherwise (docs/LOG.md).
                yield switch.model.bfloat16()
            finally:
                self._loaded = None

    @property
    def _switch(self) -> Switch:
        return self._load()

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: threading.Event
    ) -> Iterator[Piece]:
        """See `Engine.generate`. The words are computed in a thread of their own and handed over as they come."""
        ids = self.tokens(prompt)
        request = self._begin(ids, sampling, adapter, stop)
        if request is not None:
            with _stopped_where_left(stop):
                ends = self.end_ids
                yield from pieces(iter(request), self._tokenizer, prompt_tokens=len(ids), ends=ends, stop=stop)
            return
        stream = Stream(self.tokenizer, stop)
        worker = threading.Thread(target=self._answer, args=(ids, sampling, adapter, stream), daemon=True)
        worker.start()
        try:
            with _stopped_where_left(stop):
                yield from stream
        finally:
            worker.join()

    def _begin(
        self, ids: Sequence[int], sampling: Sampling, adapter: AdapterFiles | None, stop: threading.Event
    ) -> Request | None:
        """The answer as the decoder computes it, or None where transformers must."""
        decoder = self._decoder
        return decoder.begin(ids, sampling, adapter, stop) if decoder else None

    def _answer(self, ids: Sequence[int], sampling: Sampling, adapter: AdapterFiles | None, stream: Stream) -> None:
        import torch

        try:
            with self.using(adapter, unless=stream.stop) as model, torch.inference_mode():
                inputs = torch.tensor([ids], device=model.device)
                stream.prompt_tokens = len(ids)
                if sampling.seed is not None:
                    torch.manual_seed(sampling.seed)
                chosen: dict[str, Any] = (
                    {}
                    if sampling.greedy
                    else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
                )
                if not stream.stop.is_set():
                    with until_stopped(model, stream.stop, tokens=len(ids)) as stream.when_read:
                        model.generate(
                            input_ids=inputs,
                            attention_mask=torch.ones_like(inputs),
                            max_new_tokens=sampling.max_tokens,
                            do_sample=not sampling.greedy,
                            eos_token_id=self.end_ids,
                            pad_token_id=self._tokenizer.pad_token_id,
                            streamer=stream,
                            stopping_criteria=[stream.should_stop],
                            **NO_PENALTY,
                            **chosen,
                        )
            stream.finish(self.end_ids)
        except (GivenUp, PutDown):
            stream.finish([])
        except Exception as error:
            # Whatever it is: raised where the asker waits for it.
            stream.fail(error)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None, batch: int = 32
    ) -> Iterator[tuple[int, str]]:
        """Greedy answers to many prompts: (place in `prompts`, answer), as they come.

        From the decoder, so that what is examined is what serves: each answer is then the same whatever is asked with
        it, on a CPU to the bit. What it can't compute comes from transformers, in batches of similar length.
        """
        ids = [self.tokens(prompt) for prompt in prompts]
        left = set(range(len(ids)))
        self._warm_up()
        for place, answer in self._decoded(ids, max_tokens=max_tokens, adapter=adapter):
            left.remove(place)
            yield place, answer
        order = sorted(left, key=lambda i: (len(ids[i]), i))
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            answers = self._greedy([ids[i] for i in places], max_tokens=max_tokens, adapter=adapter)
            yield from zip(places, answers, strict=True)

    def _decoded(
        self, rows: Sequence[list[int]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """Those answers that the decoder can compute. Whoever is through makes room for the next."""
        stop, sampling, ends = threading.Event(), Sampling(max_tokens), self.end_ids
        try:
            # The longest first: with one of them at the end, all but one place would stand empty.
            order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
            begun = [(i, self._begin(rows[i], sampling, adapter, stop)) for i in order]
            for place, request in begun:
                tokens = list(request) if request else []
                # Closed meanwhile, it would leave half an answer.
                if tokens and (tokens[-1] in ends or len(tokens) == max_tokens):
                    yield place, self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        finally:
            stop.set()

    def _greedy(self, rows: Sequence[list[int]], *, max_tokens: int, adapter: AdapterFiles | None) -> list[str]:
        import torch

        longest = max(map(len, rows))
        may = may_share(self._switch.model, longest + max_tokens)
        common = shared(rows, most=min(map(len, rows)) - 1) if may else 0
        # Padding stands behind what all rows share, so that all prompts end together.
        padding = [longest - len(row) for row in rows]
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([row[:common] + [pad] * n + row[common:] for row, n in zip(rows, padding, strict=True)])
        mask = torch.ones_like(ids)
        for i, n in enumerate(padding):
            mask[i, common : common + n] = 0
        with self.using(adapter) as model, torch.inference_mode():
            output = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                past_key_values=key_values(model, ids[0, :common], len(rows)),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=self.end_ids,
                pad_token_id=pad,
                **NO_PENALTY,
            )
        texts = self._tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def tokens(self, prompt: Sequence[Message]) -> list[int]:
        """The token ids of a prompt as the model reads it."""
        found: list[int] = self.tokenizer(self.render(prompt), add_special_tokens=False)["input_ids"]
        return found

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        return len(self.tokens(prompt))

    def render(self, prompt: Sequence[Message]) -> str:
        """The prompt as the model reads it, with the turn opened for the assistant."""
        return render(self.tokenizer, self.model_id, prompt)

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer, the chat template's own first."""
        configured = self._switch.model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return [i for i in dict.fromkeys([self._tokenizer.eos_token_id, *several]) if i is not None]


@contextmanager
def _stopped_where_left(stop: threading.Event) -> Iterator[None]:
    """Sets `stop` where an answer is left before its end; one that ends by itself stops nothing that its asker does
    next with the same event.
    """
    try:
        yield
    except BaseException:  # a reader that leaves is a GeneratorExit, and Ctrl-C must free the engine, too
        stop.set()
        raise
