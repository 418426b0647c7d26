"""Other wordings of a question, by rules, so that a correction is learned for what it says and not for how it was
asked.

`reword` has four sorts, the ones that change a question most first: turned round, where its shape is known; its
keywords alone, as people in a hurry type them; in a dictionary's words (`training.dictionary`); framed, which fits any
question. English only, and only where the rule is safe. `thinned` leaves words out by chance, in any language that puts
spaces between them (word dropout: Iyyer et al. 2015, Deep Unordered Composition). It teaches other words as well: no
word but the names can be relied on, so each of them comes to be enough (docs/LOG.md). Wordings that a user's stream
keeps for measuring are not asked for here; these are made from the question alone, and where one is the same, or near
it, a dictionary has it so ("the seat of government of Peru").
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Protocol

from training.words import BARE

_WHICH = r"which(?: (?!(?:is|are|was|were|do|does|did)\b)\w+)+?"
_HOW = "how(?: (?:old|tall|long|big|far|deep|high|heavy|large|wide|fast|hot|cold|much|many|expensive))?"
_WH_BE = re.compile(rf"^(what|who|where|when|{_HOW}|{_WHICH}) (is|are|was|were) ([^?!\n]+)\?$", re.IGNORECASE)
_WHO_DID = re.compile(rf"^(who|{_WHICH}) (?!is |are |was |were |do |does |did )(\w+ [^?!\n]+)\?$", re.IGNORECASE)
_DO_I = re.compile(
    r"^(how|where|when|what|who|whom|which [\w ]+?) (do|can|could|should|must|may) (i|we) ([^?!\n]+)\?$", re.IGNORECASE
)
_CAN_I = re.compile(r"^(can|could|may) (i|we) ([^?!\n]+)\?$", re.IGNORECASE)
_OPENING = re.compile(
    r"(what|who|whose|where|when|which|why|how|is|are|was|were|do|does|did|can|could|will|would|should|may|has|have"
    r"|tell|name|give|explain|describe|list|write|the|a|an|in|on|at|for|of)\b",
    re.IGNORECASE,
)
"""First words that may be lower-cased inside a sentence; any other may be a name."""

_TELL = re.compile(r"^(?:please )?tell me (the|my|our|your|his|her|their) ([^.?!\n]+)[.?!]?$", re.IGNORECASE)
"""What asks for a thing without being a question."""

_SHORT = re.compile(r"^(what|who|where|when|how)['\u2019]s\b(?! (?:got|been|had|\w+ed)\b)", re.IGNORECASE)

_UNSIGNED = re.compile(r"^(?:what|who|whose|where|when|which|how)\b[^.:;!?\n]*$", re.IGNORECASE)
"""A question whose sign was left out."""

_BEFORE_LAST = re.compile(r"^([^?\n]+[.!] )([^.:;!?\n\"\u201c\u201d]+\?)$")
"""What is told first, and the one question that follows it."""

_PARTICIPLE = re.compile(
    r"[a-z]{2,}(?<!e)ed|born|made|built|written|held|found|sold|kept|paid|sent|spoken|given|taken|put|won|begun|said|lost"
    r"|caught|bought|brought|taught|fought|spelt|meant|eaten|driven|chosen|broken|stolen|hidden|known|shown|grown|drawn"
    r"|thrown|worn"
)
"""How a word looks behind which no "is" can stand: "when it was written", not "when it written was". Names are none."""

_NO_PARTICIPLE = frozenset(re.findall(r"\w+", "shed sled bred fled shred hundred sacred naked hatred kindred biped"))

_CLAUSE = frozenset(re.findall(r"\w+", "that which who has have had i we you he she they it"))
_NO_STATEMENT = _CLAUSE.union(
    re.findall(
        r"\w+",
        "a an the my our your his her its their of in on at for with by from to most least very and or",
    )
)
"""Words right before the last one, or (`_CLAUSE`) anywhere before it, that make it no participle of the question."""

_PLURAL = re.compile(r"\w+(?<![sui])s$")

_PLACED = re.compile(r"\b(?:in|on|at|for|with|by|from|to|i|we|you|he|she|they|it|that|which)\b", re.IGNORECASE)
"""What stands within more than a name, which no genitive can follow."""

_ENGLISH = re.compile(
    r"\b(the|is|are|of|to|what|who|where|when|which|why|how|does|you|my|about|this|it|for|with|and|not|tell|say|write"
    r"|give|name|into|from|have|did|would|should|please|there|that|your|their)\b",
    re.IGNORECASE,
)
_ENGLISH_TOO = re.compile(r"\b(a|i|me|do|can|or|has|his|her)\b", re.IGNORECASE)
"""Words without one of which, or two of these, a question is hardly English; an English frame would not fit it."""

_ONE_QUESTION = re.compile(r"^[^.:;!?\n\"“”]+\?$")
"""What is one sentence, and holds no text that somebody else wrote."""

_KEYWORDS_MAX = 20
"""Words of a question up to which its keywords are one; a longer text is material, not a question."""

_TURNS = 3
"""Wordings of our own that come before a dictionary's."""

