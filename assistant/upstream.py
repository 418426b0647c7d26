"""Another program's OpenAI-compatible server, as a client sees it: its models, its streamed answers, vLLM's adapters.

Whatever goes wrong there becomes one clear line. It knows no prompt builder, no version and no thread: coroutines over
one pool of connections, and cancelling one hangs up.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from assistant.engine import FinishReason
from memory.errors import BadInput, ModelUnavailable

CONNECT_WITHIN = 5.0
"""Seconds in which a server that is up takes a connection."""

LOADS = "load_lora_adapter"
"""vLLM's route, which other servers lack."""

TOLD = 200
"""Characters of somebody else's message that are passed on."""

FINISHES: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}
"""Of other reasons an answer is whole."""


class Down(ModelUnavailable):
    """Nobody answers there, or not in time."""


class Dropped(ModelUnavailable):
    """The stream of an answer ended before the answer did."""


class UnknownThere(ModelUnavailable):
    """The server has no model of that name, or no such route."""


class Upstream:
    """One server.

    Args:
        url: with or without the `/v1` of OpenAI's routes.
        key: sent as a bearer's; empty for none.
        patience: seconds without a word after which a request is given up.
    """

    def __init__(self, url: str, *, key: str = "", patience: float = 60.0) -> None:
        self.url = url.rstrip("/")
        base = httpx2.URL(self.url)
        self._client = httpx2.AsyncClient(
            base_url=base if base.path.strip("/") else base.copy_with(path="/v1"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(patience, connect=min(CONNECT_WITHIN, patience)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        )
        self.patience = patience

    async def close(self) -> None:
        await self._client.aclose()

    async def models(self) -> list[Mapping[str, Any]]:
        """What it lists, each with an `id`. Raises: ModelUnavailable."""
        async with self._told():
            reply = await self._client.get("models", timeout=min(10.0, self.patience))
        listed = self._json(reply)
        try:
            return [dict(model, id=str(model["id"])) for model in listed["data"]]
        except (KeyError, TypeError, ValueError):
            raise ModelUnavailable(f"{self._it} lists no models: is it an OpenAI-compatible server?") from None

    async def chat(self, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """The chunks of a streamed answer, up to its `[DONE]`.

        Raises:
            Dropped: the connection ended before.
            BadInput: the server finds the request itself at fault, as a prompt that is too long.
            ModelUnavailable: everything else, with why.
        """
        body = {**request, "stream": True}
        async with self._told(), self._client.stream("POST", "chat/completions", json=body) as reply:
            kind = reply.headers.get("content-type", "")
            if reply.status_code != 200 or "text/event-stream" not in kind:
                await reply.aread()
                self._json(reply)
                raise ModelUnavailable(f"{self._it} does not stream its answers ({kind or 'no content type'})")
            async for line in _lines(reply.aiter_bytes()):
                field, _, value = line.partition(b":")
                if field != b"data":
                    continue
                if value.strip() == b"[DONE]":
                    return
                yield self._chunk(value)
        raise Dropped(f"{self._it} dropped the answer in the middle")

    async def load_adapter(self, name: str, path: str) -> None:
        """Have vLLM load a PEFT folder under `name`. One that is there already stays. Raises: ModelUnavailable."""
        async with self._told():
            reply = await self._client.post(LOADS, json={"lora_name": name, "lora_path": path})
        # LM Studio answers with 200 and an error where it knows no such route; vLLM with a line of text.
        if reply.status_code == 200 and not _is_error(reply):
            return
        why = _message(reply)
        if "already" in why and "load" in why:
            return
        # Of a route that is not there some servers tell the name, which is no word on the adapter.
        if reply.status_code in (200, 404, 405, 501) and "adapter" not in why.lower().replace(LOADS, ""):
            raise ModelUnavailable(
                f"{self._it} can't load adapters while it runs: start vLLM with --enable-lora and"
                " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or let the base serve (nightschool promote base)"
            )
        raise ModelUnavailable(f"{self._it} refuses the adapter {name} ({why}): let another version serve")

    async def unload_adapter(self, name: str) -> None:
        """Have vLLM drop an adapter. One that is not there is no matter. Raises: ModelUnavailable."""
        async with self._told():
            await self._client.post("unload_lora_adapter", json={"lora_name": name})

    def silent(self) -> Down:
        """That no word came for `patience` seconds, though it may have sent something else."""
        return Down(f"{self._it} said nothing for {self.patience:g} s: it hangs or is overloaded (remote_timeout)")

    @property
    def _it(self) -> str:
        return f"the model's server at {self.url}"

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """What can happen on the way there and back, in one line."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            why = str(error).splitlines()[0][:TOLD] if str(error) else type(error).__name__
            raise Down(f"{self._it} is down ({why}): start it, or name another with remote_url") from error
        except httpx2.TimeoutException as error:
            raise self.silent() from error
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError, httpx2.CloseError) as error:
            raise Dropped(f"{self._it} dropped the answer in the middle") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ModelUnavailable(f"{self._it} can't be asked ({type(error).__name__}: {error})") from error

    def _json(self, reply: httpx2.Response) -> Any:
        """The body of a reply that was not streamed. Raises: BadInput, ModelUnavailable."""
        status = reply.status_code
        kind = reply.headers.get("content-type", "").partition(";")[0] or "nothing that says what it is"
        try:
            content = reply.json()
        except ValueError:
            raise ModelUnavailable(
                f"{self._it} answers with {kind} (status {status}) instead of JSON: is remote_url OpenAI's API?"
            ) from None
        if status < 400:
            return content
        why = _message(reply)
        if status == 404:
            raise UnknownThere(f"{self._it} does not know what it is asked for ({why}): see remote_model")
        if status in (401, 403):
            raise ModelUnavailable(f"{self._it} refuses the key ({why}): see remote_key")
        if status in (400, 413, 422):
            raise BadInput(f"{self._it} does not take this ({why})")
        raise ModelUnavailable(f"{self._it} fails with status {status} ({why})")

    def _chunk(self, data: bytes) -> Mapping[str, Any]:
        try:
            chunk = json.loads(data)
        except ValueError:
            raise ModelUnavailable(f"{self._it} streams what is no JSON ({data[:40]!r})") from None
        if not isinstance(chunk, dict):
            raise ModelUnavailable(f"{self._it} streams what is no chunk of an answer ({data[:40]!r})")
        if chunk.get("error"):
            raise ModelUnavailable(f"{self._it} broke off ({_told(chunk)})")
        return chunk


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream of server-sent events. By bytes: text may hold any of Unicode's other line ends."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")
    # The last may lack its end; half of one is none.
    if rest and _is_whole(rest):
        yield rest.rstrip(b"\r")


def _is_whole(line: bytes) -> bool:
    content = line.partition(b":")[2].strip()
    try:
        return content == b"[DONE]" or bool(json.loads(content))
    except ValueError:
        return False


def _is_error(reply: httpx2.Response) -> bool:
    """Whether it says so in JSON, be its status what it is."""
    try:
        content = reply.json()
    except ValueError:
        return False
    return isinstance(content, dict) and "error" in content


def _message(reply: httpx2.Response) -> str:
    try:
        return _told(reply.json())
    except ValueError:
        return f"status {reply.status_code}"


def _told(content: Any) -> str:
    """The line in an error as OpenAI, vLLM or FastAPI writes it."""
    error = content.get("error", content) if isinstance(content, dict) else content
    told = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return " ".join(str(told or "no more is told").split())[:TOLD]


def read_chunk(chunk: Mapping[str, Any]) -> tuple[str, FinishReason | None, dict[str, int]]:
    """Text, why it ended, and counts, as far as a chunk of a stream says them.

    Raises: AttributeError, TypeError, ValueError, OverflowError: it is none.
    """
    said, finish = "", None
    for choice in chunk.get("choices") or ():
        said += (choice.get("delta") or {}).get("content") or ""
        if why := choice.get("finish_reason"):
            finish = FINISHES.get(why, "stop")
    return said, finish, {key: int(n or 0) for key, n in (chunk.get("usage") or {}).items() if key.endswith("_tokens")}


def says_something(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk brings anything, if not text: what a model thinks before it answers is a word, too."""
    return any(
        value
        for choice in chunk.get("choices") or ()
        for name, value in (choice.get("delta") or {}).items()
        if name != "role"
    )


def whole_signs(text: str) -> tuple[str, str]:
    """`text` without halves of surrogate pairs, and the half that it ends with, whose other one may come yet."""
    half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
    whole = text.removesuffix(half) if half else text
    return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), half
