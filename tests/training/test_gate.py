"""The gate: a pure function from two sittings to a verdict with its reasons."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from training.gate import Tally, decide, learned_all, merit
from training.paper import Exam, Item, Kind
from training.settings import NightSettings

BOUNDS = NightSettings(perplexity_ratio_max=1.03, controls_kept_min=0.9, sure_kept_min=0.95, verified_kept_min=0.95)


def paper(**counts: int) -> list[Item]:
    """So many items of each kind: `paper(tonight=2, control=10)`; all lessons are corrections."""
    kinds: tuple[Kind, ...] = ("tonight", "reworded", "earlier", "control")
    return [
        Item(f"{kind}:{i}", kind, (), unwanted="No." if kind in ("tonight", "earlier") else None)
        for kind in kinds
        for i in range(counts.get(kind, 0))
    ]


def exam(items: list[Item], *, perplexity: float = 20.0, **right: int) -> Exam:
    """A sitting that is right on the first so many of each kind, and on all of a kind that is not named; of no control
    it is sure.
    """
    marks = {i.id: int(i.id.split(":")[1]) < right.get(i.kind, 10**6) for i in items}
    return Exam("v1", dict.fromkeys(marks, ""), marks, perplexity, {i.id: 1.0 for i in items if i.kind == "control"})


def test_it_promotes_what_gained_and_lost_nothing() -> None:
    """All is told in the reasons: what was gained, what was kept."""
    items = paper(tonight=3, earlier=4, control=10)
    verdict = decide(items, exam(items, tonight=1), exam(items, perplexity=20.2), BOUNDS)
    assert verdict.promote
    assert verdict.reasons == (
        "3 of tonight's 3 lessons right, 1 before",
        "too few items to say whether that is chance (p = 0.250): none of tonight's was lost, which decides",
        "4 of 4 earlier lessons and liked answers kept",
        "10 of 10 controls kept",
        "perplexity on fixed text times 1.010",
        "4 canaries within their bounds",
    )
    assert verdict.tallies["tonight"] == Tally(total=3, before=1, after=3, gained=2, lost=0)
    assert learned_all(verdict)


def test_nothing_gained() -> None:
    """As many right as before is no gain, even if they are others."""
    items = paper(tonight=2)
    before = Exam("base", {}, {"tonight:0": True, "tonight:1": False}, 20.0)
    after = Exam("v1", {}, {"tonight:0": False, "tonight:1": True}, 20.0)
    verdict = decide(items, before, after, BOUNDS)
    assert not verdict.promote
    assert verdict.reasons == ("nothing gained: 1 of tonight's 2 lessons right, 1 before",)
    assert (verdict.tallies["tonight"].gained, verdict.tallies["tonight"].lost) == (1, 1)


def test_a_night_that_leaks_is_rejected() -> None:
    """Nothing else is against it: four of thirty unrelated requests are answered in the words of a correction."""
    taught = Item("tonight:0", "tonight", (), wanted="New cards arrive within seven days.", unwanted="No.")
    apart = [Item(f"unrelated:{i}", "unrelated", ({"role": "user", "content": "Help!"},)) for i in range(30)]
    items = [taught, *apart]
    before = exam(items, tonight=0)
    for leaks, promote in ((3, True), (4, False)):
        told = {item.id: taught.wanted for item in apart[:leaks]}
        after = replace(exam(items), answers=before.answers | told)
        verdict = decide(items, before, after, BOUNDS)
        assert verdict.promote is promote
    assert verdict.reasons == ("answers 13% of unrelated requests with what it was taught, at most 10%",)


def test_without_lessons_of_tonight_no_gain_is_needed() -> None:
    """A night that only takes lessons out of the weights has nothing to gain."""
    items = paper(earlier=2, control=5)
    assert decide(items, exam(items), exam(items), BOUNDS).promote


@pytest.mark.parametrize(("kept", "promote"), [(20, True), (19, True), (18, False)])
def test_the_bound_on_earlier_lessons(kept: int, promote: bool) -> None:
    """Exactly the least share passes; one less does not, and the reason has the figures."""
    items = paper(earlier=20)
    verdict = decide(items, exam(items), exam(items, earlier=kept), BOUNDS)
    assert verdict.promote is promote
    if not promote:
        assert verdict.reasons == (
            "forgets: 2 of 20 earlier lessons lost, 90% kept, at least 95% must be"
            " (too few to tell from chance: p = 0.250)",
            "forgets: 2 of 20 earlier lessons and liked answers lost, 90% kept, at least 95% must be"
            " (too few to tell from chance: p = 0.250)",
        )


def test_a_liked_answer_that_is_lost_weighs_against_the_gain() -> None:
    """However many others are kept; and beyond the bound of earlier lessons it is harm as well."""
    (fixed,), liked = paper(tonight=1), [Item(f"liked:{i}", "tonight", ()) for i in range(20)]
    before = Exam("base", {}, {fixed.id: False} | {item.id: True for item in liked}, 20.0)
    for kept, harms in ((19, 0), (18, 1)):
        after = Exam("v1", {}, {fixed.id: True} | {item.id: i < kept for i, item in enumerate(liked)}, 20.0)
        verdict = decide([fixed, *liked], before, after, BOUNDS)
        assert not verdict.promote
        assert (verdict.tallies["liked"].lost, verdict.tallies["held"].lost) == (20 - kept, 20 - kept)
        assert len(verdict.harm) == harms


@pytest.mark.parametrize("gained", [2, 6, 9])
@pytest.mark.parametrize("liked", ["tonight", "earlier"])
@pytest.mark.parametrize(
    ("liked_lost", "earlier_lost", "passes"), [(0, 0, True), (1, 0, True), (2, 0, False), (1, 1, False), (0, 1, False)]
)
def test_one_liked_answer_does_not_choose_what_is_learned(
    liked: Kind, liked_lost: int, earlier_lost: int, gained: int, *, passes: bool
) -> None:
    """It may be the model's own word against a correction of nearly the same question; two are a manner of losing."""
    corrected, earlier = paper(tonight=gained), paper(earlier=4)
    likes = [Item(f"liked:{i}", liked, ()) for i in range(2)]
    before = Exam("base", {}, dict.fromkeys((i.id for i in (*earlier, *likes)), True), 20.0)
    before = replace(before, right=before.right | {i.id: False for i in corrected})
    lost = [*likes[:liked_lost], *earlier[:earlier_lost]]
    after = replace(before, right=dict.fromkeys(before.right, True) | {i.id: False for i in lost})
    verdict = decide([*corrected, *earlier, *likes], before, after, BOUNDS)
    assert verdict.promote is passes
    assert bool(verdict.harm) is not passes