_LEFT_OUT = 0.3
"""Share of the words that are no names which `thinned` leaves out."""

_DRAWS = 2
"""Draws for each version that `thinned` is asked for: some are the same again, or leave too little."""

_SIGNS = ".,:;!?\"'()"

_WANTING = frozenset(("who", "whose", "where", "when"))
"""What tells keywords of a question from those of another: where somebody was born, and when."""

_OF = re.compile(r"^the ([\w ]+?) of (.+)$", re.IGNORECASE)


class Reword(Protocol):
    """What makes up to `most` other wordings of a question, the ones that change it most first."""

    def __call__(self, question: str, *, most: int) -> list[str]: ...


def reword(question: str, *, most: int, explained: Sequence[str] = ()) -> list[str]:
    """Up to `most` other wordings of `question`, the ones that change it most first. Deterministic.

    Args:
        explained: wordings that a dictionary gives. They come behind the first few turns.
    """
    asked = question.strip()
    if not _ENGLISH.search(asked) and len(_ENGLISH_TOO.findall(asked)) < 2:
        return []
    if _UNSIGNED.match(asked):
        asked += "?"
    shouted = asked[1:2].isupper()
    lowered = asked[:1].lower() + asked[1:] if _OPENING.match(asked) and not shouted else asked
    framed = [
        f"Please tell me: {lowered}",
        f"I have a question. {asked}",
        # Behind a text, or the last of several choices, it would be a part of that.
        f"{asked} Answer in one sentence." if _ONE_QUESTION.match(asked) else "",
        f"Quick question: {lowered}",
        f"Hello! {asked}",
        f"{asked} Thank you.",
    ]
    # Keywords between what is turned round: a night of few wordings has both.
    made = chain.from_iterable(zip_longest(_turned(asked), _keywords(asked)))
    ours = [*made, *framed]
    ordered = [*ours[:_TURNS], *explained, *ours[_TURNS:]]
    unique = dict.fromkeys(wording for wording in ordered if wording and wording != question.strip())
    return list(unique)[:most]


def heard_and_unheard(question: str, *, most: int, reword: Reword = reword) -> tuple[list[str], str | None]:
    """Up to `most` wordings to train, and one that is kept for the exam: of however many there are, the last. Of one
    alone it is trained.
    """
    wordings = reword(question, most=most + 1)
    return (wordings[:-1], wordings[-1]) if len(wordings) > 1 or (most == 0 and wordings) else (wordings, None)


