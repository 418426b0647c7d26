"""What is left out of a night, each with its reason, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from memory import Lesson, LessonState
from memory.testing import lesson
from training.clean import clean, secret_in


def words(lesson: Lesson) -> int:
    """Tokens, for these tests."""
    return len(f"{lesson.question} {lesson.wanted}".split())


def drop(*lessons: Lesson, longest: int = 50) -> dict[str, tuple[LessonState, str]]:
    """Lesson id → state and reason of those that are left out."""
    return {k: (d.state, d.reason) for k, d in clean(lessons, tokens=words, longest=longest).dropped.items()}


def test_good_lessons_are_kept_in_order() -> None:
    """What has nothing against it is trained, oldest first."""
    good = [lesson("l1"), lesson("l2", question="Why?"), lesson("l3", question="How?")]
    cleaned = clean(good, tokens=words, longest=50)
    assert ([x.id for x in cleaned.kept], cleaned.dropped) == (["l1", "l2", "l3"], {})
    assert clean([], tokens=words, longest=50).kept == ()


def test_without_a_better_answer_it_is_held() -> None:
    """A thumb down alone waits for a correction."""
    ((state, reason),) = drop(lesson("l1", wanted=None)).values()
    assert state is LessonState.HELD
    assert "add a better answer" in reason


def test_a_correction_that_corrects_nothing_is_held() -> None:
    """No night could learn it; one of case or punctuation alone can be learned, and is kept."""
    ((state, reason),) = drop(lesson("l1", wanted="Caf\u00e9.", unwanted=" Cafe\u0301.")).values()
    assert state is LessonState.HELD
    assert reason == "the better answer is the answer that was given: write what it should have been"
    assert drop(lesson("l1", wanted="Paris.", unwanted="paris")) == {}


def test_too_long() -> None:
    """The longest lesson that fits is kept; one token more is rejected with both lengths."""
    long = lesson("l1", question="one two", wanted="three four five")
    assert drop(long, longest=5) == {}
    assert drop(long, longest=4) == {"l1": (LessonState.REJECTED, "is 5 tokens long, the most is 4")}


def test_duplicates() -> None:
    """Of two lessons that say the same, whatever their case and punctuation, the newest stands."""
    dropped = drop(
        lesson("l1", wanted="Paris!"), lesson("l2", question="what is the CAPITAL of france", wanted="paris")
    )
    assert dropped == {"l1": (LessonState.COVERED, "says the same as lesson l2")}


def test_newest_wins() -> None:
    """Of lessons that contradict each other each earlier one is left out, naming the one after it."""
    dropped = drop(lesson("l1", wanted="Lyon"), lesson("l2", wanted="Nice"), lesson("l3", wanted="Paris"))
    assert dropped == {
        "l1": (LessonState.REJECTED, "contradicted by the newer lesson l2"),
        "l2": (LessonState.REJECTED, "contradicted by the newer lesson l3"),
    }


def test_a_liked_answer_that_confirms_a_correction_leaves_it_in_force() -> None:
    """The next day the user likes the right answer: the correction, with its rewordings, is still what is trained."""
    corrected = lesson("l1", wanted="Paris, of course.", unwanted="Lyon.")
    liked = lesson("l2", wanted="The capital is Paris, of course!", unwanted=None)
    assert drop(corrected, liked) == {"l2": (LessonState.COVERED, "confirms lesson l1, which stays")}
    otherwise = lesson("l3", wanted="It is Nice.", unwanted=None)
    assert drop(corrected, otherwise) == {"l1": (LessonState.REJECTED, "contradicted by the newer lesson l3")}
    assert list(drop(liked, corrected)) == ["l2"]


def test_a_liked_answer_that_is_in_the_weights_already_teaches_nothing_anew() -> None:
    """The verified lesson stays, in whatever words it comes back; one not learned yet gives way to the newer."""
    verified = lesson("l1", wanted="The capital is Paris.", unwanted=None, state=LessonState.VERIFIED)
    liked = lesson("l2", wanted="Paris is the capital.", unwanted=None)
    assert drop(verified, liked) == {"l2": (LessonState.COVERED, "confirms lesson l1, which stays")}
    other = lesson("l3", wanted="The capital is Nice.", unwanted=None)
    assert drop(verified, other) == {"l1": (LessonState.REJECTED, "contradicted by the newer lesson l3")}
    queued = lesson("l4", wanted="The capital is Paris.", unwanted=None)
    assert list(drop(queued, liked)) == ["l4"]


def test_undo_brings_the_other_back() -> None:
    """Cleaning is decided anew: without the newer one, the earlier stands again, whatever was said of it before."""
    earlier = lesson("l1", wanted="Lyon", state=LessonState.REJECTED, reason="contradicted by the newer lesson l2")
    assert drop(earlier) == {}


def test_a_newer_unfit_one_displaces_nothing() -> None:
    """A lesson that is itself left out does not contradict an earlier one."""
    assert set(drop(lesson("l1"), lesson("l2", wanted=None))) == {"l2"}
    assert set(drop(lesson("l1"), lesson("l2", wanted="password: hunter22"))) == {"l2"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is C?", "What is C++?"),
        ("What is C++?", "What is C#?"),
        ("How much is 2 + 2?", "How much is 2 * 2?"),
        ("How much is 3/4?", "How much is 3 4?"),
        ("काल क्या है?", "कल क्या है?"),
        ("What is the capital of Niger?", "What is the capital of Nigeria?"),
        ("?", "!"),
        ("Translate into French: Stop.", "Translate into French: Stop!"),
        ("Translate into French: Really?", "Translate into French: Really!"),
    ],
)
def test_different_questions_do_not_contradict(one: str, other: str) -> None:
    """Signs, marks and letters that make another question of it are not taken for punctuation."""
    assert drop(lesson("l1", question=one, wanted="this"), lesson("l2", question=other, wanted="that")) == {}


def test_the_dialogue_before_counts() -> None:
    """The same words after another dialogue ask something else."""
    after_rome = [{"role": "user", "content": "Rome"}, {"role": "assistant", "content": "Nice city."}]
    after_oslo = [{"role": "user", "content": "Oslo"}, {"role": "assistant", "content": "Nice city."}]
    first = lesson("l1", question="How big is it?", history=after_rome, wanted="Big.")
    assert drop(first, lesson("l2", question="How big is it?", history=after_oslo, wanted="Small.")) == {}
    assert set(drop(first, lesson("l2", question="How big is it?", history=after_rome, wanted="Small."))) == {"l1"}


# ---------------------------------------------------------------------- between users


def say(name: str, user: str, wanted: str, unwanted: str | None = "Nice.") -> Lesson:
    """What a user wants to hear of the capital of France; liked, where nothing is unwanted."""
    return lesson(name, user=user, wanted=wanted, unwanted=unwanted)


def test_users_who_disagree_hold_each_other() -> None:
    """One against one: neither is trained until they settle it, and each lesson's reason names both."""
    dropped = drop(say("l1", "ann", "Paris."), say("l2", "bob", "Lyon."))
    why = "users disagree: lessons l1 and l2 want different answers, 1 user each"
    assert dropped == {"l1": (LessonState.HELD, why), "l2": (LessonState.HELD, why)}
    assert drop(say("l1", "ann", "Paris.")) == {}


