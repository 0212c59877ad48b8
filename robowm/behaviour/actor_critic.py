"""An actor and an ensemble of critics, learned in imagination and kept near the demonstrations.

The critics regress on lambda-returns of imagined trajectories that begin at recorded beliefs and
follow the actor (DreamerV3, arXiv:2301.04104, eq. 5 to 7). The actor raises its return by the score
function and is held near the demonstrator by its likelihood: from sparse pixels and little time the
first alone finds nothing, the second alone cannot improve.

A critic that was regressed on the returns of the noisy demonstrations would value their noise; one
learned in imagination values what the actor does.
"""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from robowm.behaviour.cloning import PolicyHead, imitation
from robowm.models.protocol import Batch, State, WorldModel, detach_state, gather_state
from robowm.nets.blocks import EnsembleMLP
from robowm.nets.distributions import MixedAction, TwoHot
from robowm.spec import ActionSpec


@dataclasses.dataclass
class ActorCriticConfig:
    kind: str = "actor_critic"
    hidden: int = 512
    layers: int = 3
    critics: int = 4
    critic_hidden: int = 256
    critic_layers: int = 2
    bins: int = 63
    value_high: float = (
        50.0  # upper end of the critic's bins; rewards of at most 1 give 1 / (1 - discount)
    )
    horizon: int = 10
    starts: float = 0.25  # share of a batch's beliefs that imagination begins from
    interval: int = 2  # updates of the model for one in imagination
    discount: float = 0.97
    trace: float = 0.95  # lambda of the return
    target_decay: float = 0.98
    imitation: float = 1.0
    improvement: float = 0.05  # weight of the score-function term beside imitation
    entropy: float = 1e-3
    begin: int = 300  # updates of the model before imagination is worth anything
    member_share: float = 0.8  # of the rows that each critic sees, so that they differ


class ActorCritic(nn.Module):
    """See the module's docstring."""

    updates: Tensor
    scale: Tensor

    def __init__(self, config: ActorCriticConfig, feat_size: int, action_spec: ActionSpec):
        super().__init__()
        self.config = c = config
        self.full_cost_from = c.begin  # earlier updates are cheaper: they foretell nothing
        self.actor = PolicyHead(feat_size, action_spec, c.hidden, c.layers)
        self.critics = EnsembleMLP(
            c.critics, feat_size, c.critic_hidden, c.critic_layers, c.bins, scale=0.1
        )
        self.target = copy.deepcopy(self.critics).requires_grad_(False)
        self.two_hot = TwoHot(c.bins, -1.0, c.value_high)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.ones(()))  # running 5 to 95 percentile range of returns

    def policy(self, feat: Tensor) -> MixedAction:
        return self.actor(feat)

    def critic(self, feat: Tensor) -> Tensor:
        """[B, F] -> [E, B]."""
        return self.two_hot.mean(self.critics(feat))

    def loss(
        self, model: WorldModel, batch: Batch, states: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        c = self.config
        states = detach_state(states)
        imitated, metrics = imitation(self.policy(model.feat(states)), batch)
        total = c.imitation * imitated
        if int(self.updates) >= c.begin and int(self.updates) % c.interval == 0:
            imagined, more = self._imagined_loss(model, states)
            total, metrics = total + imagined, metrics | more
        return total, metrics

    def echo(self, model: WorldModel, batch: Batch, states: State) -> Tensor:
        """Imitation again: what keeps the actor near the demonstrations."""
        return self.config.imitation * imitation(self.policy(model.feat(states)), batch)[0]

    @torch.no_grad()
    def after_update(self) -> None:
        """Called by the trainer after each optimiser step: moves the target critics."""
        self.updates += 1
        for slow, fast in zip(self.target.parameters(), self.critics.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.config.target_decay)

    def _imagined_loss(self, model: WorldModel, states: State) -> tuple[Tensor, dict[str, Tensor]]:
        c = self.config
        feats, actions, rewards, weights, conts = self._imagine(model, states)
        with torch.no_grad():
            rows = feats.flatten(0, 1)
            values = self.two_hot.mean(self.target(rows)).mean(0).unflatten(0, feats.shape[:2])
            returns = lambda_returns(rewards, conts * c.discount, values, c.trace)  # [H, N]
            low, high = torch.quantile(returns.flatten(), torch.tensor([0.05, 0.95]).to(returns))
            self.scale.lerp_((high - low).to(self.scale), 0.02)
            advantage = (returns - values[:-1]) / self.scale.clamp(min=1.0)
        rows = feats[:-1].flatten(0, 1)
        flat, weight = returns.flatten(), weights.flatten()
        logits = self.critics(rows)  # [E, H * N, bins]
        seen = torch.rand(logits.shape[:2], device=rows.device) < c.member_share
        loss = self.two_hot.loss(logits, flat.expand(c.critics, -1))
        critic_loss = (loss * seen * weight).sum() / seen.sum().clamp(min=1)

        policy = self.policy(rows)
        gain = policy.log_prob(actions.flatten(0, 1)) * advantage.flatten()
        actor_loss = -(weight * (gain + c.entropy * policy.entropy())).mean()
        metrics = {
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "return": returns.mean(),
            "return_scale": self.scale.clone(),
            "critic_spread": self.critic(rows).std(0).mean().detach(),
        }
        return critic_loss + c.improvement * actor_loss, metrics

    @torch.no_grad()
    def _imagine(
        self, model: WorldModel, states: State
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Features [H + 1, N, F]; actions, rewards, weights and continuations of the H steps."""
        c = self.config
        flat = {k: v.flatten(0, 1) for k, v in states.items()}
        rows = len(next(iter(flat.values())))
        count = max(1, round(c.starts * rows))
        index = torch.randperm(rows, device=self.updates.device)[:count]
        state = gather_state(flat, index)
        feats, actions = [model.feat(state)], []
        for _ in range(c.horizon):
            action = self.policy(feats[-1]).sample()
            state = model.step(state, action, sample=True)
            feats.append(model.feat(state))
            actions.append(action)
        passed = torch.stack(feats)
        reward, cont = model.predict(passed[1:])
        alive = torch.cat([torch.ones_like(cont[:1]), cont[:-1]]).cumprod(0)
        return passed, torch.stack(actions), reward, alive, cont


def lambda_returns(reward: Tensor, discount: Tensor, value: Tensor, trace: float) -> Tensor:
    """TD(lambda) targets (arXiv:2301.04104, eq. 6).

    Args:
      reward: [H, N], of arriving at step t + 1; discount: [H, N], including continuation.
      value: [H + 1, N], of the states passed through; trace: lambda.

    Returns: [H, N].
    """
    following = value[-1]
    returns = []
    for t in reversed(range(len(reward))):
        mixed = (1 - trace) * value[t + 1] + trace * following
        following = reward[t] + discount[t] * mixed
        returns.append(following)
    return torch.stack(returns[::-1])
