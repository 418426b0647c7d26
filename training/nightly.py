"""One night: collect → examine → replay → train → examine → decide → (bisect) → publish. Read `night_school` first.

Each stage leaves a file in the night's folder, and nothing that the day can see changes before the last transaction.
So a night may be killed at any instant: the old adapter serves on, and the next night goes on from the last stage
that finished. The story knows the model only as a `Teacher`, the gate only as a function, and the day only through
the ledger.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from assistant.engine import AdapterFiles
from assistant.forgetting import withdraw_versions
from assistant.local import check_adapter
from assistant.turn import adapter_files, adapter_folder
from memory.errors import NotRemembered
from memory.ledger import Ledger
from memory.records import BASE, Adapter, AdapterState, LessonState, Night, NightStatus
from training import bisect, gate, outcome, report
from training.clean import Decision
from training.examples import Dialogue
from training.lease import heartbeat
from training.lessons import in_force as lessons_in_force
from training.outcome import Outcome
from training.paper import Exam, Item, pushback_items
from training.progress import Progress
from training.publish import place
from training.settings import NightSettings, as_json
from training.stages import Finished, sync_tree, write_text
from training.syllabus import Syllabus, collect, stored_questions, wanted_rows
from training.teacher import Diverged, Teacher

SHARES = {
    "collect": 0.02,
    "before": 0.12,
    "replay": 0.10,
    "train": 0.40,
    "after": 0.33,
    "decide": 0.01,
    "bisect": 0.01,
    "publish": 0.01,
}
"""The stages in their order, and how much of a night each takes; `bisect` takes time only where a night fails."""

Tell = Callable[[str, float, str], None]
"""Called with (stage, share of the whole night done in [0, 1], a few words)."""


@dataclass(frozen=True)
class School:
    """The collaborators of a night. `holder` names this process in the lease."""

    home: Path
    ledger: Ledger
    teacher: Teacher
    settings: NightSettings
    system_prompt: str
    key: bytes
    clock: Callable[[], datetime]
    holder: str
    tell: Tell = lambda stage, share, detail: None


def night_school(school: School, night: Night) -> Outcome:
    """Teach and examine one night's lessons, and say what shall change. Nothing that serves has changed yet.

    Raises: whatever a stage raises; `run` turns it into an outcome.
    """
    stage = _Stages(school, night)
    active = _active(school)
    serving = adapter_files(school.home, active) if active else None

    stage("collect")
    syllabus = _collect(school, night.seed)
    nothing = _nothing_to_learn(school, syllabus, active, night)
    if nothing:
        return nothing
    done = Finished(_folder(school, night), [syllabus.identity, active.sha256 if active else BASE])

    before = Exam.from_json(done.once("before", lambda: _before(school, syllabus, serving, stage("before"))))
    syllabus = replace(syllabus, paper=(*syllabus.paper, *_pushbacks(school, syllabus, before)))
    replay = done.once("replay", lambda: _replay(school, night, syllabus, stage("replay")))
    given = _Given(night, serving, before, replay, gain_needed=not _taken_back(school, active))
    try:
        candidate = _teach(school, syllabus, given, done, stage)
    except Diverged as error:
        known = school.ledger.lessons()
        return outcome.rejected(syllabus, [f"training diverged: {error}"], known, night, school.clock())
    candidate = _without_culprits(school, candidate, given, stage("bisect"))

    stage("publish")
    adapter = _publish(school, night, candidate)
    syllabus, verdict, known = candidate.syllabus, candidate.verdict, school.ledger.lessons()
    facts = _facts(candidate, given)
    if verdict.promote:
        facts["graduated"] = outcome.graduated(syllabus, candidate.after, school.teacher.tokens)
        return outcome.promoted(syllabus, adapter, candidate.after, facts, known, night)
    return outcome.rejected(syllabus, verdict.reasons, known, night, adapter.created_at, adapter=adapter, facts=facts)


def run(school: School, night_id: str, *, seed: int) -> Night:
    """Hold the lease, teach the night, and write its end in one transaction. Every night ends with a reason.

    Raises:
        AlreadyRunning: another process holds a night.
        NotFound: no such night.
    """
    ttl = timedelta(seconds=school.settings.lease_seconds)
    ledger, at = school.ledger, school.clock()
    night = ledger.begin_night(
        night_id, holder=school.holder, at=at, ttl=ttl, seed=seed, settings=as_json(school.settings)
    )
    with heartbeat(ledger, night_id, school.holder, clock=school.clock, ttl=ttl) as check:
        try:
            ended = night_school(_watched(school, check), night)
        except KeyboardInterrupt:
            return _stopped(school, night.id)
        except Exception as error:
            # Whatever broke, the day goes on with what it had, the lessons stay as they are, and the night says why.
            with suppress(OSError):
                write_text(_folder(school, night) / "error.txt", traceback.format_exc())
            lines = str(error).strip().splitlines() or ["no more is known"]
            ended = Outcome(NightStatus.FAILED, (f"{type(error).__name__}: {lines[0]}",))
        check()
        return _end(school, night.id, _never_serving_what_was_taken_back(school, ended))


def preview(school: School, *, seed: int) -> Syllabus:
    """What a night would teach now, without holding, training or changing anything."""
    return _collect(school, seed)


# ---------------------------------------------------------------------- the stages


@dataclass(frozen=True)
class _Given:
    """What every training of a night starts from and is measured against."""

    night: Night
    serving: AdapterFiles | None
    before: Exam
    replay: Sequence[Any]
    gain_needed: bool


@dataclass(frozen=True)
class _Candidate:
    """An adapter that was trained on `syllabus` and examined: at every strength `sittings`, at its best `sitting`."""

    syllabus: Syllabus
    folder: Path
    trained: Mapping[str, Any]
    sittings: Sequence[Mapping[str, Any]]
    sitting: Mapping[str, Any]
    after: Exam
    verdict: gate.Verdict
    tries: tuple[bisect.Try, ...] = ()


class _Stages:
    """Announces a stage and gives its share of the progress bar: `stage("train")` → a `Progress` for that stage."""

    def __init__(self, school: School, night: Night) -> None:
        self._school, self._night = school, night
        self._last: datetime | None = None

    def __call__(self, name: str) -> Progress:
        names = list(SHARES)
        begins = sum(SHARES[earlier] for earlier in names[: names.index(name)])
        self._last = None

        def progress(share: float, detail: str) -> None:
            now, whole = self._school.clock(), begins + SHARES[name] * share
            self._school.tell(name, whole, detail)
            # The page looks once a second; a row for each training step would only wear the disk.
            if self._last is None or now - self._last >= timedelta(seconds=1):
                # A disk that is full for a moment costs the page a look, not the night its work.
                with suppress(NotRemembered):
                    self._school.ledger.night_progress(self._night.id, stage=name, progress=whole, detail=detail)
                self._last = now

        progress(0.0, "")
        return progress


def _collect(school: School, seed: int) -> Syllabus:
    syllabus = collect(
        school.ledger, school.teacher, school.settings, key=school.key, system=school.system_prompt, seed=seed
    )
    return bisect.leave_out(syllabus, bisect.blamed(school.ledger.lessons(states=[LessonState.REJECTED])))


def _nothing_to_learn(school: School, syllabus: Syllabus, active: Adapter | None, night: Night) -> Outcome | None:
    """The night's end, where it could change nothing: no lessons, or the very ones that were tried already."""
    known, at = school.ledger.lessons(), school.clock()
    in_force = {lesson.id for lesson in syllabus.kept} | set(syllabus.dropped)
    if active is not None and not syllabus.kept and in_force.isdisjoint(active.exam.get("lessons", ())):
        return outcome.all_taken_back(syllabus, active, known, night, at)
    if not syllabus.kept:
        out = f" ({len(syllabus.dropped)} left out, each with its reason)" if syllabus.dropped else ""
        why = f"nothing to learn, because no rating says what a better answer would be{out}"
        return outcome.idle(syllabus, why, known, night, at)
    if active is not None and active.exam.get("syllabus") == syllabus.identity:
        why = f"nothing to learn, because no rating has changed since {active.version} was trained"
        return outcome.idle(syllabus, why, known, night, at)
    # What was taken back must not serve on: then lessons that made a version before make it again.
    tried = [] if _taken_back(school, active) else school.ledger.adapters()
    for adapter in tried:
        if adapter.exam.get("syllabus") == syllabus.identity:
            what = f"{adapter.version}, which is {adapter.state} ({adapter.reason})"
            return outcome.idle(syllabus, f"nothing to learn, because the same lessons made {what}", known, night, at)
    return None


