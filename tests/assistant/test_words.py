"""Text of tokens that come one by one: no half of a character, no special token, nothing lost."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from assistant.words import Text, pieces

SAID = "naïve 你好 🎉 done\n    x &lt; y"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A token for each byte, and one that ends."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytes_ = Tokenizer(models.BPE(alphabet, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    bytes_.add_special_tokens(["<end>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token="<end>")  # noqa: S106 - no password


class InPython:
    """A tokenizer that has no stream."""

    def __init__(self, tokenizer: Any) -> None:
        self.decode = tokenizer.decode


@pytest.mark.parametrize("streams", [True, False])
def test_characters_come_whole(tokenizer: Any, streams: bool) -> None:
    """Each as soon as its last byte is there."""
    text = Text(tokenizer if streams else InPython(tokenizer))  # type: ignore[arg-type]
    said = [text.add(token) for token in tokenizer(SAID)["input_ids"]]
    assert "".join(said) == SAID
    assert not any("\ufffd" in part for part in said)
    assert said.count("🎉") == 1
    assert said[: said.index("ï")] == ["n", "a", ""]


@pytest.mark.parametrize("streams", [True, False])
def test_half_a_character_at_the_end_is_shown_as_such(tokenizer: Any, streams: bool) -> None:
    """An answer that is cut off in one, with its end behind it and without; as a whole it would be decoded so."""
    given = tokenizer if streams else InPython(tokenizer)
    for said, cut in (("caf\u00e9", 1), ("so \U0001f389", 2)):
        for end in ([], [tokenizer.eos_token_id]):
            ids = [*tokenizer(said)["input_ids"][:-cut], *end]
            found = "".join(p.text for p in pieces(iter(ids), given, prompt_tokens=1, ends=end, stop=Event()))  # type: ignore[arg-type]
            assert found == tokenizer.decode(ids, skip_special_tokens=True)
            assert found.endswith("\ufffd")


def test_bytes_that_are_no_character_stop_no_answer() -> None:
    """In tokenizers that fall back to bytes, as Llama 2's and Mistral's: what follows is said all the same."""
    import transformers
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"a": 256, "b": 257, "\u2581c": 258}
    model = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    model.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=model)
    ids = [0xE4, 0xBD, 0xA0, 0xE5, 257, 258, 0x0A, 0xE5, 256]
    text = Text(made)
    said = "".join([*(text.add(token) for token in ids), text.end()])
    assert said == "\u4f60\ufffdb c\n\ufffda"


@pytest.mark.parametrize("streams", [True, False])
def test_an_end_is_counted_and_not_said(tokenizer: Any, streams: bool) -> None:
    """The last piece tells why it ended."""
    end = tokenizer.eos_token_id
    given = tokenizer if streams else InPython(tokenizer)
    ids = [*tokenizer("ab")["input_ids"], end]
    *said, last = pieces(iter(ids), given, prompt_tokens=7, ends=[end], stop=Event())  # type: ignore[arg-type]
    assert [(piece.text, piece.answer_tokens) for piece in said] == [("a", 1), ("b", 2)]
    assert (last.text, last.finish, last.prompt_tokens, last.answer_tokens) == ("", "stop", 7, 2)
