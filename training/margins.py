"""How sure a model was of its own answers: by how much each word was likelier than the next best one.

A greedy answer that hangs on a toss-up says little of what a model knows: whatever is trained, near or far, turns some
of these, in both directions. The gate reads them apart from the answers that the base is sure of (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from assistant.local import LocalEngine
from training.examples import Dialogue, rows
from training.paper import Item


def margins(engine: LocalEngine, items: Sequence[Item], answers: Mapping[str, str]) -> dict[str, float]:
    """Id of each of `items` whose answer of the base's is right → the least margin of its tokens.

    A token's margin is its probability over that of the likeliest other one. Counted are those up to the first with
    which the answer so far is right: what is said after that can't make it more so.

    Returns: ratios in (0, ∞); from 1 on where the answer was greedy, but for rounding.
    """
    asked = [item for item in items if item.right(answers[item.id])]
    found: dict[str, float] = {}
    with engine.using(None) as model, torch.inference_mode():
        for item, row in zip(asked, rows(engine, [_said(item, answers) for item in asked]), strict=True):
            ids = torch.tensor([row.ids[:-1]], device=model.device)
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=row.answer_tokens).logits[0].float()
            said = torch.tensor(row.answer, device=logits.device)[:, None]
            own = logits.gather(1, said)
            others = logits.scatter(1, said, -torch.inf).amax(1, keepdim=True)
            decided = _decided(engine, item, row.answer)
            found[item.id] = round((own - others)[:decided].min().exp().item(), 6)
    return found


def _said(item: Item, answers: Mapping[str, str]) -> Dialogue:
    return Dialogue("replay", tuple(item.prompt), answers[item.id])


def _decided(engine: LocalEngine, item: Item, answer: Sequence[int]) -> int:
    """After how many tokens the answer is right; all of them, where only the whole is."""
    for said in range(1, len(answer)):
        if item.right(engine.tokenizer.decode(answer[:said])):
            return said
    return len(answer)
