"""Other wordings of a question, by rules, so that a correction is learned for what it says and not for how it was
asked.

English only, and only where the rule is safe: a question of another shape is framed, not rebuilt. Wordings that a
user's stream keeps for measuring never come in here; these are made from the question alone.
"""

from __future__ import annotations

import re

_WH_BE = re.compile(r"^(what|who|where|when|which [\w ]+?) (is|are|was|were) ([^?!\n]+)\?$", re.IGNORECASE)
_OPENING = re.compile(
    r"(what|who|whose|where|when|which|why|how|is|are|was|were|do|does|did|can|could|will|would|should|may|has|have"
    r"|tell|name|give|explain|describe|list|write|the|a|an|in|on|at|for|of)\b",
    re.IGNORECASE,
)
"""First words that may be lower-cased inside a sentence; any other may be a name."""

_ENGLISH = re.compile(
    r"\b(the|a|an|is|are|of|to|in|what|who|where|when|which|why|how|do|does|can|you|my|i|me|about|this|it|for|on|with"
    r"|and|or|not|tell|say|write|give|name)\b",
    re.IGNORECASE,
)
"""Words without which a question is hardly English; an English frame would not fit it."""

_OF = re.compile(r"^the ([\w ]+?) of (.+)$", re.IGNORECASE)


def reword(question: str, *, most: int) -> list[str]:
    """Up to `most` other wordings of `question`, the ones that change it most first. Deterministic."""
    asked = question.strip()
    shape = _WH_BE.match(asked)
    rebuilt = _rebuilt(*shape.groups()) if shape else []
    if not _ENGLISH.search(asked):
        return []
    shouted = asked[1:2].isupper()
    lowered = asked[:1].lower() + asked[1:] if _OPENING.match(asked) and not shouted else asked
    framed = [
        f"Please tell me: {lowered}",
        f"{asked} Answer in one sentence.",
        f"I have a question. {asked}",
        f"Quick question: {lowered}",
        f"Hello! {asked}",
        f"{asked} Thank you.",
    ]
    unique = dict.fromkeys(wording for wording in [*rebuilt, *framed] if wording != asked)
    return list(unique)[:most]


def _rebuilt(wh: str, be: str, thing: str) -> list[str]:
    wh, be = wh.lower(), be.lower()
    wordings = [f"Can you tell me {wh} {thing} {be}?"]
    if wh == "what":
        wordings.append(f"Name {thing}.")
        owned = _OF.match(thing)
        if owned:
            wordings.append(f"What {be} {_possessive(owned[2])} {owned[1]}?")
        wordings.append(f"I would like to know {wh} {thing} {be}.")
        wordings.append(f"Tell me {thing}.")
    else:
        wordings.append(f"I would like to know {wh} {thing} {be}.")
    return wordings


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"