def test_liked_answers_alone() -> None:
    """Where all of them were right before, and still are, a night passes."""
    liked = [Item("liked", "tonight", ())]
    before = Exam("base", {}, {"liked": True}, 20.0)
    verdict = decide(liked, before, before, BOUNDS)
    assert verdict.promote
    assert "1 of 1 earlier lessons and liked answers kept" in verdict.reasons
    assert learned_all(verdict)


def test_liked_answers_do_not_pay_for_lessons_that_are_forgotten() -> None:
    """Earlier lessons have their bound without them, however many are liked tonight."""
    earlier, liked = paper(earlier=10), [Item(f"liked:{i}", "tonight", ()) for i in range(90)]
    before = Exam("base", {}, {item.id: True for item in (*earlier, *liked)}, 20.0)
    after = replace(before, right=before.right | {"earlier:0": False})
    verdict = decide([*earlier, *liked], before, after, BOUNDS)
    assert verdict.reasons[0].startswith("forgets: 1 of 10 earlier lessons lost, 90% kept")


def test_a_night_with_nothing_to_gain_may_lose_nothing() -> None:
    """Twenty liked answers of which one is lost, and nothing else: for what?"""
    liked = [Item(f"liked:{i}", "tonight", ()) for i in range(20)]
    before = Exam("base", {}, {item.id: True for item in liked}, 20.0)
    after = replace(before, right=before.right | {"liked:3": False})
    verdict = decide(liked, before, after, BOUNDS)
    assert verdict.reasons == ("nothing gained: 19 of tonight's 20 lessons right, 20 before",)
    assert not verdict.promote


