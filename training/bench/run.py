"""The story of a bench: a simulated user lives through the days of the streams, once for each arm and seed.

Everything goes through the seams that people use: questions are asked through the assistant, rated, and learned by the
nightly job. What a user may do is done once: a day that was cut off goes on from what the ledger holds of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant import feedback
from assistant.batch import ask_many, text_tokens
from assistant.engine import Sampling
from assistant.turn import Ask, Assistant, adapter_files
from memory.errors import BadInput, NightschoolError
from memory.records import Night, NightStatus
from training import nightly
from training.bench import arms as arms_module
from training.bench import plots, poison, report, results
from training.bench.arms import Arm
from training.bench.cache import CachedEngine, KeptAnswers
from training.bench.figures import COLUMNS
from training.bench.nights import forget_peak, outcome_of
from training.bench.plan import Plan
from training.bench.plan import plan as make_plan
from training.bench.public import PublicSets
from training.nightly import School
from training.progress import Progress
from training.settings import NightSettings, Settings
from training.streams import StreamItem, read_all

ASKED, LEARNED = 0.05, 0.65
"""Where in a day asking ends, and where the night does; the rest is examining."""


@dataclass(frozen=True)
class Product:
    """A Nightschool in a home of its own, as its user meets it. Its teacher may share the assistant's engine."""

    assistant: Assistant
    school: School


Build = Callable[[Path, NightSettings], Product]
"""(home, settings of its nights) → a product there. Called once for each run; the engine may be the same for all."""


@dataclass(frozen=True)
class Bench:
    """What all runs of a bench share. `known` holds the answers so far, see `CachedEngine`."""

    plan: Plan
    settings: NightSettings
    build: Build
    known: MutableMapping[str, str]


def compare(
    streams: Sequence[Path],
    *,
    out: Path,
    build: Build,
    settings: Settings,
    model_id: str,
    model_sha256: str,
    arms: str = "base,memory,nll,joint",
    seeds: str = "0",
    nights: int | None = None,
    days_each: int | None = None,
    items_each: int | None = None,
    public: PublicSets | None = None,
    progress: Progress = lambda share, told: None,
) -> dict[str, Any]:
    """Let every arm live through the streams with every seed, and return what `out/results.json` then holds.

    What is finished in `out` is not done again. An arm without nights has no use for seeds and lives with the first.

    Args:
        arms, seeds: lists with commas.
        nights: stop after so many days.
        days_each: of every stream the first so many days alone.
        items_each: of every day the first so many alone, see `plan`.
        public: public sets that the base and what serves are asked at the end of each run; one that was finished
            without them gets them now.
        progress: called with the share of the whole bench done in [0, 1].

    Raises:
        BadInput: a stream, arm or seed that can't be used, or an `out` that holds something else.
        NightschoolError: a night failed, the disk is full, or another bench runs there; what is finished stays.
        KeyboardInterrupt: stopped by hand; what is finished stays.
    """
    chosen, numbers = arms_module.chosen(arms), arms_module.seeds(seeds)
    pipes = [path for path in streams if not _read_again(path)]
    if pipes:
        raise BadInput(f"the stream {pipes[0]} can't be read: it is no file, to which a bench could come back")
    items = read_all(streams, longest=settings.message_chars)
    plan = make_plan(items, nights, days_each=days_each, items_each=items_each)
    runs = [(arm, seed) for arm in chosen for seed in (numbers if arm.nights else numbers[:1])]
    with _full_disks_told(out), results.held(out):
        results.claim(out, results.manifest(plan, streams, settings, model_id, model_sha256))
        bench = Bench(plan, settings.night, build, KeptAnswers(out / results.ANSWERS))
        try:
            for done, (arm, seed) in enumerate(runs):
                part = _part(progress, done, len(runs), f"{arm.name}, seed {seed}, ")
                run = results.run_of(out, arm.name, seed)
                live(bench, arm, seed, run, part)
                if public is not None and not run.public_sets():
                    ask_public_sets(bench, arm, seed, run, public, out, part)
                results.summarise(out)
        except (KeyboardInterrupt, NightschoolError):
            publish(out)
            raise
        return publish(out)


