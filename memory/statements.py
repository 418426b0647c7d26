"""Statements: whether a text tells something, and whether it asks back for what was said. Pure.

By the usual words of English and Chinese; of another language nearly all tells something, which a search may then find
too easily, and never too hard.
"""

from __future__ import annotations

import re

ASKING = frozenset(
    re.findall(
        r"[\w']+",
        "what what's who who's whom whose which when when's where where's why how how's is are am was were do does did"
        " can could will would should shall may might has have had isn't aren't don't doesn't didn't can't",
    )
)
"""First words of questions, which may lack their mark."""
REQUESTING = frozenset(
    re.findall(
        r"\w+",
        "tell write give list explain describe translate summarize summarise rewrite make show name help create"
        " generate compare find suggest recommend define calculate solve convert classify answer continue complete"
        " draft",
    )
)
"""First words of requests."""
POLITE = frozenset(("please", "hello", "hi", "hey", "and", "so", "but", "ok", "okay", "now", "also"))
"""What may stand before them."""
ASKS_BACK = re.compile(
    r"\b(?:(?:did|have|had) (?:i|you|we)\b|you (?:said|told|suggested|recommended|mentioned|wrote|called|gave)\b"
    r"|(?:i|we) (?:said|told|mentioned|discussed|talked|spoke)\b|earlier\b|last time\b|remember\b|remind me\b)"
    r"|[你我]们?(?:之前|刚才|上次)?(?:说过|提过|讲过|推荐过|告诉过)|上次|之前|刚才|记得",
    re.IGNORECASE,
)
CHINESE_ASKING = re.compile(r"什么|怎么|怎样|如何|哪|谁|多少|几|为何|是否|吗|呢|^请(?!记)|^帮|^告诉我|^写|^翻译")


def tells(text: str) -> bool:
    """Whether it is a statement: neither a question nor a request, by its end and its first words."""
    text = text.strip()
    if text.endswith(("?", "\uff1f")) or CHINESE_ASKING.search(text):
        return False
    words = [word for word in re.findall(r"[\w'\u2019]+", text.lower().replace("\u2019", "'")) if word not in POLITE]
    return bool(words) and words[0] not in ASKING and words[0] not in REQUESTING


def asks_back(text: str) -> bool:
    """Whether it asks for what one of both said earlier."""
    return ASKS_BACK.search(text) is not None
