"""What the pages say, in English and Chinese: key → (English, Chinese). The browser's language chooses.

Widgets get the key and are translated in the browser; what the server writes is translated by `text`. Reasons and
errors come from deeper down, where nobody knows a browser, and are English.
"""

from __future__ import annotations

from typing import Any, Literal

Language = Literal["en", "zh"]

TEXTS: dict[str, tuple[str, str]] = {
    # the door
    "door.name": ("Name", "用户名"),
    "door.password": ("Password", "密码"),
    "door.new": ("New password (10 characters or more)", "新密码（至少 10 个字符）"),
    "door.old": ("Old password", "旧密码"),
    "door.login.title": ("Log in", "登录"),
    "door.login.about": (
        "Nightschool remembers what you tell it, and keeps it to you.",
        "Nightschool 会记住你说的话，只给你看。",
    ),
    "door.login.action": ("Log in", "登录"),
    "door.first.title": ("The first account", "第一个账户"),
    "door.first.about": (
        "It is an admin's, and owns what was said here so far. From now on everybody logs in.",
        "这是管理员账户，拥有此前的全部对话。此后每个人都要登录。",
    ),
    "door.first.action": ("Make the account", "创建账户"),
    "door.password.title": ("A new password", "修改密码"),
    "door.password.about": ("All other browsers are logged out.", "其他浏览器都会退出登录。"),
    "door.password.action": ("Change it", "修改"),
}


def language(accepted: str) -> Language:
    """The one of ours that a browser would rather have, by its Accept-Language."""
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted.split(",")):
        tag, _, weight = part.strip().partition(";q=")
        try:
            ranked.append((-float(weight or 1), place, tag.casefold()))
        except ValueError:
            continue
    for _, _, tag in sorted(ranked):
        if tag.startswith("zh"):
            return "zh"
        if tag.startswith("en"):
            return "en"
    return "en"


def text(key: str, lang: Language, **values: Any) -> str:
    """What is said under `key`, with `{names}` filled in."""
    said = TEXTS[key][0 if lang == "en" else 1]
    return said.format(**values) if values else said
