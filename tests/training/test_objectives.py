"""The joint objective's terms, against torch's and TRL's own functions and numbers worked out by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.objectives import (
    TOP,
    Reference,
    apo_zero,
    balance,
    dpo,
    kl_to_base,
    kto,
    kto_kl,
    lead_lost,
    mismatch,
    nll,
    sequence_log_prob,
)

VOCABULARY = 200


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a base and of a model, (7, 200), not far from each other."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(7, VOCABULARY, generator=generator) * 3
    return base, base + torch.randn(7, VOCABULARY, generator=generator)


def kl(base: torch.Tensor, model: torch.Tensor, k: int = TOP) -> torch.Tensor:
    """KL over the base's `k` likeliest tokens, from both's logits."""
    reference = Reference.of(base, k=k)
    return kl_to_base(reference.of_model(model), reference)


def full(base: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """KL(base ‖ model) at each position, by torch.nn.functional.kl_div."""
    inputs, targets = model.log_softmax(-1), base.log_softmax(-1)
    return torch.nn.functional.kl_div(inputs, targets, log_target=True, reduction="none").sum(-1)


def test_nll_by_hand() -> None:
    """Minus the log of the probability of the target: ln 4 where four are alike, ln(1 + e^-2) where one leads by 2."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, -math.inf, -math.inf], [1.0, 1.0, 1.0, 1.0]])
    expected = [math.log(4), math.log(1 + math.exp(-2)), math.log(4)]
    assert nll(logits, torch.tensor([2, 0, 3])).tolist() == pytest.approx(expected)


def test_nll_is_computed_in_float32() -> None:
    """Logits in bfloat16 give what the same values in float32 give."""
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    targets = torch.arange(5)
    assert torch.equal(nll(logits, targets), nll(logits.float(), targets))
    assert nll(logits, targets).dtype is torch.float32


