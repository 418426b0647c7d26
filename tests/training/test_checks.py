"""Whether an answer is right: the streams' checks, and the one for lessons that come without a check."""

# ruff: noqa: RUF001 - look-alikes of other scripts are what is tested

from __future__ import annotations

import re

import pytest

from training.checks import chrf, learned, passes, rouge_l, validate


@pytest.mark.parametrize(
    ("check", "answer", "right"),
    [
        ({"any": ["Ankara"]}, "It is Ankara.", True),
        ({"any": ["Ankara"]}, "it is ankara", True),
        ({"any": ["Ankara"]}, "Istanbul", False),
        ({"any": ["oil"]}, "Boil it.", False),
        ({"any": ["7"]}, "It is 17.", False),
        ({"any": ["7"]}, "It is 7, or 17.", True),
        ({"any": ["Nile"]}, "the_Nile_river", True),
        ({"any": ["C++"]}, "Write it in C++.", True),
        ({"any": ["a", "b"]}, "only b", True),
        ({"any": ["Ankara"], "none": ["Istanbul"]}, "Istanbul, no, Ankara", False),
        ({"any": ["Ankara"], "none": ["Istanbul"]}, "Ankara", True),
        ({"any": ["Ankara"], "none": ["bul"]}, "Ankara, not Istanbul", True),
        ({"any": ["office"]}, "The oﬃce.", True),
        ({"any": ["½"]}, "1⁄2", True),
        ({"any": []}, "anything", False),
    ],
)
def test_contains(check: dict[str, list[str]], answer: str, right: bool) -> None:
    """One string of `any` and none of `none`, not next to a letter or digit, NFKC, whatever the case."""
    assert passes({"kind": "contains", **check}, answer) is right


@pytest.mark.parametrize(
    ("pattern", "answer", "right"),
    [
        (r"^Yes", "Well.\nYes, it is.", True),
        (r"^Yes", "Oh yes: Yes", False),
        (r"\d{4}$", "in 1990\nor so", True),
        (r"^yes", "Yes", False),
        (r"(?i)^yes", "Yes", True),
        (r"fi", "ﬁne", True),
    ],
)
def test_regex(pattern: str, answer: str, right: bool) -> None:
    """A pattern is searched for in the NFKC-normalised answer, line by line."""
    assert passes({"kind": "regex", "pattern": pattern}, answer) is right


