"""One night: collect → examine → replay → train → examine → decide → (bisect) → publish. Read `night_school` first.

Each stage leaves a file in the night's folder, and nothing that the day can see changes before the last transaction.
So a night may be killed at any instant: the old adapter serves on, and the next night goes on from the last stage
that finished. The story knows the model only as a `Teacher`, the gate only as a function, and the day only through
the ledger.
"""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from assistant.engine import AdapterFiles
from assistant.forgetting import withdraw_versions
from assistant.local import check_adapter
from assistant.turn import adapter_files, adapter_folder
from memory.errors import ForgottenMeanwhile, NotRemembered
from memory.records import BASE, Adapter, AdapterState, Lesson, LessonState, Night, NightStatus
from training import bisect, gate, outcome, report
from training.attempt import AGAIN, PARTLY, Attempt, Given, at_strength, remove_weights, teach
from training.bisect import Found, Try
from training.candidates import race
from training.clean import Decision
from training.lease import heartbeat
from training.lessons import all_in_force
from training.outcome import Outcome
from training.paper import GENERAL, Exam, Item, pushback_items
from training.progress import Progress
from training.publish import place
from training.school import School, Tell
from training.settings import as_json
from training.stages import Finished, write_text
from training.syllabus import Syllabus, collect, stored_questions
from training.teacher import Diverged
from training.watch import Watch, look, settle

__all__ = ["SHARES", "School", "Tell", "night_school", "preview", "run"]

BEGINS = 5
"""How often a night begins anew where something is forgotten while it runs."""

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
"""The stages in their order, and how much of a night each takes; `bisect` takes time only where a night fails. Further
candidates are a stage of their own after `decide`, each as long as `train` and `after` together.
"""


def night_school(school: School, asked: Night) -> Outcome:
    """Teach and examine one night's lessons, and say what shall change. Nothing that serves has changed yet.

    Raises: whatever a stage raises; `run` turns it into an outcome.
    """
    stage, active = _Stages(school, asked), _active(school)
    anew = _anew(school, active)
    serving = adapter_files(school.home, active) if active and not anew else None

    stage("collect")
    watch = look(school, active)
    night, syllabus, nothing = _tonight(school, asked, active, watch, anew=anew)
    if nothing:
        return settle(school, watch, nothing, stage("publish"))
    inputs = [syllabus.identity, serving.sha256 if serving else BASE]
    done = Finished(_folder(school, night), inputs, school.writing)

    before = Exam.from_json(done.once("before", lambda: _before(school, syllabus, serving, stage("before"))))
    known, at = school.ledger.lessons_named([x.id for x in syllabus.kept]), school.clock()
    again = outcome.asked_again(syllabus, before, None if anew else active, known, night, at)
    syllabus = replace(syllabus, paper=(*syllabus.paper, *_pushbacks(school, syllabus, before)))
    watch = watch and (watch if anew else watch.examined(school, syllabus, before))
    replay = done.once("replay", lambda: _replay(school, night, syllabus, stage("replay")))
    must_go = not anew and _taken_back(school, active)
    given = Given(night.seed, serving, before, replay, gain_needed=not must_go and night.seed == asked.seed)
    try:
        attempt = race(school, night, syllabus, given, done, stage)
    except Diverged as error:
        why, left_out = f"training diverged: {error}", _left_out(school, syllabus)
        ended = outcome.rejected(syllabus, [why], left_out, night, school.clock())
        return settle(school, watch, ended.after(again), stage("publish"))
    attempt = _mended(school, attempt, given, stage("bisect"))

    stage("publish")
    return settle(school, watch, _publish(school, night, attempt, given).after(again), stage("publish"))


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
        for _ in range(BEGINS):
            school.writing.begin()
            # Where somebody had something forgotten that this night may hold, it begins anew, without that.
            with suppress(ForgottenMeanwhile):
                try:
                    ended = _taught(school, night, check)
                except KeyboardInterrupt:
                    return _stopped(school, night.id)
                return _end(school, night.id, _never_serving_what_was_taken_back(school, ended))
        why = f"things were forgotten {BEGINS} times while it ran: ask for another when that is done"
        school.writing.begin()
        return _end(school, night.id, Outcome(NightStatus.FAILED, (why,)))


