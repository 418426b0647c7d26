"""One attempt at a night's lessons: train from the base, examine at falling strengths, decide.

A night makes one, or one for each candidate (`training.candidates`), and some without a part of its lessons where it
fails (`training.bisect`). All of them share what is `Given`, and each leaves its stages in a folder of its own.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.engine import AdapterFiles
from assistant.local import check_adapter
from training import gate
from training.bisect import Try
from training.examples import Dialogue, Heard
from training.paper import Exam
from training.progress import Progress
from training.school import School
from training.settings import NightSettings
from training.stages import Finished, sync_tree
from training.syllabus import Syllabus, wanted_rows

AGAIN, PARTLY = "again", "without-"
"""How the folders begin, in an attempt's, of the same with another seed, and without some lessons."""


@dataclass(frozen=True)
class Given:
    """What every attempt of a night starts from and is measured against."""

    seed: int
    serving: AdapterFiles | None
    before: Exam
    replay: Sequence[Mapping[str, Any]]
    gain_needed: bool


@dataclass(frozen=True)
class Attempt:
    """An adapter that was trained on `syllabus` and examined: at every strength `sittings`, at its best `sitting`.

    `settings` and `seed` are those that it was trained with. `tries` are the nights that it took where it failed: with
    another seed, and without some lessons to find the ones that harm; `candidates` is what the report tells of the race
    that it won.
    """

    syllabus: Syllabus
    settings: NightSettings
    seed: int
    folder: Path
    trained: Mapping[str, Any]
    sittings: Sequence[Mapping[str, Any]]
    sitting: Mapping[str, Any]
    after: Exam
    verdict: gate.Verdict
    tries: tuple[Try, ...] = ()
    candidates: tuple[Mapping[str, Any], ...] = ()


def teach(
    school: School, syllabus: Syllabus, given: Given, done: Finished, stage: Callable[[str], Progress]
) -> Attempt:
    """Train, examine, and choose the strength. Raises: Diverged."""
    trained = done.once("train", lambda: _train(school, syllabus, given, done.folder, stage("train")))
    sittings = done.once("after", lambda: _examine(school, syllabus, given, done.folder, stage("after")))
    stage("decide")
    sitting, after, verdict = _decide(school, syllabus, given, sittings)
    return Attempt(syllabus, school.settings, given.seed, done.folder, trained, sittings, sitting, after, verdict)


def at_strength(folder: Path, scale: float) -> Path:
    """Where an attempt's adapter lies, scaled."""
    return folder / f"strength-{scale:g}"


def remove_weights(folder: Path, scales: Sequence[float]) -> None:
    """Take away all that attempts in a night's folder have trained; what they found out stays."""
    for tried in [folder, *(found for name in (AGAIN, PARTLY, "candidate-") for found in folder.rglob(f"{name}*"))]:
        for weights in (tried / "trained", *(at_strength(tried, scale) for scale in scales)):
            shutil.rmtree(weights, ignore_errors=True)


def _train(school: School, syllabus: Syllabus, given: Given, folder: Path, progress: Progress) -> Any:
    settings = school.settings
    taught = wanted_rows(
        syllabus.taught,
        rewordings=settings.rewordings,
        thinned=settings.thinned,
        system=school.system_prompt,
        contested=school.teacher.contested(syllabus.taught),
        unwanted=settings.preference != "none",
        reword=school.teacher.reword,
    )
    held = [Dialogue("replay", tuple(row["prompt"]), row["answer"], heard=Heard(*row["heard"])) for row in given.replay]
    start = given.serving if settings.continued else None
    if start is not None:
        check_adapter(start)
    target = folder / "trained"
    # What a killed run left half done; training starts over with the same seed, and ends with the same bytes.
    shutil.rmtree(target, ignore_errors=True)
    trained = school.teacher.train(
        [*taught, *held],
        settings,
        seed=given.seed,
        folder=target,
        progress=progress,
        start=start.path if start else None,
    )
    sync_tree(target)
    kinds = Counter(row.kind for row in taught)
    rows = {"wanted_rows": kinds["wanted"], "unwanted_rows": kinds["unwanted"], "replay_rows": len(held)}
    return asdict(trained) | rows


def _examine(school: School, syllabus: Syllabus, given: Given, folder: Path, progress: Progress) -> Any:
    """The paper as the adapter answers it at falling strengths: [{scale, sha256, exam}].

    Weaker ones are examined until one passes that knows all of tonight's lessons, or one knows no more of them than
    another that passes: what is weaker still has learned less.
    """
    scales, sittings, best = sorted(school.settings.scales, reverse=True), [], None
    for i, scale in enumerate(scales):
        target = at_strength(folder, scale)
        sha256 = school.teacher.scale(folder / "trained", target, scale)
        sync_tree(target)

        def part(share: float, detail: str, i: int = i, scale: float = scale) -> None:
            progress((i + share) / len(scales), f"strength {scale:g}: {detail}")

        files = AdapterFiles(f"candidate at {scale:g}", sha256, target)
        exam = school.teacher.sit(syllabus.paper, files, progress=part)
        sittings.append({"scale": scale, "sha256": sha256, "exam": exam.as_json()})
        verdict = _judge(school, syllabus, given, exam)
        if gate.learned_all(verdict) or (best and _learned(verdict) <= _learned(best)):
            break
        best = verdict if verdict.promote else best
    return sittings


def _decide(
    school: School, syllabus: Syllabus, given: Given, sittings: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], Exam, gate.Verdict]:
    """The strength to publish: of those that pass the gate the one that learned most corrections, then the strongest,
    which knows the lessons best in words that no exam has (docs/LOG.md); where none passes, the one that comes nearest.
    """
    judged = []
    for sitting in sittings:
        after = Exam.from_json(sitting["exam"])
        judged.append((sitting, after, _judge(school, syllabus, given, after)))
    passing = [found for found in judged if found[2].promote]
    if passing:
        # Of equals the first, and they fall.
        return max(passing, key=lambda found: _learned(found[2]))
    return max(judged, key=lambda found: gate.merit(found[2]))


def _learned(verdict: gate.Verdict) -> int:
    # Whether a shorter answer says what was liked no exam can tell: that must not choose.
    return verdict.tallies["corrected"].after


def _judge(school: School, syllabus: Syllabus, given: Given, after: Exam) -> gate.Verdict:
    return gate.decide(syllabus.paper, given.before, after, school.settings, gain_needed=given.gain_needed)
