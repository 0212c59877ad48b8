"""Scalar codes, categoricals and actions against values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robowm.nets.distributions import (
    MixedAction,
    TwoHot,
    categorical_kl,
    straight_through,
    symexp,
    symlog,
    unimix_log_probs,
)


@given(st.floats(-1e4, 1e4))
def test_symexp_undoes_symlog(x):
    value = torch.tensor(x, dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(value)), value, rtol=1e-9, atol=1e-9)


def test_symlog_of_known_values():
    x = torch.tensor([0.0, math.e - 1, -(math.e**2 - 1)])
    torch.testing.assert_close(symlog(x), torch.tensor([0.0, 1.0, -2.0]))


def test_two_hot_bins_are_even_in_symlog_space():
    code = TwoHot(5, -(math.e**2 - 1), math.e**2 - 1)
    torch.testing.assert_close(code.bins, torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))


def test_two_hot_splits_between_neighbours():
    code = TwoHot(3, -1.0, 1.0)  # bins at -1, 0, 1
    torch.testing.assert_close(code.target(torch.tensor(0.25)), torch.tensor([0.0, 0.75, 0.25]))
    torch.testing.assert_close(code.target(torch.tensor(-1.0)), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(code.target(torch.tensor(7.0)), torch.tensor([0.0, 0.0, 1.0]))


@given(st.floats(-1, 50))
def test_two_hot_mean_of_target_is_the_value(x):
    code = TwoHot(63, -1.0, 50.0)
    logits = torch.log(code.target(torch.tensor(x)) + 1e-12)
    assert float(code.mean(logits)) == pytest.approx(x, abs=1e-3)


def test_two_hot_loss_is_least_at_the_target():
    code = TwoHot(3, -1.0, 1.0)
    target = code.target(torch.tensor(0.25))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    loss = code.loss(torch.log(target + 1e-12), torch.tensor(0.25))
    assert float(loss) == pytest.approx(entropy, abs=1e-5)
    assert float(code.loss(torch.zeros(3), torch.tensor(0.25))) == pytest.approx(math.log(3))


def test_unimix_keeps_one_percent_of_uniform():
    log_probs = unimix_log_probs(torch.tensor([[100.0, 0.0, 0.0, 0.0]]), 0.01)
    expected = torch.tensor([[0.99 + 0.0025, 0.0025, 0.0025, 0.0025]])
    torch.testing.assert_close(log_probs.exp(), expected)


def test_categorical_kl_by_hand():
    p = torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]]]).log()
    q = torch.tensor([[[0.25, 0.75]], [[0.9, 0.1]]]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    torch.testing.assert_close(categorical_kl(p, q), torch.tensor([expected, 0.0]))


def test_categorical_kl_sums_over_latents():
    p = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]).log()
    q = torch.tensor([[[0.25, 0.75], [0.25, 0.75]]]).log()
    single = categorical_kl(p[:, :1], q[:, :1])
    torch.testing.assert_close(categorical_kl(p, q), 2 * single)


def test_straight_through_is_hard_forward_and_soft_backward():
    logits = torch.tensor([[[1.0, 2.0, 0.0]]], requires_grad=True)
    log_probs = unimix_log_probs(logits, 0.0)
    sample = straight_through(log_probs, None)
    torch.testing.assert_close(sample, torch.tensor([[[0.0, 1.0, 0.0]]]))
    (sample * torch.tensor([3.0, 0.0, 0.0])).sum().backward()
    probs = torch.softmax(logits.detach(), -1)
    expected = 3 * probs * (torch.tensor([1.0, 0.0, 0.0]) - probs[..., :1])
    torch.testing.assert_close(logits.grad, expected)


def test_straight_through_samples_with_its_probabilities():
    torch.manual_seed(0)
    log_probs = torch.tensor([0.7, 0.2, 0.1]).log().expand(20_000, 1, 3)
    gumbel = -torch.log(torch.empty(20_000, 1, 3).exponential_())
    share = straight_through(log_probs, gumbel).mean((0, 1))
    torch.testing.assert_close(share, torch.tensor([0.7, 0.2, 0.1]), atol=0.02, rtol=0)


SWITCH = torch.tensor([False, True])


def _action(mean=0.2, std=0.5, logit=1.0):
    row = torch.ones(1, 2)
    return MixedAction(mean * row, std * row, logit * row, SWITCH)


def test_action_log_prob_by_hand():
    normal = -0.5 * ((0.7 - 0.2) / 0.5) ** 2 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    coin = math.log(1 / (1 + math.exp(-1.0)))
    got = _action().log_prob(torch.tensor([[0.7, 1.0]]))
    assert float(got) == pytest.approx(normal + coin, abs=1e-6)


def test_action_samples_are_in_bounds_and_switches_are_signs():
    torch.manual_seed(0)
    sample = torch.cat([_action(std=2.0).sample() for _ in range(200)])
    assert sample[:, 0].abs().max() <= 1
    assert set(sample[:, 1].tolist()) == {-1.0, 1.0}
    assert _action(logit=-0.1).mode()[0, 1] == -1


def test_action_entropy_of_a_fair_coin_is_log_two():
    wide = math.log(0.5) + 0.5 * math.log(2 * math.pi * math.e)
    assert float(_action(logit=0.0).entropy()) == pytest.approx(wide + math.log(2), abs=1e-6)