def _taught(school: School, night: Night, check: Callable[[], None]) -> Outcome:
    """What the night comes to, be it that something broke. Raises: ForgottenMeanwhile, LeaseLost."""
    try:
        ended = night_school(_watched(school, check), night)
    except ForgottenMeanwhile:
        raise
    except Exception as error:
        # Whatever broke, the day goes on with what it had, the lessons stay as they are, and the night says why.
        with suppress(OSError), school.writing():
            write_text(_folder(school, night) / "error.txt", traceback.format_exc())
        lines = str(error).strip().splitlines() or ["no more is known"]
        ended = Outcome(NightStatus.FAILED, (f"{type(error).__name__}: {lines[0]}",))
    check()
    return ended


def preview(school: School, *, seed: int) -> Syllabus:
    """What a night would teach now, without holding, training or changing anything."""
    return _collect(school, seed, anew=_anew(school, _active(school)))


# ---------------------------------------------------------------------- the stages


class _Stages:
    """Announces a stage and gives its share of the progress bar: `stage("train")` → a `Progress` for that stage."""

    def __init__(self, school: School, night: Night) -> None:
        self._school, self._night = school, night
        self._last: datetime | None = None
        more = (school.settings.candidates - 1) * (SHARES["train"] + SHARES["after"])
        shares: dict[str, float] = {}
        for name, share in SHARES.items():
            shares[name] = share / (1 + more)
            if name == "decide":
                shares["candidates"] = more / (1 + more)
        self._shares = shares

    def __call__(self, name: str) -> Progress:
        names = list(self._shares)
        begins = sum(self._shares[earlier] for earlier in names[: names.index(name)])
        self._last = None

        def progress(share: float, detail: str) -> None:
            now, whole = self._school.clock(), begins + self._shares[name] * share
            self._school.tell(name, whole, detail)
            # The page looks once a second; a row for each training step would only wear the disk.
            if self._last is None or now - self._last >= timedelta(seconds=1):
                # A disk that is full for a moment costs the page a look, not the night its work.
                with suppress(NotRemembered):
                    self._school.ledger.night_progress(self._night.id, stage=name, progress=whole, detail=detail)
                self._last = now

        progress(0.0, "")
        return progress


def _collect(school: School, seed: int, *, anew: bool) -> Syllabus:
    syllabus = collect(
        school.ledger,
        school.teacher,
        school.settings,
        key=school.key,
        system=school.system_prompt,
        seed=seed,
        anew=anew,
    )
    return syllabus if anew else _without_the_blamed(school, syllabus)


def _without_the_blamed(school: School, syllabus: Syllabus) -> Syllabus:
    return bisect.leave_out(syllabus, bisect.blamed(school.ledger.lessons(states=[LessonState.REJECTED])))


def _left_out(school: School, syllabus: Syllabus) -> Mapping[str, Lesson]:
    """What the ledger says now of the lessons that have no place in this night."""
    return school.ledger.lessons_named(syllabus.dropped)


def _nothing_to_learn(school: School, syllabus: Syllabus, active: Adapter | None, night: Night) -> Outcome | None:
    """The night's end, where it could change nothing: no lessons, or the very ones that were tried already."""
    known, at = _left_out(school, syllabus), school.clock()
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
    # A night that begins anew would find out once more whom to leave out.
    same = {syllabus.identity, _without_the_blamed(school, syllabus).identity}
    for adapter in tried:
        if adapter.exam.get("syllabus") in same:
            what = f"{adapter.version}, which is {adapter.state} ({adapter.reason})"
            return outcome.idle(syllabus, f"nothing to learn, because the same lessons made {what}", known, night, at)
    return None


def _tonight(
    school: School, asked: Night, active: Adapter | None, watch: Watch | None, *, anew: bool
) -> tuple[Night, Syllabus, Outcome | None]:
    """The night with the seed that it runs with, what it teaches, and its end where it could change nothing.

    Where nothing is new, but the version that serves has drifted, the next seed is taken that its lessons have not been
    tried with.
    """
    syllabus = _collect(school, asked.seed, anew=anew)
    nothing = _nothing_to_learn(school, syllabus, active, asked)
    if nothing and watch and watch.acts and syllabus.kept:
        for more in range(1, school.settings.drift_retrains + 1):
            night = replace(asked, seed=(asked.seed + more) % 2**31)
            again = _collect(school, night.seed, anew=anew)
            if _nothing_to_learn(school, again, active, night) is None:
                return night, again, None
    return asked, syllabus, nothing