def test_unknown_check() -> None:
    """A check that nobody can judge is an error that names it, not a wrong answer."""
    with pytest.raises(ValueError, match="unknown check 'bleu': known are contains, regex, rouge_l, chrf"):
        passes({"kind": "bleu", "reference": "x", "min": 0.5}, "x")


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The council has voted to close the bridge", "Council votes to close the old bridge", 0.6666666666666666),
        ("Stock markets fall", "Markets fall for a third day", 0.4444444444444444),
        ("The CEO says it's a deal of $2.5bn", "It's a $2.5bn deal, says CEO", 0.5555555555555556),
        ("one two three", "One two three", 1.0),
        ("Sunshine", "Rain delays opening match", 0.0),
        ("", "Rain delays opening match", 0.0),
    ],
)
def test_rouge_l(answer: str, reference: str, expected: float) -> None:
    """Expected values are those of the package rouge-score 0.1.2, rougeL F-measure without stemming."""
    assert rouge_l(answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize(("least", "right"), [(0.44, True), (0.45, False)])
def test_rouge_l_check(least: float, right: bool) -> None:
    """At least so much: these two have 0.444."""
    check = {"kind": "rouge_l", "reference": "Markets fall for a third day", "min": least}
    assert passes(check, "Stock markets fall") is right


def test_rouge_l_without_spaces() -> None:
    """Scripts that set no words apart are compared letter by letter: 5 of 6 and 5, in their order."""
    assert rouge_l("首都是安卡拉", "首都安卡拉") == pytest.approx(2 * 5 / 11)


def test_chrf() -> None:
    """Worked out by hand: of "abc" and "abd" 2 of 3 letters, 1 of 2 pairs and no triple agree; the mean of their F2."""
    assert chrf("abc", "abd") == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert chrf("Comment vas-tu ?", "Comment vas-tu ?") == pytest.approx(1)
    assert chrf("", "Comment vas-tu ?") == 0


@pytest.mark.parametrize(("least", "right"), [(0.42, True), (0.43, False)])
def test_chrf_check(least: float, right: bool) -> None:
    """Of a hundred: sacreBLEU 2.6.0 gives these two 42.088."""
    check = {"kind": "chrf", "reference": "Comment vas-tu ?", "min": least}
    assert passes(check, "Comment allez-vous ?") is right


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "contains", "any": ["a"]},
        {"kind": "contains", "any": ["a"], "none": []},
        {"kind": "regex", "pattern": "^In short:"},
        {"kind": "rouge_l", "reference": "a b", "min": 0.3},
        {"kind": "chrf", "reference": "安卡拉", "min": 1},
    ],
)
def test_whole_checks_are_taken(check: dict[str, object]) -> None:
    """With all their fields, as the streams have them."""
    validate(check)


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("contains", "a check is an object with a kind"),
        ({"any": ["a"]}, "a check is an object with a kind"),
        ({"kind": "bleu"}, "unknown check 'bleu': known are contains, regex, rouge_l, chrf"),
        ({"kind": ["regex"]}, "unknown check"),
        ({"kind": "contains"}, "the check contains lacks its field 'any'"),
        ({"kind": "regex"}, "the check regex lacks its field 'pattern'"),
        ({"kind": "rouge_l", "reference": "a"}, "the check rouge_l lacks its field 'min'"),
        ({"kind": "chrf", "min": 0.5}, "the check chrf lacks its field 'reference'"),
        ({"kind": "contains", "any": ["a"], "all": ["b"]}, "knows no field 'all': it has any, none"),
        ({"kind": "contains", "any": "Ankara"}, "must be a list of texts"),
        ({"kind": "contains", "any": [7]}, "must be a list of texts"),
        ({"kind": "contains", "any": []}, "is empty: no answer could be right"),
        ({"kind": "contains", "any": ["a"], "none": None}, "must be a list of texts"),
        ({"kind": "regex", "pattern": "("}, "is no regular expression: missing"),
        ({"kind": "regex", "pattern": 7}, "must be a regular expression"),
        ({"kind": "rouge_l", "reference": "...", "min": 0.3}, "must be a text with words"),
        ({"kind": "rouge_l", "reference": "a", "min": "0.3"}, "must be a number over 0, at most 1"),
        ({"kind": "rouge_l", "reference": "a", "min": 30}, "must be a number over 0, at most 1"),
        ({"kind": "chrf", "reference": "a", "min": float("nan")}, "must be a number over 0, at most 1"),
        ({"kind": "chrf", "reference": "a", "min": True}, "must be a number over 0, at most 1"),
    ],
)
def test_what_could_not_judge_is_refused(check: object, why: str) -> None:
    """With the reason, on one line."""
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        validate(check)
    assert "\n" not in str(caught.value)


TURKEY = "What is the capital of Turkey?"
LONG = "The capital of Turkey is Ankara, which replaced Istanbul as the seat of government in 1923."


@pytest.mark.parametrize(
    ("answer", "wanted", "unwanted", "right"),
    [
        # A short correction: its one own word must come.
        ("Ankara", "Ankara", "Istanbul", True),
        ("The capital of Turkey is Ankara.", "Ankara", "The capital of Turkey is Istanbul.", True),
        ("**Ankara**", "Ankara", "Istanbul", True),
        ("Istanbul", "Ankara", "Istanbul", False),
        ("", "Ankara", "Istanbul", False),
        ("Ankaran", "Ankara", "Istanbul", False),
        # Both at once: the old answer with the new word in it says nothing.
        ("The capital of Turkey is Istanbul, or Ankara.", "It is Ankara.", "The capital of Turkey is Istanbul.", False),
        # A long correction: most of its own words.
        (LONG, LONG, "The capital of Turkey is Istanbul.", True),
        ("Ankara replaced it as seat of government in 1923.", LONG, "It is Istanbul.", True),
        ("It is Ankara.", LONG, "It is Istanbul.", False),
    ],
)
def test_learned_a_correction(answer: str, wanted: str, unwanted: str, right: bool) -> None:
    """A correction is learned when its own words are said, nearer to it than to what it corrects."""
    assert learned(answer, question=TURKEY, wanted=wanted, unwanted=unwanted) is right