def _active(school: School) -> Adapter | None:
    """The version that serves, unless it belongs to another model than the one that is taught."""
    active = school.ledger.active_adapter()
    return active if active and active.model_id == school.teacher.model_id else None


def _taken_back(school: School, active: Adapter | None) -> bool:
    """Whether the version that serves was trained on a lesson that was undone since."""
    if active is None:
        return False
    return not set(active.exam.get("lessons", ())) <= {lesson.id for lesson in lessons_in_force(school.ledger)}


def _never_serving_what_was_taken_back(school: School, ended: Outcome) -> Outcome:
    """A rejected night leaves the old version serving, unless that one holds what was undone: then the base."""
    active = _active(school)
    if ended.status is not NightStatus.REJECTED or active is None or not _taken_back(school, active):
        return ended
    why = f"{active.version} was trained on what was taken back since: the base serves until a night passes"
    return replace(ended, reasons=(why, *ended.reasons), back_to_base=True)


def _before(school: School, syllabus: Syllabus, serving: AdapterFiles | None, progress: Progress) -> Any:
    """The paper before tonight: lessons as the serving version answers them, controls and prose as the base does.

    Measured against last night's version, a little damage a night would pass every night.
    """

    def sit(items: Sequence[Item], version: AdapterFiles | None, begins: float, ends: float) -> Exam:
        def part(share: float, detail: str) -> None:
            progress(begins + (ends - begins) * share, detail)

        return school.teacher.sit(items, version, progress=part)

    if serving is None:
        exam = base = sit(syllabus.paper, None, 0, 0.9)
    else:
        served = sit([item for item in syllabus.paper if item.kind != "control"], serving, 0, 0.45)
        base = sit([item for item in syllabus.paper if item.kind == "control"], None, 0.45, 0.9)
        exam = replace(served.joined(base), perplexity=base.perplexity)
    pushbacks = _pushbacks(school, syllabus, base)
    return (exam.joined(sit(pushbacks, None, 0.9, 1)) if pushbacks else exam).as_json()


