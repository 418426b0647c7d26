"""Public sets after a run: the base and what serves in the end, asked the same questions.

Each version is asked once in a bench, whichever runs it serves in; what it said lies in OUT/public-sets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.engine import AdapterFiles
from memory.records import BASE
from training.progress import Progress
from training.public_sets import Question, Scores, compared
from training.stages import write_json


@dataclass(frozen=True)
class PublicSets:
    """The questions by set, and how a version (None: the base) is asked all of them."""

    questions: Mapping[str, Sequence[Question]]
    score: Callable[[AdapterFiles | None, Progress], Scores]

    def examine(self, serves: AdapterFiles | None, folder: Path, progress: Progress) -> dict[str, object]:
        """What a run's record keeps: see `public_sets.compared`. `folder` holds what versions have said so far."""
        before = self._once(None, folder, lambda share, told: progress(share / 2, f"the base, {told}"))
        after = self._once(serves, folder, lambda share, told: progress((1 + share) / 2, f"what serves, {told}"))
        version, sha256 = (serves.version, serves.sha256) if serves else (BASE, None)
        return {"adapter": version, "adapter_sha256": sha256, "sets": compared(self.questions, before, after)}

    def _once(self, version: AdapterFiles | None, folder: Path, progress: Progress) -> Scores:
        file = folder / f"{version.sha256[:16] if version else BASE}.json"
        try:
            known: Scores = json.loads(file.read_text("utf-8"))
            if {name: {x.id for x in asked} for name, asked in self.questions.items()} == {
                name: set(scores) for name, scores in known.items()
            }:
                return known
        except (OSError, ValueError, AttributeError):
            pass  # not asked yet, or damaged, which is as good as none
        found = self.score(version, progress)
        write_json(file, found)
        return found
