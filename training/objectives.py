"""The joint objective: what is wanted becomes likelier, what is not wanted less likely, and all else stays as it is.

    L = max(0, NLL(wanted) - known) + w_kl · KL(base ‖ model)(replayed) + w_match · mismatch(base, model)(replayed)
        + w_lead · lead_lost(base, model)(replayed) + w_pref · preference(wanted, unwanted)

All but the last are means over answer tokens, of which those of a user who has too many weigh less (see
`training.shares`). A wanted token that is likely enough teaches nothing more: pushing it on would only move what was
not asked for. The preference term is one of three, a mean over answers (KTO, APO) or over pairs of them (DPO). All
three see an answer y to a prompt x as one number, how much likelier it is than for the base:

    r(x, y) = log π(y|x) - log π_base(y|x), in nats, summed over the answer's tokens and the one that ends it

and all three flatten where that has moved far enough (|βr| ≫ 1), so that an unwanted answer is not pushed without end.
Every function is pure, and computes in float32 whatever the model computes in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 64
"""Tokens of the base's distribution that are kept per position: at this size over 99 % of its mass."""

RIVALS = 16
"""Tokens of the base's distribution whose log-probabilities are matched: what else it might have said."""

LEAD_KEPT = 0.5
"""Share of its lead that the base's likeliest token may not fall short of: with half of it left at strength 1, some is
left at the strongest that a night publishes (1.25)."""


@dataclass(frozen=True)
class Reference:
    """The base's next-token distribution at some positions: its likeliest tokens, and the mass of all others.

    Attributes:
        ids: (positions, k) token ids.
        log_probs: (positions, k) their log-probabilities, in float32.
    """

    ids: Tensor
    log_probs: Tensor

    @classmethod
    def of(cls, logits: Tensor, k: int = TOP) -> Reference:
        """From the base's logits, (positions, vocabulary)."""
        top = logits.float().log_softmax(-1).topk(min(k, logits.shape[-1]), dim=-1)
        return cls(top.indices, top.values)

    def of_model(self, logits: Tensor) -> Tensor:
        """(positions, k) log-probabilities of the same tokens by a model's logits, (positions, vocabulary)."""
        return logits.float().log_softmax(-1).gather(-1, self.ids)