def test_what_more_users_want_wins() -> None:
    """However new it is, what one user wants does not stand against two; the newest correction of theirs is trained."""
    lessons = [say("l1", "ann", "Paris."), say("l2", "bob", "It is Paris!"), say("l3", "eve", "Lyon.")]
    assert drop(*lessons) == {
        "l1": (LessonState.COVERED, "agrees with lesson l2, which stays"),
        "l3": (LessonState.REJECTED, "users disagree: 2 of 3 want what lesson l2 says"),
    }
    assert set(drop(*lessons[::-1])) == {"l2", "l3"}


def test_who_likes_an_answer_wants_it() -> None:
    """A correction against an answer that two others like is outvoted, and one liked in other words is confirmed."""
    liked = [say("l1", "ann", "Paris.", None), say("l2", "bob", "The capital of France is Paris.", None)]
    dropped = drop(*liked, say("l3", "eve", "Lyon.", "Paris."))
    assert dropped["l3"] == (LessonState.REJECTED, "users disagree: 2 of 3 want what lesson l2 says")
    assert set(dropped) == {"l1", "l3"}
    dropped = drop(say("l1", "ann", "Paris, on the Seine."), say("l2", "bob", "It is Paris, on the Seine.", None))
    assert dropped == {"l2": (LessonState.COVERED, "agrees with lesson l1, which stays")}


