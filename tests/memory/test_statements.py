"""Statements, questions and requests, by their usual words."""

from __future__ import annotations

import pytest

from memory.statements import asks_back, tells


@pytest.mark.parametrize(
    "text",
    [
        "My dog's name is Biscuit.",
        "I live in Graz, Austria",
        "Please remember that my locker code is ZX81-QQ.",
        "i work as a nurse",
        "Call me Captain from now on.",
        "ok, and we moved the meeting to Thursday",
        "Hi! I'm allergic to peanuts.",
        "我叫小明，住在北京。",
        "请记住我的生日是五月一日",
        "May is my favourite month",
        "Will is my brother",
        "The plumber comes on Monday morning.",
        "Mein Hund heißt Biscuit",
    ],
)
def test_it_tells_something(text: str) -> None:
    """However politely."""
    assert tells(text)


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "what is the capital of france",
        "Tell me the capital of France.",
        "please write a poem about the sea",
        "What\u2019s for dinner",
        "And is it far",
        "Can't you see",
        "It is far, isn't it?",
        "法国的首都是什么",
        "你好吗？",
        "请告诉我法国的首都",
        "介绍一下北京",
        "你能不能推荐一家餐厅",
        "法國的首都是什麼",
        "フランスの首都はどこですか",
        "capital of Australia",
        "Best way to boil an egg",
        "In which year did Rome fall",
        "Implement quicksort in Python.",
        "I would like to know who wrote Hamlet.",
        "I wonder who wrote it",
        "I am in Graz this weekend. Suggest a restaurant.",
        "We have guests. What should I cook?",
        "yes",
        "",
        "?!",
        "Hello!",
    ],
)
def test_it_asks(text: str) -> None:
    """With or without a mark."""
    assert not tells(text)


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("Which restaurant did you recommend to me?", True),
        ("What did we say about the budget", True),
        ("Do you remember my sister's name?", True),
        ("What was it that you told me earlier?", True),
        ("你上次推荐的餐厅叫什么", True),
        ("我说过我住在哪里吗", True),
        ("Which restaurant is the best in Graz?", False),
        ("Did Napoleon win at Austerlitz?", False),
        ("法国的首都是什么", False),
    ],
)
def test_it_asks_back(text: str, back: bool) -> None:
    """For what was said, not for what is so."""
    assert asks_back(text) is back