def nll(logits: Tensor, targets: Tensor, *, known: float = 0.0) -> Tensor:
    """Negative log-likelihood of each target token beyond `known`, in nats; 0 where it is no more than that.

    Args:
        logits: (positions, vocabulary), of any float type; computed in float32.
        targets: (positions,) token ids.

    Returns: (positions,)
    """
    return (torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none") - known).clamp_min(0)


def sequence_log_prob(logits: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of a whole answer, in nats: log π(y|x) = Σ_t log π(y_t | x, y_<t).

    A sum and not a mean, as in the papers below: a long answer that is not wanted has more to lose.

    Args:
        logits: (positions, vocabulary) that predict the answer's tokens, of any float type; computed in float32.
        targets: (positions,) their ids.

    Returns: a scalar; 0 for no positions.
    """
    return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def kto(
    policy: Tensor,
    base: Tensor,
    wanted: Tensor,
    *,
    beta: float,
    kl: Tensor | float = 0.0,
    wanted_weight: float = 1.0,
    unwanted_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimisation (Ethayarajh et al., arXiv 2402.01306, eqs. 7 and 8): one loss for each answer.

        wanted:    λ_D · (1 - sigmoid(β (r - z₀)))        unwanted:    λ_U · (1 - sigmoid(β (z₀ - r)))

    Rows need no partner. The paper asks for 1 ≤ λ_D n_D / (λ_U n_U) ≤ 4/3, with n_D wanted and n_U unwanted rows.

    Args:
        policy: (rows,) log π(y|x) of the model in training, from `sequence_log_prob`.
        base: (rows,) log π_base(y|x) of the same answers.
        wanted: (rows,) bool, False where the answer is not wanted.
        beta: how soon the loss flattens: where r is 4 / β nats from z₀, under 2 % of it are left to gain.
        kl: z₀ in nats, from `kto_kl`, which lets no gradient through.
        wanted_weight: λ_D
        unwanted_weight: λ_U

    Returns: (rows,), each between 0 and its weight; half of it where nothing has moved.
    """
    gain = torch.where(wanted, 1.0, -1.0).to(policy.device) * (policy.float() - base.float() - kl)
    weight = torch.where(wanted, wanted_weight, unwanted_weight).to(policy.device)
    # sigmoid(-x) is 1 - sigmoid(x), without the cancellation where x is large.
    return weight * torch.sigmoid(-beta * gain)


def kto_kl(policy: Tensor, base: Tensor) -> Tensor:
    """KTO's reference point z₀ (the same paper): how far the model has moved from the base as a whole, in nats.

        z₀ = max(0, mean r(x_i, y_j)), with j ≠ i: answers beside prompts that they are no answer to

    An answer counts as gained only for what it gained beyond any answer.

    Args:
        policy: (rows,) log π(y_j|x_i) of the model in training.
        base: (rows,) log π_base(y_j|x_i).

    Returns: a scalar without gradient; 0 for no rows.
    """
    moved = (policy.float() - base.float()).detach()
    return moved.sum().div(max(1, moved.numel())).clamp_min(0)


def apo_zero(
    policy: Tensor,
    base: Tensor,
    wanted: Tensor,
    *,
    beta: float,
    wanted_weight: float = 1.0,
    unwanted_weight: float = 1.0,
) -> Tensor:
    """APO-zero (D'Oosterlinck et al., arXiv 2408.06266, eq. 7) for rows without partners: one loss for each answer.

        wanted:    λ_D · (1 - sigmoid(β r))        unwanted:    λ_U · sigmoid(β r)

    The paper's loss of a pair is the sum of both; TRL calls this form `apo_zero_unpaired`. It is KTO with z₀ = 0: it
    needs no further forward pass, and no batch that is large enough to estimate z₀ from.

    Args: those of `kto`. Returns: (rows,), each between 0 and its weight.
    """
    weights = {"wanted_weight": wanted_weight, "unwanted_weight": unwanted_weight}
    return kto(policy, base, wanted, beta=beta, **weights)


def dpo(
    policy_wanted: Tensor, base_wanted: Tensor, policy_unwanted: Tensor, base_unwanted: Tensor, *, beta: float
) -> Tensor:
    """Direct preference optimisation (Rafailov et al., arXiv 2305.18290, eq. 7): one loss for each pair.

        -log sigmoid(β (r(x, y_wanted) - r(x, y_unwanted)))

    Both answers are to the same prompt. It rewards their distance alone: both may become less likely, which the NLL
    beside it holds up.

    Args:
        policy_wanted: (pairs,) log π(y_wanted|x) of the model in training, from `sequence_log_prob`.
        base_wanted: (pairs,) the same of the base.
        policy_unwanted: (pairs,) log π(y_unwanted|x).
        base_unwanted: (pairs,) the same of the base.
        beta: as in `kto`.

    Returns: (pairs,), each at least 0; ln 2 where nothing has moved.
    """
    margin = (policy_wanted.float() - base_wanted.float()) - (policy_unwanted.float() - base_unwanted.float())
    return -torch.nn.functional.logsigmoid(beta * margin)


def balance(wanted: int, unwanted: int) -> tuple[float, float]:
    """KTO's weights (λ_D, λ_U) that let the wanted rows and the unwanted rows weigh the same in all, 1 on average.

    A correction gives one unwanted row and, with its rewordings, several wanted ones. λ_D n_D = λ_U n_U is the lower
    end of what the paper asks for (see `kto`); both are 1 where one kind is missing, or both are as many.
    """
    if not wanted or not unwanted:
        return 1.0, 1.0
    rows = wanted + unwanted
    return rows / (2 * wanted), rows / (2 * unwanted)


def kl_to_base(model: Tensor, base: Reference) -> Tensor:
    """KL(base ‖ model) at each position, in nats, over the base's top tokens and one bucket for all others.

    Merging outcomes can only lower a divergence (the data-processing inequality), so that this is a lower bound of the
    full KL(p ‖ q) = Σ p log(p / q); with k = vocabulary it is equal to it.

    Args:
        model: (positions, k) log-probabilities by the model in training, from `Reference.of_model`.
        base: what the base says at the same positions.

    Returns: (positions,)
    """
    p = base.log_probs.exp()
    tiny = torch.finfo(torch.float32).eps
    p_rest = (1 - p.sum(-1)).clamp_min(tiny)
    q_rest = (1 - model.exp().sum(-1)).clamp_min(tiny)
    return (p * (base.log_probs - model)).sum(-1) + p_rest * (p_rest.log() - q_rest.log())


def mismatch(model: Tensor, base: Reference, *, rivals: int = RIVALS) -> Tensor:
    """Mean squared change of the log-probabilities of the base's likeliest tokens at each position, in nats².

    The KL weighs each token by its probability: where the base is sure, what it might have said instead moves unseen,
    and the same move turns an answer that hangs on little. Matched are log-probabilities, where Dark Experience Replay
    (Buzzega et al., arXiv 2004.07211) matches logits: what all of them share is no matter of either.

    Args:
        model: (positions, k) log-probabilities by the model in training, from `Reference.of_model`.
        base: what the base says at the same positions.
        rivals: how many of its likeliest tokens count; of more than k, k.

    Returns: (positions,)
    """
    return (model - base.log_probs)[..., :rivals].square().mean(-1)


def lead_lost(model: Tensor, base: Reference, *, kept: float = LEAD_KEPT) -> Tensor:
    """How far the base's likeliest token has fallen short of its lead over all others, at each position, in nats.

        max(0, kept · lead_base - lead_model), with lead = log p(the base's likeliest) - max log p(any other)

    What it says when it answers greedily hangs on this alone. The KL and the mismatch pull at a toss-up that is about
    to turn no harder than at a word that is safe; a margin's hinge (Weston & Watkins 1998) pulls at it, and only at it,
    with all of its weight.

    Args:
        model: (positions, k) log-probabilities by the model in training, from `Reference.of_model`; others than the
            base's k likeliest tokens are not looked at.
        base: what the base says at the same positions.
        kept: the share of the base's lead that is asked for.

    Returns: (positions,)
    """
    if model.shape[-1] < 2:
        return torch.zeros_like(model[..., 0])
    lead = base.log_probs[..., 0] - base.log_probs[..., 1]
    return (kept * lead - (model[..., 0] - model[..., 1:].amax(-1))).clamp_min(0)