def _pushbacks(school: School, syllabus: Syllabus, base: Exam) -> list[Item]:
    return pushback_items(syllabus.paper, base, school.settings.pushbacks)


def _replay(school: School, night: Night, syllabus: Syllabus, progress: Progress) -> Any:
    stored = stored_questions(school.ledger)
    rows = school.teacher.replay(syllabus.kept, stored, seed=night.seed, progress=progress)
    return [{"prompt": list(row.prompt), "answer": row.answer} for row in rows]


def _teach(
    school: School, syllabus: Syllabus, given: _Given, done: Finished, stage: Callable[[str], Progress]
) -> _Candidate:
    """Train, examine, and choose the strength. Raises: Diverged."""
    trained = done.once("train", lambda: _train(school, syllabus, given, done.folder, stage("train")))
    sittings = done.once("after", lambda: _examine(school, syllabus, given.before, done.folder, stage("after")))
    stage("decide")
    sitting, after, verdict = _decide(school, syllabus, given.before, sittings, gain_needed=given.gain_needed)
    return _Candidate(syllabus, done.folder, trained, sittings, sitting, after, verdict)


def _train(school: School, syllabus: Syllabus, given: _Given, folder: Path, progress: Progress) -> Any:
    settings = school.settings
    taught = wanted_rows(
        syllabus.taught,
        rewordings=settings.rewordings,
        system=school.system_prompt,
        unwanted=settings.preference != "none",
    )
    held = [Dialogue("replay", tuple(row["prompt"]), row["answer"]) for row in given.replay]
    start = given.serving if settings.continued else None
    if start is not None:
        check_adapter(start)
    target = folder / "trained"
    # What a killed run left half done; training starts over with the same seed, and ends with the same bytes.
    shutil.rmtree(target, ignore_errors=True)
    trained = school.teacher.train(
        [*taught, *held], seed=given.night.seed, folder=target, progress=progress, start=start.path if start else None
    )
    sync_tree(target)
    kinds = Counter(row.kind for row in taught)
    rows = {"wanted_rows": kinds["wanted"], "unwanted_rows": kinds["unwanted"], "replay_rows": len(held)}
    return asdict(trained) | rows


