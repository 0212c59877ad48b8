"""What every registered behaviour promises."""

import pytest
import torch

from robowm.behaviour import BEHAVIOURS
from robowm.behaviour.actor_critic import ActorCriticConfig
from robowm.behaviour.cloning import CloningConfig
from robowm.behaviour.protocol import Behaviour
from robowm.models.rssm import RSSM, RSSMConfig
from tests.models.conftest import random_batch, task_spec

SMALL = {
    "cloning": CloningConfig(hidden=16, layers=1),
    "actor_critic": ActorCriticConfig(
        hidden=16, layers=1, critics=3, horizon=3, starts=0.5, begin=0
    ),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = RSSMConfig(deter=32, blocks=4, hidden=16, stoch=4, classes=4, embed=16, depth=4)
    return RSSM(config, task_spec("state"))


@pytest.fixture(params=sorted(BEHAVIOURS))
def behaviour(request, model):
    return BEHAVIOURS[request.param](SMALL[request.param], model.feat_size, model.spec.action)


def test_it_is_a_behaviour(behaviour):
    assert isinstance(behaviour, Behaviour)


def test_policy_shapes(behaviour, model):
    feat = model.feat(model.initial(5))
    policy = behaviour.policy(feat)
    for action in (policy.mode(), policy.sample()):
        assert action.shape == (5, 3)
        assert (action.abs() <= 1).all() and (action[:, 2].abs() == 1).all()
    assert policy.log_prob(policy.mode()).shape == (5,)


def test_loss_reaches_every_trainable_parameter(behaviour, model):
    batch = random_batch(model.spec, 3, 8)
    _, _, states = model.loss(batch)
    loss, metrics = behaviour.loss(model, batch, states)
    assert loss.isfinite() and metrics
    loss.backward()
    idle = [n for n, p in behaviour.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


def test_it_learns_a_constant_label(behaviour, model):
    batch = random_batch(model.spec, 3, 8)
    batch["expert_action"][:] = torch.tensor([0.4, -0.3, 1.0])
    _, _, states = model.loss(batch)
    states = {k: v.detach() for k, v in states.items()}
    optimiser = torch.optim.Adam([p for p in behaviour.parameters() if p.requires_grad], 3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        behaviour.loss(model, batch, states)[0].backward()
        optimiser.step()
        getattr(behaviour, "after_update", lambda: None)()
    mode = behaviour.policy(model.feat({k: v[:, 0] for k, v in states.items()})).mode()
    torch.testing.assert_close(mode, torch.tensor([0.4, -0.3, 1.0]).expand(3, 3), atol=0.1, rtol=0)


def test_what_nobody_labelled_is_not_imitated(behaviour, model):
    batch = random_batch(model.spec, 2, 8)
    _, _, states = model.loss(batch)
    labels = batch["expert_action"].clone()

    def loss_of(row_of_the_other):
        batch["expert_action"] = torch.stack([labels[0], row_of_the_other])
        loss, metrics = behaviour.loss(model, batch, states)
        assert loss.isfinite()
        return metrics["loss"]

    one_row = {k: v[:1] for k, v in batch.items()}
    alone = behaviour.loss(model, one_row, {k: v[:1] for k, v in states.items()})[1]["loss"]
    torch.testing.assert_close(loss_of(torch.full((8, 3), torch.nan)), alone)
    assert loss_of(labels[1]) != alone


def test_labels_without_action_do_not_count(behaviour, model):
    """The last observation of an episode has no action: whatever stands there is ignored."""
    batch = random_batch(model.spec, 2, 8)
    batch["has_action"] = batch["has_action"].clone()
    batch["has_action"][:, -1] = 0
    _, _, states = model.loss(batch)
    one = behaviour.loss(model, batch, states)[1]["loss"]
    batch["expert_action"][:, -1] = 0.9
    two = behaviour.loss(model, batch, states)[1]["loss"]
    torch.testing.assert_close(one, two)
