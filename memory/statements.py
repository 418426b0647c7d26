"""Statements: whether a text tells something, and whether it asks back for what was said. Pure.

By the usual words of English and Chinese, and what says "I" and "my" in some neighbours' languages. A search finds by
it what is only roughly near; what is taken for a statement and is none costs the room of a line.
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
        "tell write give list explain describe translate summarize summarise rewrite rephrase make show name help"
        " create generate compare find suggest recommend define calculate solve convert classify answer continue"
        " complete draft implement fix correct improve shorten check sort count add remove use build plan"
        " print say repeat",
    )
)
"""First words of requests."""
POLITE = frozenset(("please", "hello", "hi", "hey", "and", "so", "but", "ok", "okay", "now", "also", "well"))
"""What may stand before them."""
BEFORE = frozenset(("in", "at", "on", "to", "for", "from", "with", "of", "about", "by"))
"""What may stand before a question's word: "in which year"."""
NAMES = frozenset(("may", "will", "might", "can"))
"""Words that ask, unless something is said of them: "May is my favourite month"."""
WANTS = re.compile(
    r"\b(?:i|we) (?:would like|want|need|wish|wonder)\b.*?(?:\bto (?:know|see|hear|learn|understand)\b"
    r"|\b(?:who|what|which|where|when|why|how|if|whether)\b)|\bi'd like\b|\bi wonder\b"
)
"""A question in the form of a statement."""
MARKS = frozenset(
    re.findall(
        r"[\w']+",
        "i i'm i've i'd i'll my me mine we we're we've our us is are was were has have had there there's"
        " ich mein meine mir mich wir unser je j'ai mon ma mes nous notre yo mi mis nuestro io mio mia",
    )
)
"""Words of which a statement has one, unless it is a whole sentence with its full stop."""
SENTENCE = 4
"""Words of such a sentence, at least."""
ASKS_BACK = re.compile(
    r"\b(?:(?:did|have|had) (?:i|you|we)\b|you (?:said|told|suggested|recommended|mentioned|wrote|called|gave)\b"
    r"|(?:i|we) (?:said|told|mentioned|discussed|talked|spoke)\b|earlier\b|last time\b|remember\b|remind me\b)"
    r"|[你我]们?(?:之前|刚才|上次)?(?:说过|提过|讲过|推荐过|告诉过)|上次|之前|刚才|记得",
    re.IGNORECASE,
)
UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
ASKING_UNSPACED = re.compile(
    "什么|什麼|怎么|怎麼|怎样|怎樣|如何|哪|谁|誰|多少|几|幾|为何|為何|是否|是不是|能不能|可不可以|有没有|有沒有|吗|嗎|呢"
    "|^请(?!记)|^請(?!記)|^帮|^幫|^告诉我|^告訴我|^写|^寫|^翻译|^翻譯|^介绍|^介紹|一下"
    "|ですか|ますか|どこ|だれ|いつ|なに|なぜ|どう|ください"
)
"""In Chinese and Japanese, wherever it stands."""


def tells(text: str) -> bool:
    """Whether it is a statement: no question and no request in it, and a sentence that says something."""
    sentences = [one for one in re.split(r"(?<=[.!?\u3002\uff01\uff1f])\s*(?=\D)", text.strip()) if one.strip()]
    return bool(sentences) and not any(map(_asks, sentences)) and any(map(_says, sentences))


def _asks(text: str) -> bool:
    text = text.strip()
    if text.endswith(("?", "\uff1f")):
        return True
    if UNSPACED.search(text):
        return ASKING_UNSPACED.search(text) is not None
    words = _words(text)
    first, second = (*words, "", "")[:2]
    asks = first in ASKING and not (first in NAMES and second in ("is", "was"))
    wants = WANTS.search(text.lower().replace("\u2019", "'")) is not None
    return asks or wants or first in REQUESTING or (first in BEFORE and second in ASKING)


def _says(text: str) -> bool:
    words = _words(text)
    whole = text.strip().endswith((".", "!")) and len(words) >= SENTENCE
    return whole or not MARKS.isdisjoint(words) or UNSPACED.search(text) is not None


def _words(text: str) -> list[str]:
    words = re.findall(r"[\w']+", text.lower().replace("\u2019", "'"))
    return [word for word in words if word not in POLITE]


def asks_back(text: str) -> bool:
    """Whether it asks for what one of both said earlier."""
    return ASKS_BACK.search(text) is not None