def live(bench: Bench, arm: Arm, seed: int, run: results.Run, progress: Progress) -> None:
    """One arm with one seed, from before the first night to after the last; nights that are on file are past."""
    schedule: list[list[StreamItem]] = [[], *arm.schedule(bench.plan)]
    past = len(run.records())
    if past >= len(schedule):
        return
    product = bench.build(run.home, arm.settings(bench.settings, seed))
    assistant = replace(product.assistant, engine=CachedEngine(product.assistant.engine, bench.known))
    try:
        if arm.asks:
            _check_home(assistant, schedule, past)
        for number in range(past, len(schedule)):
            part = _part(progress, number, len(schedule), f"day {number} of {len(schedule) - 1}: ")
            taught = schedule[number]
            asked = ask_and_rate(assistant, taught, number, users=_users(arm)) if arm.asks else []
            pushed = _poison(assistant, arm, run, bench.plan.items, number, len(taught))
            night = hold_night(product.school, number, _span(part, ASKED, LEARNED)) if arm.nights and taught else None
            answers = evaluate(assistant, bench, _span(part, LEARNED, 1.0))
            record = {"asked": asked, "outcome": outcome_of(night, bench.plan.items), "answers": answers}
            run.add(number, record | ({"poison": poison.fate(assistant, pushed)} if pushed else {}))
    finally:
        product.assistant.ledger.close()


def ask_and_rate(
    assistant: Assistant, taught: Sequence[StreamItem], day: int, *, users: Sequence[str] = ("local",)
) -> list[dict[str, Any]]:
    """A day, number `day`: each question is asked, and rated by its check; a wrong answer gets the better one. Of
    several `users` each brings one in turn.

    What a cut-off run has asked already is rated, not asked again. The questions of a day don't recall each other,
    whichever of them were asked first.

    Raises: NotRemembered, or another NightschoolError, when the ledger can't be written.
    """
    said = {item.id: assistant.ledger.conversation(_conversation(item, day)) for item in taught}
    today = frozenset(exchange.id for exchanges in said.values() for exchange in exchanges)
    missing = [item for item in taught if not said[item.id]]
    who = {item.id: users[place % len(users)] for place, item in enumerate(taught)}
    asks = [Ask(x.question, conversation_id=_conversation(x, day), not_recalled=today, user=who[x.id]) for x in missing]
    for item, answered in zip(missing, ask_many(assistant, asks, store=True), strict=True):
        if answered.warning:
            raise NightschoolError(answered.warning)
        said[item.id] = [answered.exchange]
    told = []
    for item in taught:
        exchange = said[item.id][0]
        right = item.right(exchange.answer)
        liked = right or item.has_nothing_better(exchange.answer)
        better = None if liked else item.answer
        feedback.rate(assistant, exchange.id, 1 if liked else -1, correction=better, user=who[item.id])
        told.append({"id": item.id, "answer": exchange.answer, "right": right})
    return told


def hold_night(school: School, number: int, progress: Progress) -> Night:
    """The night after day `number`, held once: one that has ended is not held again, one that was cut off goes on.

    Raises:
        NightschoolError: it failed; the next run of the bench tries again.
        KeyboardInterrupt: it was stopped by hand.
    """

    def tell(stage: str, share: float, detail: str) -> None:
        progress(share, f"{stage} {detail}")

    ledger = school.ledger
    tried = [night for night in ledger.nights() if night.id.partition(".")[0] == f"day-{number}"]
    if tried and tried[0].status.ended and tried[0].status is not NightStatus.FAILED:
        return tried[0]
    if tried:
        # Whoever held it is dead: the folder of the bench is this process's.
        ledger.abandon_lease(tried[0].id, at=school.clock())
    queued = Night(f"day-{number}.{len(tried) + 1}", NightStatus.QUEUED, school.clock(), seed=0, settings={})
    asked_for = ledger.request_night(queued)
    forget_peak()
    ended = nightly.run(replace(school, tell=tell), asked_for.id, seed=school.settings.seed)
    if ended.resumable:
        raise KeyboardInterrupt
    if ended.status is NightStatus.FAILED:
        why = "; ".join(ended.reasons)
        raise NightschoolError(f"the night after day {number} failed ({why}): the same command tries it again")
    return ended


