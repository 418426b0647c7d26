"""Settings: command line > environment (`NIGHTSCHOOL_…`) > `nightschool.toml` in the home > defaults.

An unknown or ill-typed setting stops the start with one line that names it and says what is allowed.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_origin

import platformdirs
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from memory.errors import BadInput

PREFIX = "NIGHTSCHOOL_"
FILE = "nightschool.toml"

S = TypeVar("S", bound=BaseSettings)


class Settings(BaseSettings):
    """What the day needs to know. Lengths are in tokens unless their name says otherwise."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("nightschool", appauthor=False)),
        description="the data directory: ledger, index, adapters, nights",
    )
    models_dir: Path | None = Field(None, description="where fetched weights lie; None: `models` in the home")
    model: str = Field("embedded", min_length=1, description="`embedded`, a local folder, or a hub id")
    weights: Literal["auto", "packed", "unpacked"] = Field(
        "auto",
        description="how NF4 weights are held: packed (small), unpacked once into float (the same values, faster on a"
        " CPU), auto: packed on a GPU, unpacked on a CPU",
    )
    engine: Literal["local", "remote"] = Field(
        "local",
        description="who computes the words: this process, or the server of `remote_url`; nights train `model` here"
        " either way, so `model` must be the weights that the server has",
    )
    remote_url: str = Field("", description="an OpenAI-compatible server, like http://127.0.0.1:8000/v1")
    remote_model: str = Field("", description="what that server calls `model`; empty: the first that it lists")
    remote_key: SecretStr = Field(SecretStr(""), description="the key that it wants, if any")
    remote_timeout: float = Field(60, gt=0, le=3600, description="seconds without a word after which it is given up")
    remote_adapters: Path | None = Field(
        None, description="where that server finds the folder `adapters` of the home; None: under the same path"
    )
    host: str = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535)
    nightly_at: str | None = Field(None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="HH:MM, local time")

    review: bool = Field(False, description="whether lessons of plain users wait until a teacher approves them")

    system_prompt: str = Field("", description="empty: what the model's own chat template says")
    prompt_tokens: int = Field(1536, ge=64, description="budget of a whole prompt")
    answer_tokens: int = Field(192, ge=1, le=8192, description="longest answer")
    answer_seconds: float = Field(
        900, gt=0, le=86_400, description="an answer that is not finished by then, waiting included, is ended"
    )
    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy: the same question gets the same answer")
    top_p: float = Field(
        0.95, gt=0, le=1, description="draw among the likeliest words that have this share of the chances; 1: among all"
    )
    message_chars: int = Field(20_000, ge=1, description="longest message")
    chats_max: int = Field(
        64, ge=1, le=1000, description="chats over HTTP that are answered or wait at once; more are told to come back"
    )

    recall_k: int = Field(3, ge=0, le=50, description="recollections in a prompt; 0 switches recall off")
    recall_min_score: float = Field(0.7, ge=-1, le=1, description="cosine under which a memory is none")
    recall_min_score_corrected: float = Field(
        0.45, ge=-1, le=1, description="the same for corrections and documents, which a person wrote"
    )
    recall_min_score_told: float = Field(
        0.4,
        ge=-1,
        le=1,
        description="the same for what was told in passing, and what a question asks back for, where words find it too",
    )
    recall_embedder: str = Field(
        "", description="what finds memories by meaning: a folder in sentence-transformers' format; empty: the embedded"
    )
    recall_reranker: str = Field(
        "", description="a cross-encoder that orders what a search finds: a folder or a hub id; empty: none"
    )
    graduation: bool = Field(
        True,
        description="what is verified in the weights that answer leaves the prompt of the question that was examined",
    )
    recall_share: float = Field(0.4, ge=0, le=1, description="share of the prompt's budget that memory may take")

    @field_validator("remote_url")
    @classmethod
    def _url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("it must begin with http:// or https://")
        return url

    @field_validator("home", "models_dir", mode="before")
    @classmethod
    def _named(cls, path: Any) -> Any:
        if path == "":  # pathlib would take it for the working directory
            raise ValueError("name a folder, or leave the setting out")
        return path

    @field_validator("home", "models_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @property
    def models(self) -> Path:
        return self.models_dir or self.home / "models"


def load(kind: type[S], *, environ: Mapping[str, str] | None = None, **overrides: Any) -> S:
    """Settings of `kind` from all four sources; an override of None counts as not given.

    Raises:
        BadInput: one line that names the setting and what is allowed.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in overrides.items() if value is not None}
    from_environment = _from_environment(kind, environ)
    try:
        home = Path(
            given.get("home")
            or from_environment.get("home")
            or kind.model_fields["home"].get_default(call_default_factory=True)
        )
        from_file = _from_file(home.expanduser() / FILE)
    except (OSError, RuntimeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{FILE} can't be read: {error}") from error
    try:
        return _only_given(kind)(**_merge(_merge(from_file, from_environment), given))
    except ValidationError as error:
        raise BadInput(_one_line(kind, error)) from error


def _only_given(kind: type[S]) -> type[S]:
    """`kind` without sources of its own: the environment was read above, where a test can pass another one in."""

    class Given(kind):  # type: ignore[valid-type,misc]
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)

    Given.__name__ = kind.__name__
    return Given


def _from_file(file: Path) -> dict[str, Any]:
    """What the file says; no file says nothing. Raises: OSError, as for a folder of that name; ValueError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _from_environment(kind: type[BaseModel], environ: Mapping[str, str]) -> dict[str, Any]:
    """`NIGHTSCHOOL_PORT=80` → {"port": "80"}; `NIGHTSCHOOL_NIGHT__EPOCHS=3` → {"night": {"epochs": "3"}}.

    What is no single value is written as JSON: `NIGHTSCHOOL_NIGHT__SCALES=[1.0, 0.5]`, or the whole table
    `NIGHTSCHOOL_NIGHT={"epochs": 3}`, over which one of its settings by name wins.
    """
    found: dict[str, Any] = {}
    for name in sorted(environ, key=len):
        if name.startswith(PREFIX):
            path = name[len(PREFIX) :].lower().split("__")
            value = _read(kind, path, environ[name])
            for part in reversed(path):
                value = {part: value}
            found = _merge(found, value)
    return found


def _read(kind: type[BaseModel], path: Sequence[str], text: str) -> Any:
    """The value that `text` writes for the setting at `path`: read as JSON where it holds several, else the text.

    Raises: BadInput where it should be JSON and is none.
    """
    annotation: Any = kind
    for part in path:
        fields = annotation.model_fields if _is_table(annotation) else {}
        if part not in fields:
            return text
        annotation = fields[part].annotation
    if not (_is_table(annotation) or get_origin(annotation) in (tuple, list, dict, set, frozenset)):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        like = '{"epochs": 3}' if _is_table(annotation) else "[1.0, 0.5]"
        raise BadInput(f"setting {'.'.join(path)!r} is {text[:60]!r}: write it as JSON, like {like}") from error


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _one_line(kind: type[BaseSettings], error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        table: type[BaseModel] = kind
        for part in first["loc"][:-1]:
            table = cast("type[BaseModel]", table.model_fields[str(part)].annotation)
        allowed = ", ".join(sorted(table.model_fields))
        return f"unknown setting {name!r}: the settings are {allowed}"
    return f"setting {name!r} is {str(first['input'])[:60]!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