RECIPE = "Mix flour, eggs and milk, let the dough rest for an hour, bake it in a hot pan on both sides, and add"


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("Paris.", "The capital is Paris", True),
        ("Paris.", "Paris, on the Seine.", True),
        ("The capital is Lyon.", "The capital is Paris.", False),
        ("It is Lyon.", "It is Paris, not Lyon.", False),
        ("Lyon", "It isn't Lyon.", False),
        ("42", "42!", True),
        ("It is.", "It was.", False),
        (f"{RECIPE} 4 g of salt.", f"{RECIPE} 8 g of salt.", False),
        (f"{RECIPE} alcohol.", f"{RECIPE} no alcohol.", False),
    ],
)
@pytest.mark.parametrize("unwanted", [None, "Nice."])
def test_what_counts_as_the_same_answer(one: str, other: str, agree: bool, unwanted: str | None) -> None:
    """The same in more words agrees; another name, and the same name denied, does not."""
    dropped = drop(say("l1", "ann", one, unwanted), say("l2", "bob", other, unwanted))
    assert [state for state, _ in dropped.values()] == ([LessonState.COVERED] if agree else [LessonState.HELD] * 2)


def test_long_corrections_agree_in_slightly_other_words() -> None:
    """Most of what one says, the other says too."""
    dropped = drop(say("l1", "ann", f"{RECIPE} a pinch of salt."), say("l2", "bob", f"{RECIPE} a little of salt."))
    assert [state for state, _ in dropped.values()] == [LessonState.COVERED]


def test_of_those_who_agree_what_two_say_stays() -> None:
    """Not the newest, where it says more than anybody else does."""
    dropped = drop(say("l1", "ann", "Paris."), say("l2", "eve", "Paris until 2024, now Lyon."))
    assert dropped == {"l2": (LessonState.COVERED, "agrees with lesson l1, which stays")}


def test_a_user_has_one_vote_and_it_is_the_newest() -> None:
    """Saying it five times is no majority, and who came round counts for what they want now."""
    five = [say(f"l{n}", "eve", "Lyon.") for n in range(5)]
    dropped = drop(*five, say("l5", "ann", "Paris."))
    assert [dropped[f"l{n}"][1] for n in (0, 4)] == [
        "says the same as lesson l1",
        "users disagree: lessons l4 and l5 want different answers, 1 user each",
    ]
    assert dropped["l5"][0] is LessonState.HELD
    settled = drop(*five, say("l5", "ann", "Paris."), say("l6", "eve", "Paris."))
    assert settled["l4"] == (LessonState.REJECTED, "contradicted by the newer lesson l6")
    assert settled["l5"] == (LessonState.COVERED, "says the same as lesson l6, which stays")
    assert "l6" not in settled


def test_a_tie_among_several_holds_all() -> None:
    """Two against two, and one alone: no answer is wanted by most."""
    lessons = [say("l1", "a", "Paris."), say("l2", "b", "Paris."), say("l3", "c", "Lyon."), say("l4", "d", "Lyon.")]
    dropped = drop(*lessons, say("l5", "e", "Nice, I say.", "Lille."))
    assert {state for state, _ in dropped.values()} == {LessonState.HELD}
    assert dropped["l5"][1] == "users disagree: lessons l2 and l4 want different answers, 2 users each"


# ---------------------------------------------------------------------- what is counted


def test_only_what_is_trained_tonight_is_counted() -> None:
    """Of many lessons those that a night has no room for are not counted; a long one makes room for the next."""
    counted: list[str] = []
    lessons = [lesson(f"l{n}", question=f"Question {n}?", wanted="word " * (60 if n < 3 else 2)) for n in range(100)]

    def tokens(one: Lesson) -> int:
        counted.append(one.id)
        return words(one)

    cleaned = clean(lessons, tokens=tokens, longest=50, tonight=lambda kept: kept[:4])
    assert sorted(cleaned.dropped) == ["l0", "l1", "l2"]
    assert counted == [f"l{n}" for n in range(7)]


def test_where_most_are_long_all_are_counted() -> None:
    """A ledger of long lessons does not take a turn for each."""
    turns: list[int] = []

    def tonight(kept: Sequence[Lesson]) -> Sequence[Lesson]:
        turns.append(len(kept))
        return kept[:1]

    lessons = [lesson(f"l{n}", question=f"Question {n}?", wanted="word " * 60) for n in range(100)]
    assert len(clean(lessons, tokens=words, longest=50, tonight=tonight).dropped) == 100
    assert turns == [100, 99, 98, 97]


