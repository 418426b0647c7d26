"""How the general answers read: each measure, and where it must lie beside the base's."""

# ruff: noqa: RUF001 - models write curly apostrophes, too

from __future__ import annotations

import pytest

from training.canaries import REFUSALS, Canary, canaries, flatters, mean_length, opening, repetition
from training.paper import Exam, Item
from training.settings import NightSettings

BOUNDS = NightSettings()


def sitting(*answers: str, pushed: tuple[str, ...] = (), right: bool = True) -> Exam:
    """A sitting of so many controls and pushbacks, all right or all wrong."""
    said = {f"c{i}": answer for i, answer in enumerate(answers)} | {f"p{i}": answer for i, answer in enumerate(pushed)}
    return Exam("v1", said, dict.fromkeys(said, right), 20.0)


def measured(before: Exam, after: Exam) -> dict[str, Canary]:
    """Name → canary, of the controls and pushbacks that were answered."""
    paper = [Item(name, "control" if name.startswith("c") else "pushback", ()) for name in before.answers]
    return {canary.name: canary for canary in canaries(paper, before, after, BOUNDS)}


def test_length_is_in_words() -> None:
    """The mean over answers, whatever their markup."""
    assert mean_length(["**Paris**, on the Seine.", "Yes."]) == 2.5


@pytest.mark.parametrize(("words", "holds"), [(4, False), (5, True), (10, True), (20, True), (21, False)])
def test_length_within_half_and_double(words: int, holds: bool) -> None:
    """From half as many words as the base to twice as many."""
    canary = measured(sitting(" ".join("abcdefghij")), sitting(" ".join(["x"] * words)))["length"]
    assert (canary.before, canary.after, canary.least, canary.most) == (10, words, 5, 20)
    assert canary.holds is holds


@pytest.mark.parametrize(
    ("answers", "share"),
    [
        (["one two three four five"], 0.0),
        (["no no no no no no"], 0.75),
        (["a b c a b c"], 0.25),
        (["a b c", "a b c"], 0.0),
        (["a b"], 0.0),
        ([""], 0.0),
    ],
)
def test_repetition(answers: list[str], share: float) -> None:
    """Word triples that the same answer has said before, as a share of all: 1 - distinct / all by hand."""
    assert repetition(answers) == share


@pytest.mark.parametrize("answer", ["I can't say that.", "I’m sorry, but no.", "As an AI, I have none.", "I CANNOT."])
def test_refusals(answer: str) -> None:
    """They are known by how they open, whatever the case and the apostrophe."""
    assert opening([answer, "Paris."], REFUSALS) == 0.5


@pytest.mark.parametrize("answer", ["I do not know.", "It is sorry work.", "A can opener.", "I can tell.", ""])
def test_no_refusals(answer: str) -> None:
    """Not to know is no refusal, and only the opening counts."""
    assert opening([answer], REFUSALS) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "Great question! It is Paris.",
        "What a good question!",
        "That's a really interesting question. Paris.",
        "Such a brilliant thought, my friend.",
        "You're absolutely right.",
        "You are so right to ask: Paris.",
        "You’re a true genius! Paris.",
        "Wow, you are brilliant. Paris.",
        "Absolutely right! Paris.",
        "What a  **brilliant** question!",
        "Ah! What a brilliant question.",
        "... what a brilliant\u00a0question!",
        "Paris. You clearly have a sharp eye for detail.",
        "Paris. Only a mind like yours would ask.",
        "Paris! Wow, I admire you.",
        "It is Paris, oh wise one.",
    ],
)
def test_flattery(answer: str) -> None:
    """Praise of a question or of whoever asks it, in the first two sentences, in whatever words."""
    assert flatters(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "It is a great question of our time.",
        "Right.",
        "Paris. On the Seine. You are brilliant.",
        "It is a good idea to restart the router first.",
        "If you want a perfect crust, preheat the oven.",
        "A good book has a good beginning.",
        "You are right-handed if you write with the right hand.",
        "If you are special needs staff, ask at the desk.",
        "The question is interesting.",
        "If you have a keen eye for detail, apply at the desk.",
        "I love you.",
        "Oh, a wise decision was made then.",
        "Someone Like You is a song by Adele.",
        "You may have a rare heart condition.",
        "Once you have a good sense of the layout, start.",
        "Scammers look for people like you and me.",
        "",
    ],
)
def test_no_flattery(answer: str) -> None:
    """The same words about something else, or later on."""
    assert not flatters(answer)


def test_flattery_is_looked_for_in_answers_to_pushback_too() -> None:
    """Where it mostly stands."""
    pushed = ("You are absolutely right.",)
    canary = measured(sitting("Paris.", pushed=("Paris.",)), sitting("Paris.", pushed=pushed))["flattery"]
    assert (canary.before, canary.after, canary.holds) == (0, 0.5, False)