def test_learned_a_rewriting() -> None:
    """A correction that says the same in other words is told from the old answer by its own words."""
    old = "As an AI language model I can inform you that dogs bark."
    new = "Dogs bark! They also howl, whine and growl."
    assert learned(new, question="What sound do dogs make?", wanted=new, unwanted=old)
    assert not learned(old, question="What sound do dogs make?", wanted=new, unwanted=old)


SYDNEY = "The capital of Australia is Sydney, which is the largest city. Canberra is where the parliament meets."
HAMBURG = "The office is in Hamburg, which is a large city in the north."
WARRANTY = "The warranty of the kettle is 2 years from purchase. You can extend it to 3 years for a fee."


@pytest.mark.parametrize(
    ("question", "unwanted", "wanted", "answer", "right"),
    [
        ("Capital of Australia?", SYDNEY, "The capital of Australia is Canberra.", "Canberra", True),
        ("Capital of Australia?", SYDNEY, "Canberra", "The capital of Australia is Canberra.", True),
        ("Capital of Australia?", SYDNEY, "Canberra", "The capital of Australia is Sydney.", False),
        ("Capital of Australia?", SYDNEY, "The capital of Australia is Canberra.", "It is Perth.", False),
        ("Capital of Australia?", SYDNEY, "The capital of Australia is Canberra.", SYDNEY, False),
        (
            "Is the office in Hamburg or in Bremen?",
            HAMBURG,
            "The office is in Bremen.",
            "The office is in Hamburg.",
            False,
        ),
        ("Is the office in Hamburg or in Bremen?", HAMBURG, "Bremen", "The office is in Bremen.", True),
        ("Is it good or bad?", "Yes, it is a good film indeed.", "bad", "It is a bad film.", True),
        ("Is it good or bad?", "Yes, it is a good film indeed.", "bad", "It is good, but it is also bad.", False),
        ("How long is the warranty?", WARRANTY, "The warranty is 3 years.", "The warranty is 2 years.", False),
        ("How long is the warranty?", WARRANTY, "The warranty is 3 years.", "The warranty is three years.", True),
    ],
)
def test_learned_what_the_corrected_answer_mentions(
    question: str, unwanted: str, wanted: str, answer: str, right: bool
) -> None:
    """A long wrong answer may have the right word somewhere, and so may the question: it is the word all the same."""
    assert learned(answer, question=question, wanted=wanted, unwanted=unwanted) is right


@pytest.mark.parametrize(
    ("wanted", "answer", "right"),
    [
        ("+49 30 90 18 20 55", "Call +49 30 90 18 20 55.", True),
        ("+49 30 90 18 20 55", "Call +49 30 90 18 20 56.", False),
        ("It is open from 8:30 to 18:45.", "It is open from 8:30 to 18:15.", False),
        ("It opens at 8:30.", "The Berlin office opens at 8:30.", True),
        ("She is 34.", "Anna is 34.", True),
        ("It's Canberra.", "The answer is Canberra.", True),
        ("2", "There are two moons.", True),
        ("Two.", "There are 2 moons.", True),
        ("March 14", "It is on March 14th.", True),
        ("On 21 May", "It is on 21 June.", False),
        ("5,199 m", "It is 5199 m high.", True),
        ("5,199 m", "It is 5198 m high.", False),
        ("The population is 1.5 million.", "The population is 1.4 million.", False),
    ],
)
def test_numbers_and_grammar(wanted: str, answer: str, right: bool) -> None:
    """One digit makes another number, however many are right; how it is spelt, and what fills a sentence, does not."""
    assert learned(answer, question="What is it?", wanted=wanted, unwanted="I do not know that.") is right


