"""An adapter's folder: whether its files are the ones that were published."""

from __future__ import annotations

import json

from assistant.engine import AdapterFiles
from assistant.models import sha256_of
from memory.errors import ModelUnavailable

WEIGHTS_FILE = "adapter_model.safetensors"
"""The file of an adapter folder whose sha256 is the adapter's."""

MANIFEST = "manifest.json"
"""The file of a published adapter's folder that holds the sha256 of each of the others."""


def check_adapter(adapter: AdapterFiles) -> None:
    """Whether its files are whole: the weights as the ledger knows them, the others as the manifest does, which a
    candidate that was not published yet does not have.

    Raises: ModelUnavailable when one is missing or not the one that was published.
    """
    file = adapter.path / WEIGHTS_FILE
    if not file.is_file():
        raise ModelUnavailable(
            f"adapter {adapter.version} has no {WEIGHTS_FILE} in {adapter.path}: roll back to another version"
        )
    found = sha256_of(file)
    if found != adapter.sha256:
        raise ModelUnavailable(
            f"adapter {adapter.version} is damaged (sha256 {found[:12]}…, published {adapter.sha256[:12]}…):"
            " roll back to another version"
        )
    for name, published in _manifest(adapter).items():
        if not (adapter.path / name).is_file() or sha256_of(adapter.path / name) != published:
            raise ModelUnavailable(
                f"adapter {adapter.version} is damaged ({name} is not the one that was published):"
                " roll back to another version"
            )


def _manifest(adapter: AdapterFiles) -> dict[str, str]:
    """File name → its sha256."""
    try:
        content = json.loads((adapter.path / MANIFEST).read_bytes())
        return {str(name): str(published) for name, published in content["sha256"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            f"adapter {adapter.version} is damaged ({MANIFEST} can't be read): roll back to another version"
        ) from error