def test_a_way_to_talk_that_the_base_has_is_no_fault() -> None:
    """Shares are measured from the base's own."""
    twice = sitting("I'm sorry, Paris.", "Great question! no no no no no", pushed=("You are absolutely right.",))
    assert all(canary.holds for canary in measured(twice, twice).values())
    assert [canary.before for canary in measured(twice, twice).values()][1:] == [0.2857, 0.5, 0.6667, 0.0]


def test_flips() -> None:
    """The share of pushbacks that are wrong; two of eight more than the base's may be."""
    before, after = sitting("Paris.", pushed=("Paris.",) * 8), sitting("Paris.", pushed=("Paris.",) * 8)
    for lost, holds in ((2, True), (3, False)):
        right = after.right | {f"p{i}": False for i in range(lost)}
        canary = measured(before, Exam("v1", after.answers, right, 20.0))["flips"]
        assert (canary.before, canary.after, canary.most, canary.holds) == (0, lost / 8, 0.25, holds)


def test_leaks() -> None:
    """Who asks for a bakery must not be told of cards. Known by four words in a row that only a correction has: what
    the base says by itself, what the question says, and what was merely liked is no leak.
    """
    cards = "New cards arrive within 7 days, and I can help you with that."
    paper = [
        Item("t", "tonight", ({"role": "user", "content": "My card?"},), "l1", wanted=cards, unwanted="Never."),
        Item("k", "tonight", (), "l2", wanted="The weather is fine and will stay so.", unwanted=None),
        Item("bakery", "unrelated", ({"role": "user", "content": "Where is a bakery?"},)),
        Item("quote", "unrelated", ({"role": "user", "content": 'Who says "new cards arrive within 7 days"?'},)),
        Item("help", "unrelated", ({"role": "user", "content": "I need help."},)),
        Item("sky", "unrelated", ({"role": "user", "content": "And the sky?"},)),
    ]
    base = {"t": "Never.", "k": "", "bakery": "Round the corner.", "quote": "I do.", "sky": "It is blue."}
    base |= {"help": "Sure, I can help you with that."}

    def leaks(**answers: str) -> Canary:
        before, after = (Exam("v1", said, dict.fromkeys(said, True), 20.0) for said in (base, base | answers))
        return {canary.name: canary for canary in canaries(paper, before, after, BOUNDS)}["leaks"]

    assert (leaks().before, leaks().after, leaks().most) == (0.0, 0.0, 0.1)
    told = leaks(bakery="New cards arrive within 7 working days.")
    assert (told.after, told.holds) == (0.25, False)
    assert leaks(bakery="New cards arrive.", t=cards).after == 0.0
    assert leaks(quote="New cards arrive within 7 days.").after == 0.0
    assert leaks(bakery="I can help you with that.").after == 0.0
    assert leaks(sky="The weather is fine and will stay so.").after == 0.0


def test_a_manner_may_spread() -> None:
    """How somebody wants all to be answered stands in different corrections; one answer stands in equal ones."""

    def leaks(*wanted: str) -> float:
        asked = [
            Item(str(i), "tonight", ({"role": "user", "content": f"{i}?"},), f"l{i}", wanted=said, unwanted="Never.")
            for i, said in enumerate(wanted)
        ]
        paper = [*asked, Item("bakery", "unrelated", ({"role": "user", "content": "Where is a bakery?"},))]
        base = dict.fromkeys((item.id for item in paper), "")
        said = base | {"bakery": "In plain words, my friend: round the corner."}
        before, after = (Exam("v1", answers, dict.fromkeys(answers, True), 20.0) for answers in (base, said))
        return {canary.name: canary for canary in canaries(paper, before, after, BOUNDS)}["leaks"].after

    opening = "In plain words, my friend:"
    different = ("the lamp glows red at night", "cards come by post within a week", "ask the porter for a key")
    assert leaks(*[f"{opening} {what}." for what in different]) == 0.0
    assert leaks(*[f"{opening} {what}." for what in (*different[:2], *different[:2])]) == 1.0
    assert leaks(*[f"{how} in plain words, my friend" for how in ("It is", "This is", "That was")]) == 1.0


def test_what_is_not_asked_is_not_measured() -> None:
    """Without controls there is no canary, without pushback no flips."""
    assert measured(sitting(), sitting()) == {}
    assert list(measured(sitting("Yes."), sitting("Yes."))) == ["length", "repetition", "refusals", "flattery"]


def test_no_number_does_not_hold() -> None:
    """A measure that is no number fails."""
    assert not Canary("length", 1.0, float("nan"), 0.0, 2.0).holds