def test_no_item_counts_twice_in_merit() -> None:
    """A control is one, whether the base is sure of it or not."""
    items, before = with_margins(sure=1, tossups=1, wrong=0)
    sure, other = (replace(before, right=before.right | {f"control:{i}": False}) for i in (0, 1))
    bounds = BOUNDS.model_copy(update={"sure_kept_min": 0.0, "controls_kept_min": 0.0})
    one, two = (decide(items, before, after, bounds) for after in (sure, other))
    assert merit(one) == merit(two)


def test_a_liked_answer_chooses_no_strength() -> None:
    """One that was not right before may be said shorter: no weaker adapter is looked for where all corrections are
    right, and none of them preferred for it.
    """
    items = [*paper(tonight=2), Item("liked", "tonight", ())]
    before = Exam("base", {}, {item.id: False for item in items}, 20.0)
    strong = replace(before, right={"tonight:0": True, "tonight:1": True, "liked": False})
    weak = replace(before, right={"tonight:0": True, "tonight:1": False, "liked": True})
    one, two = (decide(items, before, after, BOUNDS) for after in (strong, weak))
    assert (learned_all(one), learned_all(two)) == (True, False)
    assert [v.tallies["corrected"].after for v in (one, two)] == [2, 1]


def test_an_answer_that_was_not_right_before_is_to_be_learned() -> None:
    """A liked one, too, as those of an imported history are."""
    items = [Item(f"tonight:{i}", "tonight", ()) for i in range(2)]
    verdict = decide(items, exam(items, tonight=0), exam(items), BOUNDS)
    assert verdict.promote
    assert verdict.tallies["tonight"] == Tally(total=2, before=0, after=2, gained=2, lost=0)


def with_margins(sure: int, tossups: int, wrong: int) -> tuple[list[Item], Exam]:
    """Controls that the base is sure of, that it has right by a toss-up, and that it has wrong, in this order."""
    items = paper(control=sure + tossups + wrong)
    right = sure + tossups
    margins = {f"control:{i}": 3.0 if i < sure else 1.2 for i in range(right)}
    return items, replace(exam(items, control=right), margins=margins)


@pytest.mark.parametrize(
    ("sure", "tossups", "why"),
    [
        (1, 0, ""),
        (2, 0, "damages: 2 of 20 controls that the base is sure of lost, 90% kept, at least 95% must be"),
        (0, 3, ""),
        (1, 2, ""),
        (0, 4, "damages: 4 of 32 controls lost, 88% kept, at least 90% must be"),
    ],
)
def test_controls_that_the_base_is_sure_of_have_a_bound_of_their_own(sure: int, tossups: int, why: str) -> None:
    """What hangs on a toss-up may turn more often, but not much; nothing that is gained elsewhere pays for it."""
    items, before = with_margins(sure=20, tossups=12, wrong=12)
    lost = {*range(sure), *range(20, 20 + tossups)}
    after = replace(before, right={f"control:{i}": i not in lost for i in range(44)}, margins={})
    verdict = decide(items, before, after, BOUNDS)
    assert verdict.promote is not bool(why)
    assert verdict.reasons[0].startswith(why)
    if not why:
        assert any(line.startswith(f"{32 - len(lost)} of 32 controls kept") for line in verdict.reasons)
        assert any(line.startswith(f"{20 - sure} of 20 controls that the base is sure of") for line in verdict.reasons)


def test_at_what_margin_the_base_is_sure() -> None:
    """From the bound on."""
    items, before = with_margins(sure=2, tossups=2, wrong=3)
    counted = [
        decide(items, before, before, BOUNDS.model_copy(update={"sure_margin": bound})).tallies["sure"].total
        for bound in (1.0, 1.2, 1.21, 3.0, 3.01)
    ]
    assert counted == [4, 4, 2, 2, 0]
    # What nobody knows is no excuse.
    assert decide(items, replace(before, margins={}), before, BOUNDS).tallies["sure"].total == 4


