"""The drift watch of a night: what the ledger and the exam say of the version that serves, and what follows from it.

What counts as drift, and what is done about it, `training.drift` decides; here it is looked up, and an earlier version
sits the exam before it may serve again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from assistant.local import check_adapter
from assistant.turn import adapter_files
from assistant.versions import number
from memory.errors import ModelUnavailable
from memory.records import Adapter, AdapterState, Lesson, LessonState, NightStatus
from training import drift as rules
from training import gate
from training.drift import Drift
from training.lessons import in_force
from training.outcome import Outcome
from training.paper import Exam, Item, control_items, lesson_item
from training.progress import Progress
from training.school import School
from training.syllabus import Syllabus

FALLBACKS = 3
"""Earlier versions that sit the exam before nothing is rolled back to: each takes a minute or two."""


@dataclass(frozen=True)
class Watch:
    """What a night knows of the version that serves: what it finds itself, and what the one before has told."""

    found: Drift
    told: Drift | None

    @property
    def acts(self) -> bool:
        """Whether something is done about it tonight: it was told, and is still so."""
        return rules.rule(self.found, self.told, retrain=True, fallback=None) == "retrain"

    def examined(self, school: School, syllabus: Syllabus, before: Exam) -> Watch:
        """With the exam that the version has sat tonight, on the lessons that it had right when it was promoted."""
        # Also those that a later exam found lost: they are lost still.
        verified = [x.id for x in syllabus.kept if _verified(x, self.found.adapter)]
        asked = {i.lesson_id: before.right[i.id] for i in syllabus.paper if i.kind in ("tonight", "earlier")}
        right = {lesson_id: mark for lesson_id, mark in asked.items() if lesson_id is not None}
        exam = rules.resat(verified, right, school.settings)
        return self if exam is None else replace(self, found=replace(self.found, exam=exam))


def look(school: School, active: Adapter | None) -> Watch | None:
    """What the ledger says. The exam is that of the last night that held one, until tonight's. None for the base."""
    if active is None:
        return None
    last = school.ledger.last_drift()
    told = Drift.from_json(last) if last is not None and last["adapter"] == active.version else None
    thumbs = rules.thumbs(active.version, school.ledger.votes(), school.settings)
    return Watch(Drift(active.version, thumbs, told.exam if told else None), told)


def settle(school: School, watch: Watch | None, ended: Outcome, progress: Progress) -> Outcome:
    """The night's end with what the watch has to say; where nothing was promoted, perhaps with an earlier version."""
    if watch is None or ended.back_to is not None:
        return ended
    if ended.status is NightStatus.PROMOTED:
        return _told(ended, watch, "retrain" if watch.found.drifted else "none")
    fallback = _fallback(school, watch, progress) if watch.acts else None
    action = rules.rule(watch.found, watch.told, retrain=False, fallback=fallback)
    if action != "roll back" or fallback is None:
        return _told(ended, watch, action)
    why = f"{watch.found.adapter} has drifted ({'; '.join(watch.found.reasons)}): {fallback} serves again"
    return _told(replace(ended, reasons=(why, *ended.reasons), back_to=fallback), watch, action)


def _told(ended: Outcome, watch: Watch, action: rules.Action) -> Outcome:
    told = watch.found.as_json(action)
    return replace(ended, drift=told, facts={**ended.facts, "drift": told})


def _fallback(school: School, watch: Watch, progress: Progress) -> str | None:
    """The newest earlier version whose lessons are all in force, whose thumbs are better, and whose exam holds."""
    lessons = {lesson.id: lesson for lesson in in_force(school.ledger)}
    active, votes = watch.found.adapter, school.ledger.votes()
    fit = []
    for adapter in school.ledger.adapters():
        retired = adapter.state is AdapterState.RETIRED and number(adapter.version) < number(active)
        if not retired or adapter.model_id != school.teacher.model_id:
            continue
        thumbs = rules.thumbs(adapter.version, votes, school.settings)
        if set(adapter.exam.get("lessons", ())) <= lessons.keys() and not (thumbs and thumbs.drifted):
            fit.append(adapter)
    for adapter in fit[:FALLBACKS]:
        if _exam_holds(school, adapter, lessons, progress):
            return adapter.version
    return None


def _exam_holds(school: School, adapter: Adapter, lessons: dict[str, Lesson], progress: Progress) -> bool:
    """Whether what it was verified on is still right, and general questions as the gate's bounds want them."""

    def told(share: float, detail: str) -> None:
        progress(share, f"whether {adapter.version} still holds: {detail}")

    files = adapter_files(school.home, adapter)
    try:
        check_adapter(files)
    except ModelUnavailable:
        return False
    settings, system = school.settings, school.system_prompt
    ids = [lesson_id for lesson_id in adapter.exam.get("lessons", ()) if _verified(lessons[lesson_id], adapter.version)]
    verified: list[Item] = [
        lesson_item(lessons[lesson_id], "earlier", system=system) for lesson_id in ids[-settings.lessons_max :]
    ]
    controls = control_items(settings.controls, system=system)
    base = school.teacher.sit(controls, None, progress=told)
    once = Exam(adapter.version, {x.id: x.wanted for x in verified}, {x.id: True for x in verified}, base.perplexity)
    paper = [*verified, *controls]
    again = school.teacher.sit(paper, files, progress=told)
    return gate.decide(paper, once.joined(base), again, settings, gain_needed=False).promote


def _verified(lesson: Lesson, version: str) -> bool:
    return any(event.state is LessonState.VERIFIED and event.adapter == version for event in lesson.events)
