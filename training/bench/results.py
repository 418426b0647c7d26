"""The files of a bench. Everything in them comes from finished nights, and everything else can be made from them again.

OUT/manifest.json                     what is benched; a later run over the same folder must bring the same
OUT/runs/ARM/seed-N/home/             a data directory: the ledger and the adapters, from which a cut-off day goes on
OUT/runs/ARM/seed-N/nights/NN.json    every answer after that night (00: before the first), and how the night ended
OUT/runs/ARM/seed-N/public-sets.json  public sets after the last night, beside the base, with every answer
OUT/answers.jsonl                     answers so far, by what was asked of which weights: none is computed twice
OUT/public-sets/                      how likely each version found each choice of them, asked once a version
OUT/results.json, report.md, plots/   made of them: the results after each run, the others in the end

Files appear whole or not at all, and of answers all lines but the last, so that whatever ends a bench takes no more
than the night under way. Who runs a bench again with another program, or on a card instead of a CPU, takes another OUT:
answers are kept by what was asked, not by what computed them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from memory.errors import BadInput, NightschoolError
from training.bench import figures
from training.bench.arms import ARMS
from training.bench.plan import Plan
from training.bench.report import count
from training.settings import NightSettings, Settings, as_json
from training.stages import write_json

ANSWERING = (
    "system_prompt",
    "prompt_tokens",
    "answer_tokens",
    "message_chars",
    "recall_k",
    "recall_min_score",
    "recall_min_score_corrected",
    "recall_min_score_told",
    "recall_embedder",
    "recall_reranker",
    "graduation",
    "recall_share",
)
"""Settings of the day on which answers depend."""

ANSWERS, PUBLIC_SETS = "answers.jsonl", "public-sets"

BENCH, NIGHT = ("streams", "days", "nights", "model", "settings", "items"), ("asked", "outcome", "answers")
"""Fields of the manifest, and of a night's record."""


@dataclass(frozen=True)
class Run:
    """One arm with one seed: its folder, and the records of its nights."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def records(self) -> list[dict[str, Any]]:
        """Of the finished nights, the first being what was before any. Raises: BadInput when one is missing."""
        nights = (file for file in (self.folder / "nights").glob("*.json") if file.stem.isdecimal())
        files = sorted(nights, key=lambda file: int(file.stem))
        # The home goes with the nights: it is past those that would be lived again without it.
        anew = f"delete {self.folder}, and it is run again"
        for number, file in enumerate(files):
            if file != self._file(number):
                raise BadInput(f"{self._file(number)} is missing: {anew}")
        return [_read(file, NIGHT, anew) for file in files]

    def add(self, number: int, record: Mapping[str, Any]) -> None:
        write_json(self._file(number), record)

    def add_public_sets(self, record: Mapping[str, Any]) -> None:
        write_json(self.folder / f"{PUBLIC_SETS}.json", record)

    def public_sets(self) -> dict[str, Any] | None:
        """See `bench.public.PublicSets.examine`; None where they were not asked, or the file is damaged."""
        try:
            found = json.loads((self.folder / f"{PUBLIC_SETS}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "sets" in found else None

    def _file(self, number: int) -> Path:
        return self.folder / "nights" / f"{number:02d}.json"


def run_of(out: Path, arm: str, seed: int) -> Run:
    """Where an arm's run with a seed lies."""
    return Run(out / "runs" / arm / f"seed-{seed}")