def thinned(question: str, *, most: int, wordings: Sequence[str] = ()) -> list[str]:
    """Up to `most` versions of the question and of its `wordings` in turn, with words left out. Deterministic.

    Names and numbers stay, for they say what is asked about. What is asked of it may go: versions that must keep a word
    of it teach far paraphrases no better than sentences do.
    """
    rng = random.Random(hashlib.sha256(question.encode("utf-8", "replace")).digest())
    whole = [question.strip(), *wordings]
    drawn = (_thin(wording, rng) for _ in range(_DRAWS * most // len(whole) + 1) for wording in whole)
    unique = dict.fromkeys(kept for kept in drawn if kept is not None and kept not in whole)
    return list(unique)[:most]


def _thin(wording: str, rng: random.Random) -> str | None:
    words = wording.split()
    kept = [word for place, word in enumerate(words) if rng.random() >= _LEFT_OUT or _is_name(word, place)]
    matters = any(_is_name(word, place) or _bare(word) not in BARE for place, word in enumerate(kept))
    return " ".join(kept) if matters and 2 <= len(kept) < len(words) else None


def _bare(word: str) -> str:
    return word.strip(_SIGNS).casefold()


def _is_name(word: str, place: int) -> bool:
    """Whether a word is, or may be, a name or a number."""
    capital = word[:1].isupper() and (place > 0 or not _OPENING.match(word))
    return capital or any(sign.isdigit() for sign in word)


def _turned(asked: str) -> list[str]:
    """The question as another sentence, where it has a shape that is known."""
    if (match := _BEFORE_LAST.match(asked)) and (last := _turned(match[2])):
        return [match[1] + turned for turned in last]
    if match := _SHORT.match(asked):
        whole = f"{match[1]} is{asked[match.end() :]}"
        return [whole, *_turned(whole)]
    if (match := _TELL.match(asked)) and not _PLURAL.match(match[2].split(" of ")[0].split()[-1]):
        whole = f"What is {match[1].lower()} {match[2]}?"
        return [
            whole,
            *(turned for turned in _turned(whole) if turned[:-1].casefold() != asked.rstrip(".?!").casefold()),
        ]
    if (match := _WH_BE.match(asked)) and match[3].strip():
        return _of_being(*match.groups())
    if match := _DO_I.match(asked):
        return _of_doing(*match.groups())
    if match := _CAN_I.match(asked):
        _, who, act = match.groups()
        return [f"Is it possible to {act}?", f"I would like to {act}. Is that possible?"] if who.lower() == "i" else []
    if match := _WHO_DID.match(asked):
        told = f"{match[1].lower()} {match[2]}"
        return [f"Can you tell me {told}?", f"Do you know {told}?", f"I would like to know {told}."]
    return []


def _of_being(wh: str, be: str, thing: str) -> list[str]:
    wh, be = wh.lower(), be.lower()
    first, last = thing.split()[0], thing.split()[-1]
    if _is_participle(first) or _PLACED.fullmatch(first):
        # It asks what is so, not what a thing is: its words stand as in a sentence.
        told = f"{wh} {be} {thing}"
        return [f"Can you tell me {told}?", f"I would like to know {told}."]
    if last != first and _is_participle(last) and not _NO_STATEMENT.intersection(_telling(thing)):
        told = f"{wh} {thing.removesuffix(last)}{be} {last}"
        return [f"Can you tell me {told}?", f"I would like to know {told}."]
    wordings = [f"Can you tell me {wh} {thing} {be}?"]
    if wh == "what":
        wordings.append(f"Name {thing}.")
        owned = _OF.match(thing)
        if owned and not _PLACED.search(owned[2]):
            wordings.append(f"What {be} {_possessive(owned[2])} {owned[1]}?")
            wordings.append(f"About {owned[2]}: what {be} the {owned[1]}?")
        wordings.append(f"I would like to know {wh} {thing} {be}.")
        wordings.append(f"Tell me {thing}.")
    else:
        wordings.append(f"I would like to know {wh} {thing} {be}.")
    return wordings


def _is_participle(word: str) -> bool:
    return _PARTICIPLE.fullmatch(word) is not None and word not in _NO_PARTICIPLE


def _telling(thing: str) -> set[str]:
    """Of the words before the last one: the one right before it, and those that open a clause."""
    *before, _ = thing.lower().split()
    return {before[-1], *_CLAUSE.intersection(before)}


def _of_doing(wh: str, do: str, who: str, act: str) -> list[str]:
    wh, do, who = wh.lower(), do.lower(), "I" if who.lower() == "i" else who.lower()
    able = "" if do == "do" else f"{do} "
    wordings = [f"Can you tell me {wh} {who} {able}{act}?"]
    if wh == "how":
        wordings += [f"I want to {act}. What do I have to do?", f"Please explain how to {act}."]
    return [*wordings, f"I would like to know {wh} {who} {able}{act}."]


def _keywords(asked: str) -> list[str]:
    """The words that matter, alone."""
    words = re.findall(r"[\w'\u2019-]+", asked)
    kept = [word for word in words if word.casefold() not in BARE - _WANTING]
    if not _ONE_QUESTION.match(asked) or len(words) > _KEYWORDS_MAX or not 2 <= len(kept) < len(words):
        return []
    return [" ".join(kept)]


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"