def _active(school: School) -> Adapter | None:
    """The version that serves, unless it belongs to another model than the one that is taught."""
    active = school.ledger.active_adapter()
    return active if active and active.model_id == school.teacher.model_id else None


def _taken_back(school: School, active: Adapter | None) -> bool:
    """Whether the version that serves was trained on a lesson that was undone since."""
    if active is None:
        return False
    return not all_in_force(school.ledger, active.exam.get("lessons", ()))


def _anew(school: School, active: Adapter | None) -> bool:
    """Whether tonight's lessons are taught as if no night had been: what nights have found out is no word on them where
    it was beside something that was taken back since, or where nothing serves that they were found in. One that goes
    on from the version that serves can't begin anew.
    """
    if school.settings.continued:
        return False
    if active is None:
        return bool(school.ledger.adapters()) and LessonState.VERIFIED in school.ledger.lesson_counts()
    return _taken_back(school, active)


def _never_serving_what_was_taken_back(school: School, ended: Outcome) -> Outcome:
    """A night that publishes nothing leaves the old version serving, unless that one holds what was undone: then the
    base.
    """
    active = _active(school)
    kept = ended.status in (NightStatus.REJECTED, NightStatus.NOTHING_TO_LEARN) and not ended.back_to
    if not (kept and active and _taken_back(school, active)):
        return ended
    why = f"{active.version} was trained on what was taken back since: the base serves until a night passes"
    return replace(ended, reasons=(why, *ended.reasons), back_to=BASE)


def _before(school: School, syllabus: Syllabus, serving: AdapterFiles | None, progress: Progress) -> Any:
    """The paper before tonight: lessons as the version `serving` answers them, controls and prose as the base does.

    Measured against last night's version, a little damage a night would pass every night.
    """

    def sit(items: Sequence[Item], version: AdapterFiles | None, begins: float, ends: float) -> Exam:
        def part(share: float, detail: str) -> None:
            progress(begins + (ends - begins) * share, detail)

        return school.teacher.sit(items, version, progress=part)

    if serving is None:
        exam = base = sit(syllabus.paper, None, 0, 0.9)
    else:
        served = sit([item for item in syllabus.paper if item.kind not in GENERAL], serving, 0, 0.45)
        base = sit([item for item in syllabus.paper if item.kind in GENERAL], None, 0.45, 0.9)
        exam = replace(served.joined(base), perplexity=base.perplexity)
    pushbacks = _pushbacks(school, syllabus, base)
    return (exam.joined(sit(pushbacks, None, 0.9, 1)) if pushbacks else exam).as_json()


def _pushbacks(school: School, syllabus: Syllabus, base: Exam) -> list[Item]:
    return pushback_items(syllabus.paper, base, school.settings.pushbacks)


def _replay(school: School, night: Night, syllabus: Syllabus, progress: Progress) -> Any:
    stored = stored_questions(school.ledger)
    rows = school.teacher.replay(syllabus.kept, stored, seed=night.seed, progress=progress)
    return [{"prompt": list(row.prompt), "answer": row.answer, "heard": row.heard} for row in rows]


