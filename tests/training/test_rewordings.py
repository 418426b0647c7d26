"""Other wordings of a question: what must hold for any question, however the rules are tuned."""

from __future__ import annotations

import pytest

from training.rewordings import reword, thinned

QUESTIONS = [
    "What is the capital of Turkey?",
    "Who was the first president of Ghana?",
    "Which river is the longest?",
    "Tell me about NASA.",
    "Translate this: good morning",
    "do I?",
    "what is the capital of turkey",
    "Line one\nand line two?",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_any_question(question: str) -> None:
    """Wordings are deterministic, differ from each other and from the question, and are no more than asked for."""
    wordings = reword(question, most=5)
    assert wordings == reword(question, most=5)
    assert 1 <= len(wordings) <= 5
    assert len(set(wordings)) == len(wordings)
    assert question not in wordings
    assert all(wording.strip() for wording in wordings)


@pytest.mark.parametrize("question", QUESTIONS)
def test_fewer_are_the_first_of_more(question: str) -> None:
    """The exam asks the wording after the last that is trained, so asking for one more must change none before it."""
    for most in range(8):
        assert reword(question, most=most) == reword(question, most=most + 1)[:most]


def test_none() -> None:
    """Nothing asked for, nothing made."""
    assert reword("What is the capital of Turkey?", most=0) == []


def test_the_subject_stays() -> None:
    """Every wording still asks about the same thing."""
    for wording in reword("What is the capital of Turkey?", most=20):
        assert "Turkey" in wording
        assert "capital" in wording


def test_abbreviations_stay_whole() -> None:
    """A question that begins with an abbreviation or with `I` is not lowered in the middle of a sentence."""
    assert not any("nASA" in wording for wording in reword("NASA was founded when?", most=20))
    assert not any(": i " in wording for wording in reword("I want to know when NASA was founded.", most=20))


@pytest.mark.parametrize("question", ["土耳其的首都是哪里？", "Welche Stadt liegt am Bosporus?"])  # noqa: RUF001
def test_another_language(question: str) -> None:
    """An English frame does not fit a question in another language."""
    assert reword(question, most=5) == []


@pytest.mark.parametrize(
    "question",
    [
        "Was ist die Hauptstadt von Australien?",
        "In welchem Jahr fiel die Berliner Mauer?",
        "Qui a inventé le téléphone ?",
    ],
)
def test_a_word_that_english_shares_makes_no_english(question: str) -> None:
    """A short word by itself tells nothing of the language."""
    assert reword(question, most=5) == []


@pytest.mark.parametrize(
    ("question", "made", "not_made"),
    [
        ("what is the currency of Ghana", "Name the currency of Ghana.", "Ghana Answer"),
        ("What's the currency of Ghana?", "What is the currency of Ghana?", None),
        ("Tell me the capital of Peru.", "What is Peru's capital?", "Tell me the capital of Peru?"),
        ("I go to Oslo. What is the currency of Norway?", "I go to Oslo. Name the currency of Norway.", None),
        ("When was Don Quixote published?", "Can you tell me when Don Quixote was published?", "published was"),
        ("Where was Marie Curie born?", "I would like to know where Marie Curie was born.", "born was"),
        ("What is our cat called?", "Can you tell me what our cat is called?", "Name our cat"),
        ("What is in the blue box?", "Can you tell me what is in the blue box?", "Tell me in"),
        ("Which port is used by Redis?", "Can you tell me which port is used by Redis?", "Redis is"),
        ("Which currency does Hungary use?", "currency Hungary use", "which currency does Hungary use."),
        ("What is the timeout of curl in seconds?", "Name the timeout of curl in seconds.", "seconds'"),
        ("How old is Tom?", "I would like to know how old Tom is.", None),
        ("Where is Angkor Wat?", "Where Angkor Wat", None),
    ],
)
def test_shapes_of_questions(question: str, made: str, not_made: str | None) -> None:
    """Each is turned as its grammar wants it, however it was typed."""
    wordings = reword(question, most=20)
    assert made in wordings
    assert not_made is None or not any(not_made in wording for wording in wordings)


@pytest.mark.parametrize(
    ("question", "made"),
    [
        ("What is the population of Freetown?", "Can you tell me what the population of Freetown is?"),
        ("What is the top speed?", "Name the top speed."),
        ("Where is my bed?", "Can you tell me where my bed is?"),
        ("What is the largest town?", "Name the largest town."),
        ("Who was the wife of Prince Ahmed?", "Can you tell me who the wife of Prince Ahmed was?"),
        ("What is the opposite of left?", "Name the opposite of left."),
        ("What is the largest animal that has ever lived?", "Name the largest animal that has ever lived."),
        ("What is the capital of St. Lucia?", "Name the capital of St. Lucia."),
    ],
)
def test_what_is_no_participle(question: str, made: str) -> None:
    """Names, nouns that look like one, what stands behind an article, and what belongs to a clause of its own."""
    assert made in reword(question, most=20)


@pytest.mark.parametrize("question", ["What is  ?", "what's  ?", "Where is \u00a0 ?", "Who is \t?", "?", "What is ?"])
def test_nothing_is_asked(question: str) -> None:
    """Somebody sends it, and no night may fail of it."""
    assert all(wording.strip() for wording in reword(question, most=20))


@pytest.mark.parametrize(
    ("question", "bad"),
    [
        ("Tell me the opening hours.", "What is the opening"),
        ("Give me my money back.", "What is my"),
        ("What's happened?", "What is happened"),
        ("Who's got the key?", "Who is got"),
        ("How often are trains late?", "trains late are"),
        ("¿Has comido hoy?", "question"),
    ],
)
def test_what_has_another_shape(question: str, bad: str) -> None:
    """It only looks like one that is known."""
    assert not any(bad in wording for wording in reword(question, most=20))


def test_names_keep_their_capitals() -> None:
    """Only a word that opens a question is lower-cased inside a sentence."""
    assert "Please tell me: what is rain?" in reword("What is rain?", most=20)
    assert "Please tell me: Paris is the capital of what?" in reword("Paris is the capital of what?", most=20)


@pytest.mark.parametrize("asked", ["Who is Bob? And who is Al?", "What is this!? I mean the lamp?"])
def test_two_sentences_are_framed_not_rebuilt(asked: str) -> None:
    """A rule that turns one question round would tear two apart."""
    assert all(asked[1:] in wording for wording in reword(asked, most=20))


@pytest.mark.parametrize(
    "asked",
    [
        "Is this review positive or negative? What a waste of a good evening",
        "Which story comes next?\nA. The vote is over\nB. Strong quake off Japan",
        "Translate into French: Where are you?",
    ],
)
def test_nothing_is_put_behind_a_text(asked: str) -> None:
    """It would be read as a part of what is classified, chosen from or translated."""
    made = reword(asked, most=20)
    assert made
    assert not [wording for wording in made if "sentence" in wording]
    assert "What is it? Answer in one sentence." in reword("What is it?", most=20)


def test_what_is_shouted_stays_so() -> None:
    """Half a word in small letters is no wording."""
    assert not [wording for wording in reword("WHAT IS THE CAPITAL OF PERU?", most=20) if "wHAT" in wording]


@pytest.mark.parametrize("question", [*QUESTIONS, "Wie hoch ist der Zoll für ein Paket nach Norwegen?"])
def test_words_are_left_out(question: str) -> None:
    """Each version is made of some of the words of one wording in their order; no two are the same, or the question."""
    sentences = reword(question, most=4)
    made = thinned(question, most=12, wordings=sentences)
    assert made == thinned(question, most=12, wordings=sentences)
    assert len(made) == len(set(made)) <= 12
    assert not {question, *sentences} & set(made)
    for version in made:
        assert any(_left(version.split(), wording.split()) for wording in [question, *sentences])


def _left(part: list[str], whole: list[str]) -> bool:
    """Whether `part` is `whole` without some words."""
    rest = iter(whole)
    return len(part) < len(whole) and all(word in rest for word in part)


def test_names_and_numbers_stay() -> None:
    """Whatever else is left out, it is still asked about the same thing."""
    made = thinned("How much does the parcel to New Zealand cost in 2026?", most=16)
    assert len(made) == 16
    assert all("New Zealand" in version and "2026" in version for version in made)


def test_nothing_is_made_of_words_that_say_nothing() -> None:
    """Without names, one of the words that matter is left at least."""
    for version in thinned("When does the night bus to the harbour leave?", most=30):
        assert {"night", "bus", "harbour", "leave?"} & set(version.split())