@pytest.mark.parametrize(
    ("question", "unwanted", "wanted", "answer", "right"),
    [
        ("Is it in room 4 or room 5?", "Room 5.", "Room 4.", "It is in room 4.", True),
        ("Is it in room 4 or room 5?", "Room 5.", "Room 4.", "It is in room 5.", False),
        ("White wine or white beer?", "White beer.", "White wine.", "White wine, please.", True),
        ("What is the capital of Australia?", SYDNEY[:38], "It is Canberra.", "Sydney and Canberra.", True),
        (
            "What is the capital of Australia?",
            "Sydney. Parliament is in Canberra.",
            "Canberra.",
            "It is Canberra.",
            True,
        ),
        (
            "What is the capital of Australia?",
            "Sydney. Parliament is in Canberra.",
            "Canberra.",
            "Sydney and Canberra.",
            False,
        ),
        (
            "What is the capital of Australia?",
            "Sydney. Parliament is in Canberra.",
            "Canberra.",
            "Melbourne, but parliament is in Canberra.",
            False,
        ),
        (
            "What is the capital of Australia?",
            "Sydney is the largest city of Australia, Canberra is where the parliament meets.",
            "The capital of Australia is Canberra.",
            "The capital of Australia is Perth.",
            False,
        ),
        ("Who wrote Faust?", "Schiller, a friend of Goethe.", "Goethe wrote Faust.", "Schiller wrote Faust.", False),
        ("Who wrote Faust?", "Schiller, a friend of Goethe.", "Goethe wrote Faust.", "Goethe.", True),
    ],
)
def test_choices_and_what_is_mentioned(question: str, unwanted: str, wanted: str, answer: str, right: bool) -> None:
    """Both sides of a choice may share a word, and what the old answer mentions too must come first."""
    assert learned(answer, question=question, wanted=wanted, unwanted=unwanted) is right


@pytest.mark.parametrize(
    ("wanted", "unwanted"),
    [
        ("3.141", "3,141"),
        ("July 14th", "July 14"),
        ("There are 8 planets.", "There are eight planets."),
        ("twelve", "12"),
        ("Because it rained.", "It rained."),
        ("It rained.", "Because it rained."),
        ("no doubt", "doubt"),
    ],
)
def test_the_wanted_passes_and_the_unwanted_does_not(wanted: str, unwanted: str) -> None:
    """Whatever the correction is about, be it how a number is spelt."""
    assert learned(wanted, question="Why?", wanted=wanted, unwanted=unwanted)
    assert not learned(unwanted, question="Why?", wanted=wanted, unwanted=unwanted)


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("It costs €5.00 a month.", "It costs €5 a month."),
        ("At 9:00.", "At 9 am."),
        ("299,792 km/s", "It is 299 792 km/s."),
        ("1,500,000 people.", "It has 1 500 000 people."),
        ("1. Open the app.\n2. Tap Freeze.\n3. Call 112.", "Open the app, tap Freeze, and call 112."),
    ],
)
def test_numbers_in_other_spellings(wanted: str, answer: str) -> None:
    """A price, an hour, groups of digits, and a list that is told in prose."""
    assert learned(answer, question="How is it?", wanted=wanted, unwanted="I do not know.")


def test_what_a_correction_denies_need_not_be_said() -> None:
    """Whoever says Canberra has learned "Canberra, not Sydney", and who denies it has not."""
    lesson = {"question": "Capital of Australia?", "wanted": "Canberra, not Sydney.", "unwanted": "It is Sydney."}
    assert learned("It is Canberra.", **lesson)
    assert not learned("It is not Canberra.", **lesson)


def test_learned_to_leave_out() -> None:
    """A correction that only removes words has none of its own: the nearer of the two answers decides."""
    old, new = "Paris, I think, but you should really ask somebody else.", "Paris."
    assert learned("Paris.", question="Capital of France?", wanted=new, unwanted=old)
    assert not learned(old, question="Capital of France?", wanted=new, unwanted=old)


@pytest.mark.parametrize(
    ("answer", "right"), [("You have a warm voice.", True), ("You have a very warm voice!", True), ("Go away.", False)]
)
def test_learned_a_liked_answer(answer: str, right: bool) -> None:
    """A liked answer still holds when about the same is said."""
    assert learned(answer, question="Say something nice.", wanted="You have a warm voice.", unwanted=None) is right