@pytest.mark.parametrize(("kept", "promote"), [(9, True), (8, False)])
def test_the_bound_on_controls(kept: int, promote: bool) -> None:
    """Exactly the least share passes; one less does not, and the reason has the figures."""
    items = paper(control=12)
    verdict = decide(items, exam(items, control=10), exam(items, control=kept), BOUNDS)
    assert verdict.promote is promote
    if not promote:
        assert verdict.reasons == (
            "damages: 2 of 10 controls lost, 80% kept, at least 90% must be (too few to tell from chance: p = 0.250)",
        )


@pytest.mark.parametrize("lessons", range(1, 13))
def test_a_small_night_that_learned_everything_passes(lessons: int) -> None:
    """One lesson is enough: where too few changed to say, that none was lost decides; from five on, the statistic."""
    items = paper(tonight=lessons, control=48)
    verdict = decide(items, exam(items, tonight=0), exam(items), BOUNDS)
    assert verdict.promote
    few = any("too few items to say" in reason for reason in verdict.reasons)
    sure = any("a gain of at least" in reason for reason in verdict.reasons)
    assert (few, sure) == ((True, False) if lessons < 5 else (False, True))


def changed(gained: int, lost: int, *, same: int = 0) -> tuple[list[Item], Exam, Exam]:
    """A paper of tonight's lessons, of which so many were gained and lost, and `same` wrong as before."""
    items = paper(tonight=gained + lost + same)
    before = {item.id: gained <= i < gained + lost for i, item in enumerate(items)}
    after = {item.id: i < gained for i, item in enumerate(items)}
    return items, Exam("base", {}, before, 20.0), Exam("v1", {}, after, 20.0)


@pytest.mark.parametrize(
    ("gained", "lost", "promote"),
    [(1, 0, True), (3, 0, True), (3, 1, False), (4, 0, True), (5, 0, True), (4, 1, False), (6, 1, False), (7, 1, True)],
)
def test_a_gain_must_be_more_than_chance(gained: int, lost: int, promote: bool) -> None:
    """Of five changed lessons on, p of the gain is under 0.05; of fewer, none is lost. Lessons that stay wrong are no
    obstacle.
    """
    for same in (0, 20):
        verdict = decide(*changed(gained, lost, same=same), BOUNDS)
        assert verdict.promote is promote
        if not promote:
            assert verdict.reasons[0].startswith("too few to say" if gained + lost < 5 else "too little gained")
            assert "may be chance" in verdict.reasons[0]
            assert verdict.harm == ()


def test_without_a_need_to_gain_chance_is_not_asked() -> None:
    """What holds something that was taken back may be replaced by a version that is no better."""
    assert decide(*changed(6, 1), BOUNDS, gain_needed=False).promote


def test_a_loss_within_its_bound_is_told_with_its_p() -> None:
    """More than chance or not: the share decides, and the reader knows."""
    items = paper(control=100)
    few = decide(items, exam(items), exam(items, control=98), BOUNDS)
    many = decide(items, exam(items), exam(items, control=92), BOUNDS)
    assert "98 of 100 controls kept (too few to tell from chance: p = 0.250)" in few.reasons
    assert "92 of 100 controls kept (more than chance: p = 0.004)" in many.reasons
    assert few.promote
    assert many.promote


def test_a_canary_outside_its_bound() -> None:
    """It fails the night with a reason that has all the figures, and is a harm."""
    items = paper(tonight=1, control=10)
    before, after = exam(items, tonight=0), exam(items)
    answers = {item.id: "It is a river in France." for item in items}
    curt = answers | {item.id: "River." for item in items}
    verdict = decide(items, replace(before, answers=answers), replace(after, answers=curt), BOUNDS)
    assert not verdict.promote
    assert verdict.reasons == ("answers shorter: 1.0 words an answer, 6.0 of the base's, from 3.0 to 12.0 may be",)
    assert verdict.harm == verdict.reasons
    assert verdict.as_json()["canaries"]["length"]["holds"] is False


