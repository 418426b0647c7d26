"""Several candidates a night, and what nights learn of it: which settings work here.

The first candidate of a night has the settings that won last, or the night's own where none did; the others are drawn
by a study of all earlier candidates (`training.study`). All share the night's exam before, its replay and its paper,
and the best by the gate's own measure is the night's. In a tie the earlier wins: a challenger must be better.

Exact where it can be: only nights count of whose lessons none was taken back since, so that a night after an undo
starts from what it would have started from, had those nights not searched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from memory.records import Night
from training import gate
from training.attempt import Attempt, Given, teach
from training.lessons import holds, in_force, mark
from training.progress import Progress
from training.school import School
from training.settings import NightSettings
from training.stages import Finished
from training.syllabus import Syllabus
from training.teacher import Diverged

if TYPE_CHECKING:
    from training.study import Sampler, Study, Trial

SEARCHED = ("learning_rate", "rank", "epochs", "kl_weight", "preference")
"""Settings in which candidates differ; where from, `study.SPACE` says."""

FIXED = (
    "alpha",
    "layers",
    "learning_rate_lessons",
    "batch_rows",
    "warmup",
    "match_weight",
    "lead_weight",
    "known_nll",
    "preference_weight",
    "preference_beta",
    "preference_min_rows",
    "continued",
    "new_only",
    "rewordings",
    "thinned",
    "epoch_rows",
    "replay_rows",
    "replay_turns",
    "neighbour_rows",
    "neighbour_turns",
    "neighbour_turns_lessons",
    "replay_tokens",
    "written_lessons",
    "request_rows",
    "written_rows",
    "written_tokens",
)
"""Settings under which they were found good: what won under others says nothing here."""

SUFFIX = "candidate-"
"""How the folders of candidates begin, in the night's."""


def race(
    school: School,
    night: Night,
    syllabus: Syllabus,
    given: Given,
    done: Finished,
    stage: Callable[[str], Progress],
) -> Attempt:
    """The night's attempt: the best of `settings.candidates`, or the only one.

    One that diverges is out of the race. What each has finished is kept, so that a night that was cut off goes on.

    Raises: Diverged, when all of them do.
    """
    alone = school.settings.candidates == 1
    if alone and not school.ledger.study_log(first=0, limit=1):
        return teach(school, syllabus, given, done, stage)
    search = _Search.open(school, night, syllabus)
    if alone and search.winner is None:
        return teach(school, syllabus, given, done, stage)
    run = _Race(school, syllabus, given, done, stage, search)
    for number in range(1, school.settings.candidates + 1):
        if not run.time_left():
            break
        run.try_one(number)
    return run.end()


def worth(verdict: gate.Verdict) -> float:
    """What an exam was worth, over nights and papers, in [0, 2]: 1 for passing, and up to 1 for what is right.

    As in the gate's merit, tonight's lessons weigh more than all else; here both are shares, for papers differ.
    """
    tonight = verdict.tallies["tonight"]
    others = [tally for kind, tally in verdict.tallies.items() if kind != "tonight" and kind not in gate.VIEWS]
    kept = sum(tally.after for tally in others) / max(1, sum(tally.total for tally in others))
    learned = tonight.after / tonight.total if tonight.total else 1.0
    return verdict.promote + 0.75 * learned + 0.25 * kept


@dataclass(frozen=True)
class _Candidate:
    """One runner: `attempt` is None where its training diverged, for the reason in `why`."""

    number: int
    settings: Mapping[str, Any]
    seconds: float
    attempt: Attempt | None
    why: str = ""


@dataclass(frozen=True)
class _Search:
    """What is known before the race. `winner`: the settings that won the last night that counts, and which that was."""

    study: Study
    sampler: Sampler
    winner: Trial | None
    mark: Mapping[str, Any]
    night_id: str

    @classmethod
    def open(cls, school: School, night: Night, syllabus: Syllabus) -> _Search:
        from training.study import Sampler, Study

        known = in_force(school.ledger)
        study = Study(school.ledger, _study_name(school))
        found = [trial for trial in study.trials() if trial.night_id != night.id]
        held = holds([trial.mark for trial in found], known)
        past = [trial for trial, still in zip(found, held, strict=True) if still]
        unwanted = sum(lesson.unwanted is not None for lesson in syllabus.taught)
        few = unwanted < school.settings.preference_min_rows
        names = [name for name in SEARCHED if not (few and name == "preference")]
        # Another night, another draw; and the same night, the same.
        seed = int.from_bytes(hashlib.sha256(f"{night.seed} {len(past)}".encode()).digest()[:4], "big")
        winner = next((trial for trial in reversed(past) if trial.won), None)
        return cls(study, Sampler(past, names, seed=seed), winner, mark(known), night.id)


