"""Text that any tokenizer and database takes."""

from __future__ import annotations


def scrub(text: str) -> str:
    """`text` without NULs, and with U+FFFD for halves of surrogate pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "")
