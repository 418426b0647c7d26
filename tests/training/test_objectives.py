"""The joint objective's terms, against torch's own functions and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.objectives import TOP, Reference, kl_to_base, nll

VOCABULARY = 200


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a base and of a model, (7, 200), not far from each other."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(7, VOCABULARY, generator=generator) * 3
    return base, base + torch.randn(7, VOCABULARY, generator=generator)


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
    torch.testing.assert_close(
        kl_to_base(model, Reference.of(base, k=VOCABULARY)), full(base, model), atol=1e-4, rtol=1e-4
    )


def test_kl_is_a_lower_bound(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Fewer tokens give less and never more, and the usual number gives nearly all."""
    base, model = pair
    exact = full(base, model)
    found = [kl_to_base(model, Reference.of(base, k=k)) for k in (1, 4, 16, TOP, VOCABULARY)]
    for fewer, more in zip(found, [*found[1:], exact], strict=True):
        assert (fewer <= more + 1e-4).all()
        assert (fewer >= -1e-5).all()
    assert found[-2].sum() > 0.95 * exact.sum()


def test_kl_by_hand() -> None:
    """One kept token with probability 3/4, which the model gives 1/2: ¾ ln(3/2) + ¼ ln(1/2)."""
    base = torch.tensor([[0.75, 0.15, 0.10]]).log()
    model = torch.tensor([[0.50, 0.30, 0.20]]).log()
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kl_to_base(model, Reference.of(base, k=1)).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("k", [1, TOP, VOCABULARY, 10_000])
def test_kl_of_a_model_to_itself(pair: tuple[torch.Tensor, torch.Tensor], k: int) -> None:
    """Nothing has changed, nothing is lost; a k beyond the vocabulary is the vocabulary."""
    base, _ = pair
    assert kl_to_base(base, Reference.of(base, k=k)).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0, 1000.0])
def test_the_gradient_is_finite(pair: tuple[torch.Tensor, torch.Tensor], scale: float) -> None:
    """However sharp both distributions are, there is no 0 · log 0 in value or gradient."""
    base, model = pair[0] * scale, (pair[1] * scale).requires_grad_()
    for k in (1, TOP, VOCABULARY):
        loss = kl_to_base(model, Reference.of(base, k=k)).mean()
        assert loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, model)
        assert gradient.isfinite().all()


def test_the_gradient_leads_back_to_the_base(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A step against the gradient brings the model nearer, with the whole and with the usual k."""
    base, model = pair[0], pair[1].clone().requires_grad_()
    loss = kl_to_base(model, Reference.of(base)).sum()
    (gradient,) = torch.autograd.grad(loss, model)
    with torch.no_grad():
        assert full(base, model - 0.1 * gradient).sum() < full(base, model).sum()