def _mended(school: School, whole: Attempt, given: Given, progress: Progress) -> Attempt:
    """Where a night harms: the same with another seed, or else the best that passes without the lessons that make it
    fail, or the same, if none is found.

    What a seed mends was chance, and no lesson is to blame for it. Each try is a night on the same paper but for the
    lessons that it leaves out, and has its own stages in a folder of its own.
    """
    school, given = replace(school, settings=whole.settings), replace(given, seed=whole.seed)
    limit = timedelta(minutes=school.settings.bisect_minutes)
    held = gate.held_lessons(whole.syllabus.paper, given.before)
    # What is only held is no suspect: left out, it would be missed by nobody, and the night pass for that.
    tonight = [lesson.id for lesson in whole.syllabus.tonight if lesson.id not in held]
    if whole.verdict.promote or not whole.verdict.harm or not limit:
        return whole
    tried: dict[tuple[str, ...], Attempt] = {}
    began = school.clock()

    def time_left() -> bool:
        # The next try takes as long as those before it, and the first about as long as the night's training.
        spent = school.clock() - began
        return spent + (spent / len(tried) if tried else timedelta(seconds=whole.trained["seconds"])) <= limit

    def try_it(out: tuple[str, ...], given: Given, folder: str) -> gate.Verdict:
        what = f"without {len(out)} of {len(tonight)} lessons" if out else "with another seed"

        def part(_: float, detail: str) -> None:
            progress(0, f"{what}: {detail}")

        waiting = dict.fromkeys(out, Decision(LessonState.QUEUED, "left out to see whether the night passes"))
        syllabus = bisect.leave_out(whole.syllabus, waiting)
        done = Finished(whole.folder / folder, [syllabus.identity, given.seed], school.writing)
        try:
            tried[out] = teach(school, syllabus, given, done, lambda _: part)
        except Diverged as error:
            tried[out] = replace(whole, verdict=gate.Verdict(False, (f"training diverged: {error}",), {}, math.inf))
        return tried[out].verdict

    def try_without(out: tuple[str, ...]) -> gate.Verdict:
        return try_it(out, given, f"{PARTLY}{hashlib.sha256(' '.join(out).encode()).hexdigest()[:12]}")

    if not time_left():
        return whole
    why = whole.verdict.harm[0]
    first = Try((), try_it((), replace(given, seed=whole.seed + 1), AGAIN))
    if first.verdict.promote:
        best, told, out = tried[()], f"with seed {whole.seed + 1}: with seed {whole.seed} it fails ({why})", {}
        tries: tuple[Try, ...] = (first,)
    else:
        before = bisect.blamed(school.ledger.lessons(states=[LessonState.REJECTED]))
        suspected = tuple(lesson_id for lesson_id in tonight if lesson_id in before)
        found = Found((), False, ())
        if len(tonight) > 1:
            found = bisect.find(tonight, try_without, suspected=suspected, time_left=time_left)
        best, told, out = (
            tried[found.without] if found.without else whole,
            found.told(len(tonight)),
            found.decisions(why),
        )
        tries = (first, *found.tries)
    return replace(
        best,
        candidates=whole.candidates,
        syllabus=bisect.leave_out(whole.syllabus, out),
        verdict=replace(best.verdict, reasons=(*best.verdict.reasons, told)),
        tries=tries,
    )


def _publish(school: School, night: Night, attempt: Attempt, given: Given) -> Outcome:
    """The night's end by its verdict, with the adapter in its place."""
    adapter = _place(school, night, attempt)
    syllabus, verdict, known = attempt.syllabus, attempt.verdict, _left_out(school, attempt.syllabus)
    facts = outcome.facts(attempt, given, stages=attempt.folder.relative_to(_folder(school, night)).as_posix())
    if verdict.promote:
        facts["graduated"] = outcome.graduated(syllabus, attempt.after, school.teacher.tokens)
        return outcome.promoted(syllabus, adapter, attempt.after, facts, known, night)
    return outcome.rejected(syllabus, verdict.reasons, known, night, adapter.created_at, adapter=adapter, facts=facts)


def _place(school: School, night: Night, attempt: Attempt) -> Adapter:
    """The adapter under its version's name: with its files in place if it shall serve, on record if it failed."""
    version, syllabus = school.ledger.name_adapter(night.id), attempt.syllabus
    sitting, verdict = attempt.sitting, attempt.verdict
    if verdict.promote:
        facts = {"night": night.id, "model": school.teacher.model_id, "strength": sitting["scale"]}
        target = adapter_folder(school.home, version)
        place(at_strength(attempt.folder, sitting["scale"]), target, facts)
        # What was examined is what serves: a file that changed since must not.
        files = AdapterFiles(version, sitting["sha256"], target)
        check_adapter(files)
        school.admit(files)
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
    """Write the report, then everything else in one transaction. Raises: ForgottenMeanwhile; nothing was changed."""
    night, at = school.ledger.night(night_id), school.clock()
    folder, written = _folder(school, night), True
    with school.writing():
        try:
            told = school.ledger.lessons_named(report.mentioned(ended.facts))
            report.write(folder, night, ended, lessons=told, at=at)
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
            back_to=ended.back_to,
            drift=ended.drift,
            lessons=ended.lessons,
        )
    # Versions that were trained on what was forgotten since; the one that served until now may be among them.
    withdraw_versions(school.ledger, school.home)
    # Published or on record; the weights themselves come out of the same seed again.
    remove_weights(folder, school.settings.scales)
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
