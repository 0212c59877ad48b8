"""Policies that propose to a planner, side by side.

Each is good at something else: the cloned policy does what was shown, the actor what it found to be
better in imagination. The model judges between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robowm.behaviour.protocol import ActionDistribution, Policy


class Proposals:
    """P policies; the first is the one to fall back on."""

    def __init__(self, policies: Sequence[Policy]):
        self.policies = tuple(policies)

    def __len__(self) -> int:
        return len(self.policies)

    def owners(self, count: int) -> Tensor:
        """Which policy each of ``count`` futures follows: [N], in turn."""
        return torch.arange(count) % len(self)

    def modes(self, feat: Tensor, owner: Tensor) -> Tensor:
        """Mode [B * N, A] of the policy that each row follows: feat [B * N, F], owner [N]."""
        return self._followed(feat, owner, lambda proposal: proposal.mode()[None])[0]

    def act(self, feat: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Mode and sample, as :meth:`modes`."""
        mode, sample = self._followed(
            feat, owner, lambda proposal: torch.stack([proposal.mode(), proposal.sample()])
        )
        return mode, sample

    def _followed(
        self, feat: Tensor, owner: Tensor, read: Callable[[ActionDistribution], Tensor]
    ) -> Tensor:
        """[K, B * N, A]: the K things that ``read`` finds, of each row's own policy."""
        rows = feat.unflatten(0, (-1, len(owner)))
        found: list[Tensor] = []
        order: list[Tensor] = []
        for index, policy in enumerate(self.policies):
            mine = (owner == index).nonzero()[:, 0]
            if not len(mine):
                continue
            proposal = policy(rows[:, mine.to(rows.device)].flatten(0, 1))
            found.append(read(proposal).float().unflatten(1, (-1, len(mine))))
            order.append(mine)
        back = torch.cat(order).argsort().to(feat.device)
        return torch.cat(found, 2)[:, :, back].flatten(1, 2)

    def opinions(self, feat: Tensor) -> list[ActionDistribution]:
        """What each policy would do at ``feat`` [..., F]."""
        return [policy(feat) for policy in self.policies]

    @staticmethod
    def lacking(opinions: Sequence[ActionDistribution], action: Tensor) -> Tensor:
        """[...] nats that ``action`` [..., A] is less likely than the mode, for the opinion to which it is
        nearest. One opinion may be of several actions.
        """
        each = [o.log_prob(o.mode()) - o.log_prob(action) for o in opinions]
        return torch.stack(each).amin(0).clamp(min=0)