def test_kl_with_the_whole_vocabulary(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """With k = vocabulary it is torch's kl_div."""
    base, model = pair
    torch.testing.assert_close(kl(base, model, k=VOCABULARY), full(base, model), atol=1e-4, rtol=1e-4)


def test_kl_is_a_lower_bound(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Fewer tokens give less and never more, and the usual number gives nearly all."""
    base, model = pair
    exact = full(base, model)
    found = [kl(base, model, k=k) for k in (1, 4, 16, TOP, VOCABULARY)]
    for fewer, more in zip(found, [*found[1:], exact], strict=True):
        assert (fewer <= more + 1e-4).all()
        assert (fewer >= -1e-5).all()
    assert found[-2].sum() > 0.95 * exact.sum()


def test_kl_by_hand() -> None:
    """One kept token with probability 3/4, which the model gives 1/2: ¾ ln(3/2) + ¼ ln(1/2)."""
    base = torch.tensor([[0.75, 0.15, 0.10]]).log()
    model = torch.tensor([[0.50, 0.30, 0.20]]).log()
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kl(base, model, k=1).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("k", [1, TOP, VOCABULARY, 10_000])
def test_kl_of_a_model_to_itself(pair: tuple[torch.Tensor, torch.Tensor], k: int) -> None:
    """Nothing has changed, nothing is lost; a k beyond the vocabulary is the vocabulary."""
    base, _ = pair
    assert kl(base, base, k=k).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0, 1000.0])
def test_the_gradient_is_finite(pair: tuple[torch.Tensor, torch.Tensor], scale: float) -> None:
    """However sharp both distributions are, there is no 0 · log 0 in value or gradient."""
    base, model = pair[0] * scale, (pair[1] * scale).requires_grad_()
    for k in (1, TOP, VOCABULARY):
        loss = kl(base, model, k=k).mean()
        assert loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, model)
        assert gradient.isfinite().all()


def test_the_gradient_leads_back_to_the_base(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A step against the gradient brings the model nearer, with the whole and with the usual k."""
    base, model = pair[0], pair[1].clone().requires_grad_()
    loss = kl(base, model).sum()
    (gradient,) = torch.autograd.grad(loss, model)
    with torch.no_grad():
        assert full(base, model - 0.1 * gradient).sum() < full(base, model).sum()


def test_mismatch_by_hand() -> None:
    """¾ became ½ and 0.15 became 0.3; the third is not looked at."""
    base = Reference.of(torch.tensor([[0.75, 0.15, 0.10]]).log())
    model = base.of_model(torch.tensor([[0.50, 0.30, 0.20]]).log())
    expected = (math.log(0.5 / 0.75) ** 2 + math.log(0.3 / 0.15) ** 2) / 2
    assert mismatch(model, base, rivals=2).item() == pytest.approx(expected, abs=1e-5)


def test_mismatch_sees_what_the_kl_does_not() -> None:
    """Where the base is sure, two rivals that change places are next to nothing to the KL."""
    base = Reference.of(torch.tensor([[12.0, 2.0, 0.0, -1.0]]))
    model = base.of_model(torch.tensor([[12.0, 0.0, 2.0, -1.0]]))
    assert kl_to_base(model, base).item() < 1e-3
    assert mismatch(model, base).item() == pytest.approx(2.0, abs=1e-3)


def test_mismatch_is_of_differences(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Logits that all rose alike are the same; a step against the gradient leads back."""
    base, reference = pair[0], Reference.of(pair[0])
    assert mismatch(reference.of_model(base + 3), reference).max() < 1e-6
    model = pair[1].clone().requires_grad_()
    loss = mismatch(reference.of_model(model), reference).sum()
    (gradient,) = torch.autograd.grad(loss, model)
    with torch.no_grad():
        assert mismatch(reference.of_model(model - 0.1 * gradient), reference).sum() < loss


def test_a_lost_lead_by_hand() -> None:
    """A lead of ln 4 became ln 2, which half of it is; ln ¾; or none, where others than the next likeliest rose."""
    base = Reference.of(torch.tensor([[0.8, 0.2, 1e-9]]).log())
    for after, lost in (([0.6, 0.3, 0.1], 0.0), ([0.4, 0.3, 0.3], math.log(1.5)), ([0.2, 0.3, 0.5], math.log(5))):
        model = base.of_model(torch.tensor([after]).log())
        assert lead_lost(model, base).item() == pytest.approx(lost, abs=1e-5), after


def test_a_lead_that_is_safe_is_not_pulled_at(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Nothing is asked of what leads as the base does; a toss-up that turned pulls with a whole nat a nat."""
    base, reference = pair[0], Reference.of(pair[0])
    assert lead_lost(reference.of_model(base), reference).max() == 0
    said = base.argmax(-1)
    turned = base.scatter(1, said[:, None], base.topk(2).values[:, 1:] - 1).requires_grad_()
    loss = lead_lost(reference.of_model(turned), reference)
    assert (loss >= 1).all()
    (gradient,) = torch.autograd.grad(loss.sum(), turned)
    assert torch.allclose(gradient.gather(1, said[:, None]), torch.tensor(-1.0), atol=1e-5)


# ---------------------------------------------------------------------- preference, by hand

WANTED = torch.tensor([True, False])


def sigmoid(x: float) -> float:
    """The logistic function, in double precision."""
    return 1 / (1 + math.exp(-x))


def test_a_sequence_is_the_sum_of_its_tokens() -> None:
    """One of four alike is ln 1/4, and one of two ln 1/2: -3 ln 2 in all; it is computed in float32."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [5.0, 5.0, -math.inf, -math.inf]])
    assert sequence_log_prob(logits, torch.tensor([3, 0])).item() == pytest.approx(-3 * math.log(2))
    assert sequence_log_prob(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)).item() == 0
    half = torch.randn(5, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    score = sequence_log_prob(half, torch.arange(5))
    assert score.dtype is torch.float32
    assert score.item() == pytest.approx(-nll(half, torch.arange(5)).sum().item())


def test_kto_by_hand() -> None:
    """β = 0.1, z₀ = 2: a wanted answer 12 nats up, an unwanted one 8 nats down: 1 - s(1) of the weight each."""
    policy, base = torch.tensor([-3.0, -20.0]), torch.tensor([-15.0, -12.0])
    losses = kto(policy, base, WANTED, beta=0.1, kl=2.0, wanted_weight=1.0, unwanted_weight=3.0)
    # 1 - 1 / (1 + e^-1) = 0.26894142
    assert losses.tolist() == pytest.approx([0.26894142, 3 * 0.26894142])
    assert losses.tolist() == pytest.approx([1 - sigmoid(0.1 * (12 - 2)), 3 * (1 - sigmoid(0.1 * (2 + 8)))])


def test_apo_by_hand() -> None:
    """β = 0.5: a wanted answer 2 nats up is 1 - s(1) = 0.26894142, an unwanted one 4 nats up is s(2) = 0.88079708."""
    policy, base = torch.tensor([-1.0, -1.0]), torch.tensor([-3.0, -5.0])
    losses = apo_zero(policy, base, WANTED, beta=0.5, unwanted_weight=2.0)
    assert losses.tolist() == pytest.approx([0.26894142, 2 * 0.88079708])


def test_dpo_by_hand() -> None:
    """β = 0.1: 6 nats up against 4 nats down is -ln s(1) = 0.31326169; nothing moved is ln 2."""
    wanted, unwanted = torch.tensor([-4.0, -7.0]), torch.tensor([-9.0, -2.0])
    losses = dpo(wanted, torch.tensor([-10.0, -7.0]), unwanted, torch.tensor([-5.0, -2.0]), beta=0.1)
    assert losses.tolist() == pytest.approx([0.31326169, math.log(2)])


def test_the_reference_point_by_hand() -> None:
    """The mean of 3 and 1 nats is 2; a model that drifted down, or of which nothing is known, is at 0; no gradient."""
    policy = torch.tensor([-1.0, -4.0], requires_grad=True)
    found = kto_kl(policy, torch.tensor([-4.0, -5.0]))
    assert found.item() == 2.0
    assert not found.requires_grad
    assert kto_kl(policy, torch.tensor([0.0, 0.0])).item() == 0
    assert kto_kl(torch.zeros(0), torch.zeros(0)).item() == 0


def test_balanced_weights() -> None:
    """Seven wanted rows weigh as much as one that is not wanted, 1 on average; one kind alone is left as it is."""
    assert balance(7, 1) == pytest.approx((8 / 14, 4.0))
    assert balance(5, 5) == (1.0, 1.0)
    assert balance(4, 0) == balance(0, 4) == (1.0, 1.0)
    more, less = balance(30, 11)
    assert more * 30 == pytest.approx(less * 11)
    assert more * 30 + less * 11 == pytest.approx(41)


@pytest.mark.parametrize("moved", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_preference_gradients(moved: float) -> None:
    """Up for what is wanted, down for what is not, finite however far it moved, and next to nothing far out."""
    policy = torch.tensor([moved, moved], requires_grad=True)
    base = torch.zeros(2)
    single = policy[:1], base[:1]
    for loss in (
        kto(policy, base, WANTED, beta=0.1, kl=1.0).sum(),
        apo_zero(policy, base, WANTED, beta=0.1).sum(),
        dpo(*single, -policy[1:], base[1:], beta=0.1).sum(),
    ):
        assert loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, policy)
        assert gradient.isfinite().all()
        assert gradient[0] <= 0
        if abs(moved) < 100:
            assert gradient[0] < 0
    (gradient,) = torch.autograd.grad(apo_zero(policy, base, WANTED, beta=0.1).sum(), policy)
    assert gradient[1] >= 0
    assert gradient.abs().max() <= 0.1 / 4


# ---------------------------------------------------------------------- preference, against TRL

ANSWER_TOKENS = 6


def trl_trainer(cls: type, **facts: Any) -> Any:
    """A trainer of TRL's with all that its loss looks at and nothing else: no model, no data, no training."""
    trainer = cls.__new__(cls)
    own = {
        "model": SimpleNamespace(training=True),
        "accelerator": SimpleNamespace(
            device=torch.device("cpu"), gather=lambda tensor: tensor, gather_for_metrics=lambda tensor: tensor
        ),
        "aux_loss_enabled": False,
        "precompute_ref_logps": True,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    for name, value in (own | facts).items():
        setattr(trainer, name, value)
    return trainer


def said(log_probs: torch.Tensor) -> Callable[..., SimpleNamespace]:
    """A model that says so to the ids at hand: the rows (of log_probs: rows, ANSWER_TOKENS) are named in column 0."""

    def model(input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        mine = log_probs[input_ids[:, 0]]
        nothing = torch.zeros_like(mine)
        return SimpleNamespace(log_probs=mine, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())

    return model


def named(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Ids of as many positions as there are predictions and one, with each row's name first."""
    ids = torch.zeros(len(rows), ANSWER_TOKENS + 1, dtype=torch.long)
    ids[:, 0] = rows
    mask = torch.ones_like(ids)
    answer = mask.clone()
    answer[:, 0] = 0
    return {"input_ids": ids, "attention_mask": mask, "completion_mask": answer}


def random_answers(seed: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of a model's answers (rows, ANSWER_TOKENS) with gradient, and of the base's, summed (rows,)."""
    generator = torch.Generator().manual_seed(seed)
    base = -3 * torch.rand(rows, ANSWER_TOKENS, generator=generator)
    policy = (base + 0.5 + torch.randn(rows, ANSWER_TOKENS, generator=generator)).clamp_max(0)
    return policy.requires_grad_(), base.sum(-1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.625, 2.5)])
def test_unpaired_losses_are_those_of_trl(kind: str, seed: int, weights: tuple[float, float]) -> None:
    """KTO and APO-zero-unpaired: value and gradient of TRL's KTOTrainer on the same tensors."""
    from trl import KTOTrainer

    rows, (more, less) = 10, weights
    policy, base = random_answers(seed, 2 * rows)
    wanted = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) < 0.7
    trainer = trl_trainer(
        KTOTrainer,
        loss_type=kind,
        beta=0.3,
        desirable_weight=more,
        undesirable_weight=less,
        calculate_KL=kind == "kto",
    )
    # Rows from `rows` on are the mismatched ones.
    inputs = named(torch.arange(rows)) | {f"KL_{k}": v for k, v in named(torch.arange(rows, 2 * rows)).items()}
    inputs |= {"label": wanted, "ref_logps": base[:rows], "ref_KL_logps": base[rows:]}
    theirs = trainer._compute_loss(said(policy), inputs, False)

    mine, away = policy.sum(-1)[:rows], policy.sum(-1)[rows:]
    settings = {"beta": 0.3, "wanted_weight": more, "unwanted_weight": less}
    if kind == "kto":
        ours = kto(mine, base[:rows], wanted, kl=kto_kl(away, base[rows:]), **settings).mean()
        assert kto_kl(away, base[rows:]).item() == pytest.approx(trainer._metrics["train"]["kl"][0], abs=1e-6)
    else:
        ours = apo_zero(mine, base[:rows], wanted, **settings).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad(loss, policy, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_dpo_is_that_of_trl(seed: int) -> None:
    """DPO: value and gradient of TRL's DPOTrainer (loss type sigmoid) on the same tensors."""
    from trl import DPOTrainer

    pairs = 7
    policy, base = random_answers(seed, 2 * pairs)
    trainer = trl_trainer(
        DPOTrainer,
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=0.3,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        use_weighting=False,
    )
    # TRL's batch is all wanted answers, and then all that are not.
    inputs = named(torch.arange(2 * pairs)) | {"ref_chosen_logps": base[:pairs], "ref_rejected_logps": base[pairs:]}
    theirs = trainer._compute_loss(said(policy), inputs, False)
    mine = policy.sum(-1)
    ours = dpo(mine[:pairs], base[:pairs], mine[pairs:], base[pairs:], beta=0.3).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad(loss, policy, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)
