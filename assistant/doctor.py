"""What `nightschool doctor` looks at: one finding a line, each with what to do where something is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from assistant.settings import Settings
from assistant.texts import counted
from memory.errors import NightschoolError

PACKAGES = ("app", "assistant", "memory", "training")

FREE_GB = 2.0
"""Under this a night may run out of disk: a version is some tens of MB, an 8B model several GB."""

FITS: tuple[tuple[float, str], ...] = (
    (40.0, "Qwen/Qwen3-32B"),
    (18.0, "Qwen/Qwen3-14B"),
    (11.0, "Qwen/Qwen3-8B"),
    (6.0, "Qwen/Qwen3-4B"),
    (3.0, "Qwen/Qwen3-1.7B"),
)
"""GB of GPU memory → the largest model of a known family whose NF4 night fits in it, weights (0.6 GB a billion
parameters), activations and optimizer together."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    told: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; what fails is a finding, never an error."""
    looks: dict[str, Callable[[Settings], Iterator[Finding]]] = {
        "installation": _installation,
        "hardware": _hardware,
        "disk": _disk,
        "model": _model,
        "embedder": _embedder,
        "engine": _engine,
        "ledger": _ledger,
        "adapter": _adapter,
        "index": _index,
    }
    findings: list[Finding] = []
    for what, look in looks.items():
        try:
            findings.extend(look(settings))
        except (NightschoolError, OSError, ImportError) as error:
            findings.append(Finding(what, False, str(error)))
    return findings


@cache
def _owners() -> Mapping[str, list[str]]:
    """Package → distributions that have it. To find out reads what hundreds of them list."""
    return metadata.packages_distributions()


def _installation(_: Settings) -> Iterator[Finding]:
    owners = _owners()
    # An editable installation lists no packages; its folder is on the path instead.
    origin = metadata.distribution("nightschool").read_text("direct_url.json") or "{}"
    editable = ["nightschool"] if json.loads(origin).get("dir_info", {}).get("editable") else []
    for package in PACKAGES:
        names = sorted({*owners.get(package, []), *editable})
        if len(names) != 1:
            found = " and ".join(names) or "no distribution"
            yield Finding(
                "installation", False, f"package {package!r} belongs to {found}: use an environment of its own"
            )
            return
    yield Finding("installation", True, f"nightschool {metadata.version('nightschool')}")


def _hardware(_: Settings) -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        told = f"no GPU (CPU threads: {torch.get_num_threads()}): the embedded model fits"
        yield Finding("hardware", True, told)
        return
    card = torch.cuda.get_device_properties(0)
    gigabytes = card.total_memory / 1e9
    model = next((name for least, name in FITS if gigabytes >= least), "the embedded model")
    yield Finding("hardware", True, f"{card.name}, {gigabytes:.0f} GB: {model} fits")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    yield Finding("disk", free >= FREE_GB, f"{free:.1f} GB free in {settings.home}")


def _model(settings: Settings) -> Iterator[Finding]:
    from assistant.models import resolve

    files = resolve(settings.model, settings.models)
    yield Finding("model", True, f"{files.model_id} in {files.path}, sha256 {files.sha256[:12]}")


def _embedder(settings: Settings) -> Iterator[Finding]:
    from assistant.models import embedder_of
    from memory.embedder import SentenceEmbedder

    embedder = SentenceEmbedder(embedder_of(settings))
    # Of one that somebody set only loading it tells whether it can be used.
    yield Finding("embedder", True, f"{embedder.path}, {embedder.dimensions} numbers a text")


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.engine == "local":
        yield Finding("engine", True, "local: this machine answers")
        return
    from assistant.remote import over

    with closing(over(settings)) as engine:
        engine.look()
        can = engine.capabilities
    tokens = "counted" if can.counts_exactly else "estimated: the weights are not here"
    told = f"remote: {settings.remote_url} answers, context {can.context or 'not told'}, tokens are {tokens}"
    yield Finding("engine", True, told)


def _ledger(settings: Settings) -> Iterator[Finding]:
    from memory.ledger import Ledger

    path = settings.home / "ledger.db"
    if not path.exists():
        yield Finding("ledger", True, "none yet: it is made with the first start")
        return
    ledger = Ledger.open(path)
    if ledger.read_only:
        yield Finding("ledger", False, f"{path} can't be written: {ledger.read_only}")
    else:
        held = f"{counted(ledger.count_exchanges(), 'exchange')}, {counted(len(ledger.lessons()), 'lesson')}"
        yield Finding("ledger", True, held)
    ledger.close()


def _adapter(settings: Settings) -> Iterator[Finding]:
    from assistant.local import check_adapter
    from assistant.turn import adapter_files
    from memory.ledger import Ledger

    if not (settings.home / "ledger.db").is_file():
        return
    ledger = Ledger.open(settings.home / "ledger.db")
    active = ledger.active_adapter()
    ledger.close()
    if active is None:
        yield Finding("adapter", True, "the base model serves")
        return
    check_adapter(adapter_files(settings.home, active))
    yield Finding("adapter", True, f"{active.version} serves, sha256 {active.sha256[:12]} as published")


def _index(settings: Settings) -> Iterator[Finding]:
    from assistant.models import embedder_of
    from memory.embedder import SentenceEmbedder
    from memory.index_files import made_by
    from memory.vectors import VectorIndex

    folder: Path = settings.home / "index"
    if not folder.is_dir():
        yield Finding("index", True, "none yet: it is made from the ledger when it is needed")
        return
    embedder, maker = SentenceEmbedder(embedder_of(settings)), made_by(folder)
    if maker is not None and maker.name != embedder.name:
        yield Finding("index", True, f"{maker.name} made it: one of {embedder.name} takes its place when a server runs")
        return
    index = VectorIndex.open(folder, embedder)
    yield Finding("index", True, f"{len(index)} vectors, base {index.kind}, up to exchange {index.marks.exchanges}")