class _Race:
    """The candidates of one night, one after another."""

    def __init__(
        self,
        school: School,
        syllabus: Syllabus,
        given: Given,
        done: Finished,
        stage: Callable[[str], Progress],
        search: _Search,
    ) -> None:
        self._school, self._syllabus, self._given, self._done = school, syllabus, given, done
        self._stage, self._search = stage, search
        self._tried: list[_Candidate] = []
        self._beyond: Progress | None = None

    def time_left(self) -> bool:
        """Whether one more would end in time, if it takes as long as those before it. The first may always begin."""
        if not self._tried:
            return True
        settings, count = self._school.settings, len(self._tried)
        spent = sum(candidate.seconds for candidate in self._tried)
        trained = sum(c.attempt.trained["seconds"] for c in self._tried if c.attempt is not None)
        budget = settings.max_minutes
        beyond = spent - self._tried[0].seconds + spent / count
        return beyond <= 60 * settings.candidate_minutes and (
            budget is None or trained + trained / count <= 60 * budget
        )

    def try_one(self, number: int) -> None:
        """Train and examine candidate `number`, from 1, in a folder of its own."""
        school, search = self._school, self._search
        if number == 1:
            chosen = dict(search.winner.settings) if search.winner else _searched(school.settings)
        else:
            chosen = _searched(school.settings) | search.sampler.propose()
        settings = _with(school.settings, chosen)
        given = replace(self._given, seed=self._given.seed + number - 1)
        done = Finished(
            self._done.folder / f"{SUFFIX}{number}",
            [self._syllabus.identity, settings.model_dump(mode="json")],
            school.writing,
        )
        began, attempt, why = school.clock(), None, ""
        try:
            attempt = teach(replace(school, settings=settings), self._syllabus, given, done, self._stages(number))
        except Diverged as error:
            why = str(error)
        took = done.once("took", lambda: {"seconds": (school.clock() - began) / timedelta(seconds=1)})
        self._tried.append(_Candidate(number, chosen, took["seconds"], attempt, why))
        search.sampler.add(self._trial(self._tried[-1], won=False))

    def end(self) -> Attempt:
        """The best, with what the report tells of all; the study has them then. Raises: Diverged."""
        ran = [candidate for candidate in self._tried if candidate.attempt is not None]
        best = max(ran, key=lambda candidate: gate.merit(_verdict(candidate)), default=None)
        if len(self._tried) > 1:
            won = best is not None and _verdict(best).promote
            self._search.study.add([self._trial(c, won=won and c is best) for c in self._tried])
        if best is None or best.attempt is None:
            raise Diverged("; ".join(dict.fromkeys(candidate.why for candidate in self._tried)))
        return replace(best.attempt, candidates=tuple(self._told(candidate, best) for candidate in self._tried))

    def _stages(self, number: int) -> Callable[[str], Progress]:
        if number == 1:
            return self._stage
        progress = self._beyond = self._beyond or self._stage("candidates")
        of = self._school.settings.candidates

        def stage(name: str) -> Progress:
            begins, span = {"train": (0.0, 0.55), "after": (0.55, 0.45)}.get(name, (1.0, 0.0))
            return lambda share, detail: progress(
                (number - 2 + begins + span * share) / (of - 1), f"candidate {number} of {of}: {detail}"
            )

        return stage

    def _trial(self, candidate: _Candidate, *, won: bool) -> Trial:
        from training.study import Trial

        value = None if candidate.attempt is None else round(worth(candidate.attempt.verdict), 4)
        return Trial(self._search.night_id, candidate.settings, value, won, self._search.mark)

    def _told(self, candidate: _Candidate, best: _Candidate) -> dict[str, Any]:
        told: dict[str, Any] = {
            "candidate": candidate.number,
            "settings": dict(candidate.settings),
            "seed": self._given.seed + candidate.number - 1,
            "seconds": round(candidate.seconds, 1),
            "chosen": candidate is best,
        }
        if candidate.number == 1 and self._search.winner:
            told["from"] = self._search.winner.night_id
        if candidate.attempt is None:
            return told | {"why": f"out: its training diverged ({candidate.why})"}
        verdict = candidate.attempt.verdict
        told |= {
            "strength": candidate.attempt.sitting["scale"],
            "passes": verdict.promote,
            "right": {kind: [tally.after, tally.total] for kind, tally in verdict.tallies.items()},
            "perplexity_ratio": verdict.perplexity_ratio,
            "worth": round(worth(verdict), 4),
        }
        return told | {"why": _why(candidate, best, len(self._tried), self._school.settings.candidates)}


def _why(candidate: _Candidate, best: _Candidate, tried: int, wanted: int) -> str:
    mine, its = gate.merit(_verdict(candidate)), gate.merit(_verdict(best))
    if candidate is not best:
        if mine == its:
            return f"as good as candidate {best.number}, which came first"
        if mine[0] != its[0]:
            return f"fails: {_verdict(candidate).reasons[0]}"
        return "fewer of tonight's lessons right" if mine[1] < its[1] else "fewer of the other questions right"
    cut = f"; time was out after {tried} of {wanted}" if tried < wanted else ""
    if tried == 1:
        return f"the only one{cut}"
    if not mine[0]:
        return f"chosen though it fails: none passes, and it came nearest{cut}"
    return f"chosen: it passes, and none that does learned or kept more{cut}"


def _verdict(candidate: _Candidate) -> gate.Verdict:
    assert candidate.attempt is not None  # noqa: S101 - only those that ran are compared
    return candidate.attempt.verdict


def _searched(settings: NightSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in SEARCHED}


def _with(settings: NightSettings, chosen: Mapping[str, Any]) -> NightSettings:
    """The night's settings with a candidate's. Alpha goes with the rank, so that a step is as large at any.

    The best of several is lucky more often than one alone, so each gain must be the less likely by chance the more
    candidates there are (Bonferroni).
    """
    alpha = max(1, round(settings.alpha * chosen["rank"] / settings.rank))
    chance = settings.chance_max / settings.candidates
    return settings.model_copy(update={**chosen, "alpha": alpha, "chance_max": chance})


def _study_name(school: School) -> str:
    """What a study is about: one model, and settings from which the search goes out. Others have a study of theirs."""
    fixed = {name: getattr(school.settings, name) for name in FIXED}
    about: Sequence[Any] = [school.teacher.model_sha256, _searched(school.settings), fixed]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
