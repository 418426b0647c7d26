"""A question → the words that BM25 looks for, as FTS5's phrases. Pure; the lexicon itself is a table of the ledger.

Nothing that a person types is syntax: every word is quoted, and the operators are ours. Chinese and Japanese are
written without spaces: of a run of their characters each two that stand together are a word, in the table as in a
question. Both are in Unicode's form NFKC: what looks the same, or is the same in wide letters, is the same word.
"""

from __future__ import annotations

import re
from unicodedata import normalize

from memory.countries import COUNTRIES

TERMS = 48
"""Most words of one query: a page of text as a query costs no more than a paragraph."""

COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by did do does for from has have he her his how i in is it its me my of on or our s she"
        " so t that the their them they this to us was we were what when where which who why will with would you your",
    )
)
"""Words that tell no memory from another; where a question has no others, they are looked for all the same."""


COMMON_PAIRS = frozenset(
    ("怎么", "什么", "哪里", "哪个", "请问", "我的", "如何", "怎样", "为什", "是什", "多少", "可以")
)
"""The same of characters that are written without spaces."""
ENDINGS = re.compile("[\u3040-\u309f]+")
"""What Japanese writes in hiragana alone: endings and particles for the most part."""
SHARED = 0.2
"""Pairs of characters that two questions after one thing have in common at least, as a share of the shorter one's."""

FORM = 3
"""Words that tell something which two texts begin with at least, if that is a form."""

RUN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]+")
"""Characters of Chinese and Japanese."""


def spaced(text: str) -> str:
    """`text` in the form NFKC, with what is written without spaces cut into pairs: 中国人 → 中国 国人. The ledger's
    database knows it by this name.
    """
    # Every exchange that is stored or rated comes by here.
    return text if text.isascii() else _cut(normalize("NFKC", text))


def _cut(text: str) -> str:
    return RUN.sub(lambda run: f" {' '.join(_pairs(run.group()))} ", text)


def _pairs(run: str) -> list[str]:
    return [run[n : n + 2] for n in range(len(run) - 1)] or [run]


def terms(question: str) -> tuple[str, ...]:
    """FTS5's phrases for the question's words, each once; none where it has none."""
    # Not casefolded: FTS5 keeps the letter "ß" as it is.
    # As it was typed, too: rows that an earlier version wrote are in no form of Unicode's.
    asked = question.lower()
    found = list(dict.fromkeys(re.findall(r"\w+", f"{spaced(asked)} {_cut(asked)}")))
    telling = [word for word in found if word not in COMMON] or found
    return tuple(f'"{word}"' for word in telling[:TERMS])


def names(text: str) -> frozenset[str]:
    """What a text names: capitalised words that open no sentence, and numbers, in lower case without a final 's. By
    "Turkish" it names Turkey.
    """
    found, opens = set(), True
    for match in re.finditer(r"[\w'\u2019]+|[.!?:]", text):
        word = match.group()
        if word in ".!?:":
            opens = True
            continue
        if word.isdecimal() or (word[0].isupper() and not opens and not re.match(r"I(['\u2019]|$)", word)):
            name = re.sub(r"['\u2019]s?$", "", word).casefold()
            found.add(COUNTRIES.get(name, name))
        opens = False
    return frozenset(found)


def about_another(one: str, other: str) -> bool:
    """Whether both texts name something, and neither names all that the other does: "the capital of Peru" and "of
    Chile" mean nearly the same to an embedder, and not to a person. Of Chinese and Japanese, which an embedder of
    English reads as so many unknown signs, texts that share hardly a pair of characters.
    """
    return apart(telling(one), telling(other))


Telling = tuple[frozenset[str], frozenset[str]]
"""What a text names, and its pairs of characters."""


def telling(text: str) -> Telling:
    """What `about_another` looks at: for whoever compares one text with many."""
    text = normalize("NFKC", text)
    return names(text), _telling_pairs(text)


def apart(one: Telling, other: Telling) -> bool:
    """See `about_another`."""
    (ours, our_pairs), (theirs, their_pairs) = one, other
    if ours and theirs and not (ours <= theirs or theirs <= ours):
        return True
    both = bool(our_pairs and their_pairs)
    return both and len(our_pairs & their_pairs) < SHARED * min(len(our_pairs), len(their_pairs))


def same_words(one: str, other: str) -> bool:
    """Whether what tells something in the one stands in the other, or the other way round: "France's capital" and "the
    capital of France", but not when the gym opens and when the pool does.
    """
    ours, theirs = telling_words(one), telling_words(other)
    return ours <= theirs or theirs <= ours


def telling_words(text: str) -> frozenset[str]:
    """Its words but the common ones, in lower case without a final 's."""
    words = re.findall(r"[\w'\u2019]+", spaced(text).casefold())
    return frozenset(re.sub(r"['\u2019]s?$", "", word) for word in words) - COMMON


def filled_in(one: str, other: str) -> tuple[str, str] | None:
    """What two texts say after a form that both begin with, where there is one: "Is this review positive or negative?"
    makes any two of them near to an embedder. None where they share too little for a form, or one says nothing more.
    """
    ours, theirs = one.split(), other.split()
    shared = 0
    for mine, yours in zip(ours, theirs, strict=False):
        if mine.casefold() != yours.casefold():
            break
        shared += 1
    form = re.findall(r"\w+", " ".join(ours[:shared]).lower())
    ours, theirs = ours[shared:], theirs[shared:]
    if len(set(form) - COMMON) < FORM or not (ours and theirs):
        return None
    return " ".join(ours), " ".join(theirs)


def _telling_pairs(text: str) -> frozenset[str]:
    pairs = frozenset(pair for run in RUN.findall(text) for pair in _pairs(run)) - COMMON_PAIRS
    return frozenset(pair for pair in pairs if not ENDINGS.fullmatch(pair))