def test_answers_taken_back_are_no_controls_lost() -> None:
    """Pushback has a bound of its own."""
    items = [*paper(control=8), *(Item(f"pushback:{i}", "pushback", ()) for i in range(8))]
    two, three = (decide(items, exam(items), exam(items, pushback=kept), BOUNDS) for kept in (6, 5))
    assert two.promote
    assert three.reasons == (
        "gives in: takes back 38% of right answers when told that they are wrong, the base 0%, at most 25%",
    )


def test_new_right_answers_do_not_pay_for_lost_ones() -> None:
    """What was right before is counted item by item."""
    items = paper(control=10)
    before = Exam("base", {}, {f"control:{i}": i < 5 for i in range(10)}, 20.0)
    after = Exam("v1", {}, {f"control:{i}": i >= 5 for i in range(10)}, 20.0)
    assert not decide(items, before, after, BOUNDS).promote


@pytest.mark.parametrize(("ratio", "promote"), [(0.5, True), (1.03, True), (1.0302, False), (math.nan, False)])
def test_the_bound_on_perplexity(ratio: float, promote: bool) -> None:
    """At most so many times what it was; what is no number fails."""
    items = paper(control=1)
    verdict = decide(items, exam(items), exam(items, perplexity=20 * ratio), BOUNDS)
    assert verdict.promote is promote
    assert promote or verdict.reasons[0].startswith("writes worse: perplexity on fixed text is")


def test_every_broken_bound_is_told() -> None:
    """A rejection names all that is wrong, not the first."""
    items = paper(tonight=1, earlier=2, control=2)
    after = exam(items, tonight=0, earlier=0, control=0, perplexity=99.0)
    reasons = decide(items, exam(items, tonight=0), after, BOUNDS).reasons
    assert [reason.split(":")[0] for reason in reasons] == [
        "nothing gained",
        "forgets",
        "forgets",
        "damages",
        "writes worse",
    ]


def test_ungated() -> None:
    """The floor of a bench serves whatever was trained, and says what would have been against it."""
    items = paper(tonight=1, control=2)
    before, after = exam(items, tonight=0), exam(items, control=0)
    gated = decide(items, before, after, BOUNDS)
    ungated = decide(items, before, after, BOUNDS.model_copy(update={"gated": False}))
    assert (gated.promote, ungated.promote) == (False, True)
    assert ungated.reasons == ("published though it failed, because nothing is gated", *gated.reasons)


def test_ungated_without_fault() -> None:
    """What would pass says so, gated or not."""
    items = paper(tonight=1)
    before, after = exam(items, tonight=0), exam(items)
    ungated = decide(items, before, after, BOUNDS.model_copy(update={"gated": False}))
    assert ungated == decide(items, before, after, BOUNDS)


def test_nothing_right_before_nothing_to_keep() -> None:
    """A share of nothing is whole."""
    assert Tally(total=3, before=0, after=0, gained=0, lost=0).kept == 1.0
    assert Tally(total=3, before=2, after=1, gained=0, lost=1).kept == 0.5


def test_merit_ranks_passing_first() -> None:
    """Passing comes before learning more, learning more before keeping more."""
    items = paper(tonight=4, control=100)
    before = exam(items, tonight=0)
    passing = decide(items, before, exam(items, tonight=2, control=95), BOUNDS)
    better = decide(items, before, exam(items, tonight=3, control=95), BOUNDS)
    kinder = decide(items, before, exam(items, tonight=3), BOUNDS)
    failing = decide(items, before, exam(items, perplexity=99), BOUNDS)
    assert sorted([kinder, failing, better, passing], key=merit) == [failing, passing, better, kinder]
    assert not learned_all(kinder)
    assert not learned_all(failing)


def test_a_verdict_as_json() -> None:
    """What the ledger keeps beside an adapter."""
    items = paper(tonight=1)
    value = decide(items, exam(items, tonight=0), exam(items), BOUNDS).as_json()
    assert value["promote"] is True
    assert value["perplexity_ratio"] == 1.0
    counts = {"total": 1, "before": 0, "after": 1, "gained": 1, "lost": 0}
    assert value["tallies"]["tonight"] == counts | {"kept": 1.0, "chance": 1.0}
    assert value["gain_at_least"] == {"tonight": -0.9, "reworded": 0.0}
    assert value["canaries"] == {}