def _examine(school: School, syllabus: Syllabus, before: Exam, folder: Path, progress: Progress) -> Any:
    """The paper as the adapter answers it at falling strengths, until nothing is lost: [{scale, sha256, exam}]."""
    scales, sittings = school.settings.scales, []
    for i, scale in enumerate(scales):
        target = _at_strength(folder, scale)
        sha256 = school.teacher.scale(folder / "trained", target, scale)
        sync_tree(target)

        def part(share: float, detail: str, i: int = i, scale: float = scale) -> None:
            progress((i + share) / len(scales), f"strength {scale:g}: {detail}")

        files = AdapterFiles(f"candidate at {scale:g}", sha256, target)
        exam = school.teacher.sit(syllabus.paper, files, progress=part)
        sittings.append({"scale": scale, "sha256": sha256, "exam": exam.as_json()})
        if gate.flawless(gate.decide(syllabus.paper, before, exam, school.settings)):
            break
    return sittings


def _decide(
    school: School, syllabus: Syllabus, before: Exam, sittings: Sequence[Mapping[str, Any]], *, gain_needed: bool
) -> tuple[Mapping[str, Any], Exam, gate.Verdict]:
    """The strength to publish: of those that pass the gate the one that learned most, then the one that kept most."""
    judged = []
    for sitting in sittings:
        after = Exam.from_json(sitting["exam"])
        verdict = gate.decide(syllabus.paper, before, after, school.settings, gain_needed=gain_needed)
        judged.append((sitting, after, verdict))
    return max(judged, key=lambda found: gate.merit(found[2]))


def _without_culprits(school: School, whole: _Candidate, given: _Given, progress: Progress) -> _Candidate:
    """Where a night harms: the best that passes without the lessons that make it fail, or the same, if none is found.

    Each try is a night without some lessons, on the same paper but for theirs, and leaves its own stages in a folder of
    its own.
    """
    limit = timedelta(minutes=school.settings.bisect_minutes)
    tonight = [lesson.id for lesson in whole.syllabus.tonight]
    if whole.verdict.promote or not whole.verdict.harm or len(tonight) < 2 or not limit:
        return whole
    tried: dict[tuple[str, ...], _Candidate] = {}
    began = school.clock()

    def time_left() -> bool:
        # The next try takes as long as those before it, and the first about as long as the night's training.
        spent = school.clock() - began
        return spent + (spent / len(tried) if tried else timedelta(seconds=whole.trained["seconds"])) <= limit

    def try_without(out: tuple[str, ...]) -> gate.Verdict:
        def part(_: float, detail: str) -> None:
            progress(0, f"without {len(out)} of {len(tonight)} lessons: {detail}")

        waiting = dict.fromkeys(out, Decision(LessonState.QUEUED, "left out to see whether the night passes"))
        syllabus = bisect.leave_out(whole.syllabus, waiting)
        name = hashlib.sha256(" ".join(out).encode()).hexdigest()[:12]
        done = Finished(whole.folder / f"without-{name}", syllabus.identity)
        try:
            tried[out] = _teach(school, syllabus, given, done, lambda _: part)
        except Diverged as error:
            tried[out] = replace(whole, verdict=gate.Verdict(False, (f"training diverged: {error}",), {}, math.inf))
        return tried[out].verdict

    found = bisect.find(tonight, try_without, time_left=time_left)
    why, told = whole.verdict.harm[0], found.told(len(tonight))
    best = replace(tried[found.without], syllabus=whole.syllabus) if found.without else whole
    return replace(
        best,
        syllabus=bisect.leave_out(whole.syllabus, found.decisions(why)),
        verdict=replace(best.verdict, reasons=(*best.verdict.reasons, told)),
        tries=found.tries,
    )