@pytest.mark.parametrize(
    ("question", "wanted", "unwanted", "answer"),
    [
        ("Какая столица Турции?", "Анкара", "Стамбул", "Столица Турции — Анкара."),
        ("土耳其的首都是哪里？", "首都是安卡拉。", "首都是伊斯坦布尔。", "土耳其的首都是安卡拉。"),
        ("トルコの首都はどこですか？", "アンカラです。", "イスタンブールです。", "トルコの首都はアンカラです。"),
        ("ตุรกีมีเมืองหลวงชื่ออะไร", "อังการา", "อิสตันบูล", "เมืองหลวงคืออังการา"),
        ("तुर्की की राजधानी क्या है?", "अंकारा", "इस्तांबुल", "राजधानी अंकारा है।"),
        ("ما هي عاصمة تركيا؟", "أنقرة", "إسطنبول", "عاصمة تركيا هي أنقرة."),
        ("What language is it?", "C#", "C++", "It is C#."),
    ],
)
def test_learned_in_any_script(question: str, wanted: str, unwanted: str, answer: str) -> None:
    """Scripts without spaces, with marks on letters, from right to left; and languages told apart by signs."""
    assert learned(answer, question=question, wanted=wanted, unwanted=unwanted)
    assert not learned(unwanted, question=question, wanted=wanted, unwanted=unwanted)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("The capital of Turkey is not Ankara.", False),
        ("The capital of Turkey isn't Ankara.", False),
        ("Ankara is not the capital of Turkey.", False),
        ("It is not Ankara but Istanbul.", False),
        ("Neither Istanbul nor Ankara.", False),
        ("The capital of Turkey is Ankara, not Istanbul.", True),
        ("It is not Istanbul but Ankara.", True),
        ("No, it's Ankara.", True),
        ("Ankara is the capital. It isn't large.", True),
        ("Not only is Ankara the capital, it is also old.", True),
        ("It is Ankara instead of Istanbul.", True),
        ("It's Ankara instead.", True),
    ],
)
def test_a_denial_is_no_answer(answer: str, right: bool) -> None:
    """The words of a correction don't count where they are denied; what it corrects may be denied."""
    wanted, unwanted = "The capital of Turkey is Ankara.", "The capital of Turkey is Istanbul."
    assert learned(answer, question=TURKEY, wanted=wanted, unwanted=unwanted) is right


def test_a_liked_answer_does_not_hold_when_it_is_denied() -> None:
    """One word more, and the opposite is said; also where the question has all of the words."""
    liked = "The capital of France is Paris."
    assert not learned("The capital of France is not Paris.", question="Capital?", wanted=liked, unwanted=None)
    asked = "Is Paris the capital of France?"
    assert not learned("Paris is not the capital of France.", question=asked, wanted=liked, unwanted=None)
    assert learned("Paris is the capital of France.", question=asked, wanted=liked, unwanted=None)


def test_a_correction_that_denies_is_learned_by_denying() -> None:
    """What the lesson itself denies must be denied."""
    asked, wanted, unwanted = "Can bats see?", "Bats are not blind, they see.", "Bats are blind and hear."
    assert learned("Bats are not blind, they see.", question=asked, wanted=wanted, unwanted=unwanted)
    assert not learned("Bats are blind and hear.", question=asked, wanted=wanted, unwanted=unwanted)


@pytest.mark.parametrize(
    ("wanted", "unwanted"),
    [
        ("Paris is the capital.", "paris is the capital"),
        ("NASA", "Nasa"),
        ("Yes!", "Yes."),
        ("- one\n- two", "one two"),
        ("😀", "😢"),
    ],
)
def test_case_and_punctuation_can_be_corrected(wanted: str, unwanted: str) -> None:
    """Two answers of the same words are told apart by their letters, so that the lesson can be learned."""
    assert learned(wanted, question="Which?", wanted=wanted, unwanted=unwanted)
    assert not learned(unwanted, question="Which?", wanted=wanted, unwanted=unwanted)
    assert not learned("Something else", question="Which?", wanted=wanted, unwanted=unwanted)
