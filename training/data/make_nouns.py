"""Makes `nouns.tsv.gz` out of WordNet's files: `python make_nouns.py /usr/share/wordnet` (Debian: wordnet-base).

A line a noun that WordNet's own texts use: the noun, a tab, and what may stand in its place, between bars, sense by
sense: the sense's other words, and its definition where that is a few words. WordNet 3.0, see WORDNET_LICENSE.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SENSES = 6
"""Senses a noun that count; later ones are rare."""

WORDS = range(2, 6)
"""Words of a definition that can stand in a question."""

_NOUN = re.compile(r"[a-z][a-z-]{2,}( [a-z-]+)?")
_WORDING = re.compile(r"[a-z][a-z' -]*")


def main(folder: Path) -> None:
    """Write the file beside this one."""
    meanings = {offset: (words, definition) for offset, words, definition in _senses(folder / "data.noun")}
    lines = []
    for noun, offsets in _nouns(folder / "index.noun"):
        found: dict[str, None] = {}
        for words, definition in (meanings[offset] for offset in offsets[:SENSES]):
            found.update(dict.fromkeys(word for word in words if word != noun))
            if len(definition.split()) in WORDS:
                found[definition] = None
        wordings = [wording for wording in found if _WORDING.fullmatch(wording)]
        if wordings:
            lines.append(f"{noun}\t{'|'.join(wordings)}\n")
    packed = gzip.compress("".join(sorted(lines)).encode(), 9, mtime=0)
    Path(__file__).with_name("nouns.tsv.gz").write_bytes(packed)


def _senses(data: Path) -> Iterator[tuple[str, list[str], str]]:
    """(offset, the words of the sense, its definition without article, examples and remarks)."""
    for line in data.read_text("ascii").splitlines():
        if line.startswith(" "):
            continue
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        words = [fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))]
        definition = re.sub(r"\([^)]*\)", "", re.split(r"[;:]", gloss)[0])
        yield fields[0], words, re.sub(r"^(a|an|the) ", "", " ".join(definition.split()))


def _nouns(index: Path) -> Iterator[tuple[str, list[str]]]:
    """(noun, the offsets of its senses, the most frequent first), of nouns that are tagged in WordNet's own texts."""
    for line in index.read_text("ascii").splitlines():
        fields = line.split()
        if line.startswith(" ") or not _NOUN.fullmatch(noun := fields[0].replace("_", " ")):
            continue
        tagged, *offsets = fields[5 + int(fields[3]) :]
        if int(tagged):
            yield noun, offsets


if __name__ == "__main__":
    main(Path(sys.argv[1]))