def _facts(candidate: _Candidate, given: _Given) -> dict[str, Any]:
    return outcome.facts(
        candidate.syllabus,
        given.before,
        candidate.after,
        candidate.verdict,
        trained=candidate.trained,
        replay=given.replay,
        strength=candidate.sitting["scale"],
        strengths=[sitting["scale"] for sitting in candidate.sittings],
        tries=candidate.tries,
    )


def _publish(school: School, night: Night, candidate: _Candidate) -> Adapter:
    """The adapter under its version's name: with its files in place if it shall serve, on record if it failed."""
    version, syllabus = school.ledger.name_adapter(night.id), candidate.syllabus
    sitting, verdict = candidate.sitting, candidate.verdict
    if verdict.promote:
        facts = {"night": night.id, "model": school.teacher.model_id, "strength": sitting["scale"]}
        target = adapter_folder(school.home, version)
        place(_at_strength(candidate.folder, sitting["scale"]), target, facts)
        # What was examined is what serves: a file that changed since must not.
        check_adapter(AdapterFiles(version, sitting["sha256"], target))
    return Adapter(
        version=version,
        sha256=sitting["sha256"],
        state=AdapterState.ACTIVE if verdict.promote else AdapterState.REJECTED,
        night_id=night.id,
        model_id=school.teacher.model_id,
        created_at=school.clock(),
        reason="; ".join(verdict.reasons),
        scale=sitting["scale"],
        exam=verdict.as_json() | {"syllabus": syllabus.identity, "lessons": [x.id for x in syllabus.kept]},
    )


# ---------------------------------------------------------------------- the end


def _end(school: School, night_id: str, ended: Outcome) -> Night:
    """Write the report, then everything else in one transaction."""
    night, at = school.ledger.night(night_id), school.clock()
    folder, written = _folder(school, night), True
    try:
        report.write(folder, night, ended, lessons=school.ledger.lessons(), at=at)
    except OSError as error:
        ended, written = Outcome(NightStatus.FAILED, (f"its report can't be written: {error}",)), False
    night = school.ledger.end_night(
        night_id,
        holder=school.holder,
        status=ended.status,
        reasons=ended.reasons,
        at=at,
        report=str(folder) if written else None,
        adapter=ended.adapter,
        back_to_base=ended.back_to_base,
        lessons=ended.lessons,
    )
    # Versions that were trained on what was forgotten since; the one that served until now may be among them.
    withdraw_versions(school.ledger, school.home)
    # Published or on record; the weights themselves come out of the same seed again.
    for tried in (folder, *folder.glob("without-*")):
        for weights in (tried / "trained", *(_at_strength(tried, scale) for scale in school.settings.scales)):
            shutil.rmtree(weights, ignore_errors=True)
    return night


def _stopped(school: School, night_id: str) -> Night:
    stage = school.ledger.night(night_id).stage
    why = f"it was stopped by hand in stage '{stage}'; the next night goes on from there"
    status, at = NightStatus.FAILED, school.clock()
    return school.ledger.end_night(night_id, holder=school.holder, status=status, reasons=[why], at=at, resumable=True)


def _watched(school: School, check: Callable[[], None]) -> School:
    """The same school, whose night ends at its next progress once the lease is lost."""

    def tell(stage: str, share: float, detail: str) -> None:
        check()
        school.tell(stage, share, detail)

    return replace(school, tell=tell)


def _folder(school: School, night: Night) -> Path:
    return school.home / "nights" / night.id


def _at_strength(folder: Path, scale: float) -> Path:
    return folder / f"strength-{scale:g}"