def manifest(plan: Plan, streams: Sequence[Path], settings: Settings, model_id: str, model_sha256: str) -> Any:
    """What the results depend on, beside arms and seeds; and which item is whose."""
    taught = {item.id: number for number, day in enumerate(plan.days, start=1) for item in day.taught}
    night = {k: v for k, v in as_json(settings.night).items() if k not in ("seed", "lease_seconds")}
    return {
        "streams": [{"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in streams],
        "days": [{"stream": day.stream, "session": day.session} for day in plan.days],
        "nights": plan.nights,
        "model": {"id": model_id, "sha256": model_sha256},
        "settings": {**settings.model_dump(mode="json", include=set(ANSWERING)), "night": night},
        "items": {x.id: {"stream": x.stream, "split": x.split, "day": taught.get(x.id)} for x in plan.items},
    }


def claim(out: Path, wanted: Mapping[str, Any]) -> None:
    """Make `out` the folder of this bench, or find that it is.

    Raises: BadInput when it holds another bench, or anything else.
    """
    file = out / "manifest.json"
    if not file.is_file():
        if any(not path.name.startswith(".") for path in out.iterdir()):
            raise BadInput(f"{out} holds something that is no bench: choose another --out")
        write_json(file, wanted)
        return
    with _shaped(file, "choose another --out"):
        difference = _difference(_manifest(out), wanted)
    if difference:
        raise BadInput(f"{out} holds a bench of {difference}: choose another --out")


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep `out` to this process, and make it where it is not there.

    Raises:
        BadInput: it can't be made.
        NightschoolError: another process benches there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} can't be a folder ({error.strerror}): choose another --out") from error
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise NightschoolError(f"another bench runs in {out}: wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def summarise(out: Path) -> dict[str, Any]:
    """Make `results.json` from the manifest and the nights' files, and return what is in it.

    Raises: BadInput when `out` holds no bench, or a night's file is missing, damaged or another bench's.
    """
    if not (out / "manifest.json").is_file():
        raise BadInput(f"{out} holds no bench: run one with --out {out}")
    known = _manifest(out)
    runs: dict[str, dict[str, Any]] = {}
    for arm in ARMS.values():
        names = [folder.name.removeprefix("seed-") for folder in (out / "runs" / arm.name).glob("seed-*")]
        nights = 1 if arm.at_once else known["nights"]
        lived = {
            str(seed): _lived(run_of(out, arm.name, seed), known, nights)
            for seed in sorted(int(name) for name in names if name.isdecimal())
        }
        lived = {seed: run for seed, run in lived.items() if run["nights"]}
        if lived:
            runs[arm.name] = lived
    results = {"manifest": known, "summary": figures.summary(runs, known), "runs": runs}
    write_json(out / "results.json", results)
    return results


def _lived(run: Run, known: Mapping[str, Any], nights: int) -> dict[str, Any]:
    """A run in `results.json`. Raises: BadInput when a night's file is missing, damaged or another bench's."""
    records = run.records()
    with _shaped(run.folder, "delete it, and it is run again"):
        for number, record in enumerate(records):
            if any(known["items"].keys() - record["answers"].get(column, {}).keys() for column in figures.COLUMNS):
                raise BadInput(f"night {number} of {run.folder} is another bench's: delete it, and it is run again")
        return figures.lived(records, known, nights) | {"public_sets": run.public_sets()}


def _manifest(out: Path) -> Any:
    return _read(out / "manifest.json", BENCH, "choose another --out")


@contextmanager
def _shaped(what: Path, instead: str) -> Iterator[None]:
    """Raises: BadInput for what is there but is of no shape that a bench writes, with what can be done `instead`."""
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        raise BadInput(f"{what} is of no shape that a bench writes ({error!r}): {instead}") from error


def _read(file: Path, fields: Sequence[str], instead: str) -> Any:
    """Raises: BadInput for a file without its `fields`, with what can be done `instead`."""
    try:
        found = json.loads(file.read_text("utf-8"))
        missing = [name for name in fields if not isinstance(found, dict) or name not in found]
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
    except ValueError as error:
        raise BadInput(f"{file} is damaged ({error}): {instead}") from error
    return found


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first thing in which two manifests differ and on which answers depend, in a few words."""

    def hashes(manifest: Mapping[str, Any]) -> list[str]:
        return [stream["sha256"] for stream in manifest["streams"]]

    def names(manifest: Mapping[str, Any]) -> str:
        return ", ".join(f"{stream['file']} {stream['sha256'][:8]}" for stream in manifest["streams"])

    if hashes(found) != hashes(wanted):
        return f"other streams ({names(found)}; now {names(wanted)})"
    if found["days"] != wanted["days"]:
        return f"{count(len(found['days']), 'day')} (now {len(wanted['days'])})"
    if found["nights"] != wanted["nights"]:
        return f"{count(found['nights'], 'night')} (now {wanted['nights']})"
    if found["model"]["sha256"] != wanted["model"]["sha256"]:
        return f"another model ({found['model']['id']}; now {wanted['model']['id']})"
    old, new = (_flat(manifest["settings"]) for manifest in (found, wanted))
    # A bench goes on under a later version: a setting that the earlier one did not know yet counts as its default.
    day = {name: Settings.model_fields[name].default for name in ANSWERING}
    known = _flat({**day, "night": as_json(NightSettings())})
    changed = [name for name in {**old, **new} if old.get(name, known.get(name)) != new.get(name)]
    if changed:
        name = changed[0]
        return f"other settings ({name} {str(old.get(name))[:40]}; now {str(new.get(name))[:40]})"
    return None


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The day's settings by their names, the night's with `night.` before theirs."""
    night = {f"night.{name}": value for name, value in settings["night"].items()}
    return {name: value for name, value in settings.items() if name != "night"} | night
