"""Messages as a model reads them: its chat template, with what is said kept apart from the template's own tokens.

For engines and whoever only counts tokens. It knows a tokenizer and no weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memory.errors import BadInput
from memory.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
    "{% elif m['role'] == 'user' %}{{ 'Question: ' + m['content'] + '\n' }}"
    "{% else %}{{ 'Answer: ' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer: ' }}{% endif %}"
)
"""For base models that come without a chat template of their own."""


CONTROL = re.compile(
    r"<(?=[|\uff5c][^\s<>]{1,40}[|\uff5c]>"  # ChatML, Llama 3, Phi, gpt-oss; DeepSeek's bars are wide
    r"|/?s>|<SYS>>|</SYS>>|(?:start|end)_of_turn>|(?:bos|eos)>)"  # Llama 2, Mistral, Gemma
    r"|\[(?=/?INST\])"
)
"""Where a token of a template begins that models of many makers have. Nobody's list of them is whole."""


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the model in `path`, complete with a chat template and a token to pad with.

    Raises: OSError, ValueError, KeyError, TypeError: the files are damaged or none of a tokenizer.
    """
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(tokenizer: PreTrainedTokenizerBase, model_id: str, prompt: Sequence[Message]) -> str:
    """The prompt as the model reads it, with the turn opened for the assistant. Raises: BadInput."""
    from jinja2 import TemplateError

    messages = [{**message, "content": as_text(tokenizer, message["content"])} for message in prompt]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        # Some templates know no system role: what it says then opens the first user message.
        system, *rest = messages
        if system["role"] == "system" and rest:
            messages = [rest[0] | {"content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise BadInput(f"the chat template of {model_id} does not take this dialogue: {error}") from error


def as_text(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    """What is said, in which tokens of the template's stand apart: nobody ends a turn by quoting one."""
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def as_text_of_any(content: str) -> str:
    """The same where nobody knows the tokenizer: what looks like a token of the common templates stands apart. A model
    with other tokens is left to its server, which should keep what is said apart by itself.
    """
    return CONTROL.sub(r"\g<0> ", content)