def evaluate(assistant: Assistant, bench: Bench, progress: Progress) -> dict[str, Any]:
    """Every item as asked and in its other words, by the weights alone and with recall. Leaves no trace."""
    items = bench.plan.items
    lengths = answer_lengths(assistant, items, at_least=bench.settings.answer_tokens)
    asked = [(item, wording) for item in items for wording in (item.question, *item.paraphrases)]
    found: dict[str, Any] = {}
    for place, column in enumerate(COLUMNS):

        def part(done: int, of: int, place: int = place, column: str = column) -> None:
            progress((place + done / of) / len(COLUMNS), f"{column}, answer {done} of {of}")

        asks = [
            Ask(wording, memory=column == "memory", sampling=Sampling(lengths[item.stream])) for item, wording in asked
        ]
        found[column] = {item.id: {"answers": [], "right": []} for item in items}
        for (item, _), answered in zip(asked, ask_many(assistant, asks, store=False, progress=part), strict=True):
            found[column][item.id]["answers"].append(answered.exchange.answer)
            found[column][item.id]["right"].append(item.right(answered.exchange.answer))
    return found


def answer_lengths(assistant: Assistant, items: Sequence[StreamItem], *, at_least: int) -> dict[str, int]:
    """Stream → tokens of an answer in evaluations: one and a half times its longest answer, or `at_least`."""
    longest: dict[str, int] = {}
    for item in items:
        tokens = text_tokens(assistant.engine, item.answer)
        longest[item.stream] = max(longest.get(item.stream, 0), tokens)
    return {stream: max(at_least, int(tokens * 1.5)) for stream, tokens in longest.items()}


def ask_public_sets(
    bench: Bench, arm: Arm, seed: int, run: results.Run, public: PublicSets, out: Path, progress: Progress
) -> None:
    """The base and what serves at the end of a run, asked the public sets; the answers lie beside the run's nights."""
    product = bench.build(run.home, arm.settings(bench.settings, seed))
    try:
        active = product.assistant.ledger.active_adapter()
    finally:
        product.assistant.ledger.close()
    serves = adapter_files(run.home, active) if active else None
    found = public.examine(
        serves, out / results.PUBLIC_SETS, lambda share, told: progress(1.0, f"public sets: {told} ({share:.0%})")
    )
    run.add_public_sets(found)


def publish(out: Path) -> dict[str, Any]:
    """Make results, report and plots anew from what is finished, and return the results."""
    found = results.summarise(out)
    plots.draw(found, out / "plots")
    report.write(found, out)
    return found


def _read_again(path: Path) -> bool:
    """Whether it is a file, or can't be read at all, which whoever reads it tells."""
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True


def _check_home(assistant: Assistant, schedule: Sequence[Sequence[StreamItem]], past: int) -> None:
    """Raises: BadInput when the home does not hold what was asked in it on the days that are on file, or more than
    could be asked since: what would be examined then is not what there was.
    """

    def asked(day: int) -> bool:
        return any(assistant.ledger.conversation(_conversation(item, day)) for item in schedule[day])

    home, anew = assistant.settings.home, "delete the folder above it to run it anew"
    if past > 1 and not asked(past - 1):
        raise BadInput(f"{home} lacks its days so far: {anew}")
    if past + 1 < len(schedule) and asked(past + 1):
        raise BadInput(f"{home} is at a later day than the nights beside it: {anew}")


def _users(arm: Arm) -> list[str]:
    return [f"user-{number}" for number in range(1, poison.USERS + 1)] if arm.attacked else ["local"]


def _poison(
    assistant: Assistant, arm: Arm, run: results.Run, items: Sequence[StreamItem], day: int, thumbs: int
) -> list[poison.Push]:
    """What was pushed so far. On the first day of an arm that is attacked, it is pushed now."""
    if not arm.attacked or day < 1:
        return []
    if day > 1:
        return list(run.records()[1]["poison"])
    pushed = poison.pushes(assistant, items, thumbs=thumbs)
    poison.push(assistant, pushed)
    return pushed


def _conversation(item: StreamItem, day: int) -> str:
    return f"bench-{item.id}-day-{day}"


def _part(progress: Progress, number: int, of: int, name: str) -> Progress:
    """The `number`th (from 0) of `of` equal parts, which puts its name before what it tells."""
    return lambda share, told: progress((number + share) / of, name + told)


def _span(progress: Progress, first: float, last: float) -> Progress:
    return lambda share, told: progress(first + (last - first) * share, told)


@contextmanager
def _full_disks_told(out: Path) -> Iterator[None]:
    """Raises: NightschoolError for whatever the system refuses: one line, and how to go on."""
    try:
        yield
    except OSError as error:
        raise NightschoolError(
            f"the bench stopped: {error.strerror or error} ({error.filename or out}); what is finished stays in {out},"
            " and the same command goes on from there"
        ) from error