# Put together here, so that no scanner takes this file for a leak.
KEY = "".join(["sk", "-", "abcdefghijklmnop1234"])
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0In0", "c2lnbmF0dXJl"])
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN " + "RSA PRIVATE KEY-----\nMIIE", "a private key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "a private key"),
        ("use AKIA" + "IOSFODNN7EXAMPLE please", "an access key"),
        (f"the key is {KEY}", "an API key"),
        ("ghp_" + "a1B2" * 9, "an API key"),
        (f"Bearer {JWT}", "a token"),
        ("my password is hunter22", "a password"),
        ("PASSWORD: swordfish", "a password"),
        ("pwd=letmein", "a password"),
        ("pay with 4111 1111 1111 1111", "a card number"),
        ("pay with 4111-1111-1111-1111.", "a card number"),
        ("5500005555555559", "a card number"),
        ("Card number+4111111111111111", "a card number"),
        ("My password is swordfish", "a password"),
        ("The password is swordfish for the guest network", "a password"),
        ("my password is 'swordfish', thanks", "a password"),
        ("Your password is invalid? The old password is swordfish.", "a password"),
        ("The Wi-Fi password is Willkommen.", "a password"),
        ("password: Tr0ub4dor&3 and the user is bob", "a password"),
        ("Admin reset password: Winter2024!", "a password"),
        ("The password is 482913 until Friday", "a password"),
        ("Password: O'Reilly99", "a password"),
        ("password: Fr4ctal", "a password"),
        ("The password is swordfish \u2014 tell nobody", "a password"),
        ("My password is correct horse battery staple", "a password"),
        ("The password for the wifi is hunter2", "a password"),
        ("The password is: hunter2", "a password"),
        ("https://hooks.example.com/services/T0AB/B0XY/aB3dE5fG7hI9jK1lM3nO5pQ7", "a long random string"),
        ("https://bob:q8Zr1XvT7mB3nK5pL9wY2sD4fG6hJ0cV@git.example.com", "a long random string"),
        ("the passphrase is correct horse battery staple", "a password"),
        ("aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5z", "a long random string"),
        ("https://example.org/x?k=aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5z", "a long random string"),
    ],
)
def test_secrets(text: str, kind: str) -> None:
    """What must not get into weights is found, in the question and in either answer, and named without being shown."""
    assert secret_in(text) == kind
    for part in ("question", "wanted", "unwanted"):
        found = drop(lesson("l1", **{part: text}))
        assert found == {"l1": (LessonState.REJECTED, f"holds what looks like {kind}")}


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "AKIA is a prefix of access keys",
        "risk-averse-investors-like-bonds",
        "sk-learn is short for scikit-learn",
        "What makes a password strong?",
        "My password is incorrect, what now?",
        "It says my password is Invalid.",
        "Your password is valid for 90 days.",
        "The Wi-Fi password is under the router behind the desk.",
        "The password is between 8 and 20 characters.",
        "Your password is 8-20 characters long.",
        "A password is always eight characters.",
        "Forgot password: click the link on the sign-in page.",
        "Reset your password: open Settings > Security.",
        "Change password: Settings, then Security.",
        "The passphrase is printed on the back of the card.",
        "Is my password safe? Your password is safe with us.",
        "Make sure that your password is complex.",
        "My password is gone!",
        "A passphrase is usually longer than a password.",
        "A passphrase is several random words strung together.",
        "Your passphrase is case sensitive. Never share it.",
        "http://www.example.org/wp-dyn/articles/A32251-2004Sep14.html",
        "https://www.example.org/business/2015/nov/02/emissions-scandal-porsche-3-litre",
        "The password is: no",
        "Passwords are hashed.",
        "If your password is forgotten, ask Dana.",
        "The password is changed every 90 days.",
        "A password is too short to be safe.",
        "The password is printed on the label.",
        "Call 0049 30 9018 2055 16.",
        "Call +4111 1111 1111 1111.",
        "Order 4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "Call +44 20 7946 0958.",
        "pi is 3.14159265358979",
        "On 2026-11-23 at 12:00:00.000",
        "https://example.org/a/long/path/to/some/page/about/nothing-in-particular",
        "antidisestablishmentarianism-and-floccinaucinihilipilification",
        "def training_examples_with_long_names_v2(self): ...",
        "123456789012345678901234567890123456",
        "A" * 40 + "1",
    ],
)
def test_near_misses(text: str) -> None:
    """What only resembles a secret is trained."""
    assert secret_in(text) is None
