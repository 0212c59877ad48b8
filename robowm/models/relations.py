"""What each object has to do with its goal, with the hand and with the other objects.

A policy that sees only where things are must learn every difference between them, in each place anew;
one that is given the differences, enlarged to the precision of the task, needs far fewer
demonstrations. The objects are read by the same weights and attended to (Vaswani et al. 2017,
arXiv:1706.03762), so that which of several is to be moved next is learned once for all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robowm.nets.blocks import NormAct, fine, linear
from robowm.spec import GOAL, PROPRIO, TaskSpec

RANGE_M = 0.1  # a difference of so much is 1
PLACE, AXES = 3, 6  # numbers of a position, and of two axes of the hand


class Relations(nn.Module):
    """Several heads of attention over the objects that ``spec`` tells the poses of.

    Attributes:
      size: of what :meth:`forward` returns.
    """

    where: Tensor
    place_centre: Tensor
    place_half: Tensor
    goal_centre: Tensor
    goal_half: Tensor
    hand_centre: Tensor
    hand_half: Tensor

    def __init__(self, spec: TaskSpec, hidden: int, heads: int = 4, head_size: int = 64):
        super().__init__()
        places = [key for key in spec.pose_keys if key.endswith("_position")]
        self.objects = len(places)
        self.pose_size = sum(spec.privileged[key].size for key in spec.pose_keys)
        self.register_buffer("where", self._where(spec), False)
        goal = spec.observation[GOAL].size if GOAL in spec.observation else 0
        proprio = spec.observation[PROPRIO].size if PROPRIO in spec.observation else 0
        # Where each object has a row of its own, the others are not its business.
        self.rows = spec.goal_rows if goal else 1
        self.others = range(1, self.objects if self.rows == 1 else 1)
        self.goal_row = goal // self.rows
        self.hand = spec.hand_in_proprio if proprio else None
        self.heads, self.size = heads, heads * head_size

        self._keep("place", [spec.privileged[key].centre_and_half() for key in places])
        if self._goal_has_place:
            centre, half = spec.observation[GOAL].centre_and_half()
            grouped = [a.reshape(self.rows, -1)[:, :PLACE] for a in (centre, half)]
            self._keep("goal", list(zip(*grouped, strict=True)))
        if self.hand is not None:
            centre, half = spec.observation[PROPRIO].centre_and_half()
            here = slice(self.hand, self.hand + PLACE)
            self._keep("hand", [(centre[here], half[here])])

        token = self.tokens(torch.zeros(1, self.pose_size + proprio), torch.zeros(1, goal))
        self.enter = nn.Sequential(linear(token.shape[-1], hidden, bias=False), NormAct(hidden))
        self.score = linear(hidden, heads)
        self.value = linear(hidden, self.size)

    def forward(self, slot: Tensor, goal: Tensor) -> Tensor:
        """Normalised slot [.., S] and goal [.., G] -> [.., size]."""
        hidden = self.enter(self.tokens(slot, goal))
        weight = self.score(hidden).float().softmax(-2)  # [.., N, heads]
        value = self.value(hidden).unflatten(-1, (self.heads, -1))
        return (weight[..., None] * value).sum(-3).flatten(-2)

    def tokens(self, slot: Tensor, goal: Tensor) -> Tensor:
        """[.., N, K]: where each object is, what is wanted of it, and the differences."""
        n = self.objects
        pose = torch.nn.functional.pad(slot[..., : self.pose_size], (0, 1))[..., self.where]
        proprio = slot[..., None, self.pose_size :]
        wanted = goal.unflatten(-1, (self.rows, -1))
        wanted = wanted.expand(*wanted.shape[:-2], n, -1)
        seen = fine(proprio)
        parts = [fine(torch.cat([pose, wanted], -1)), seen.expand(*seen.shape[:-2], n, -1)]

        place = pose[..., :PLACE] * self.place_half + self.place_centre
        turns = [pose[..., PLACE:]]
        away = [place.roll(-k, -2) - place for k in self.others]
        turns += [turns[0].roll(-k, -2) for k in self.others]
        if self._goal_has_place:
            target = wanted[..., :PLACE] * self.goal_half + self.goal_centre
            away.append(target - place)
        if self.hand is not None:
            hand = proprio[..., self.hand : self.hand + PLACE] * self.hand_half + self.hand_centre
            away.append(place - hand)
            if self._goal_has_place:
                away.append(target - hand)
        turn = self.goal_row - PLACE * self._goal_has_place
        if turn >= 2:
            first = self.goal_row - turn
            turns.append(wanted[..., first : first + 2])
        directions = torch.cat(turns, -1)
        others = directions
        if self.hand is not None:
            begin = self.hand + PLACE
            axes = proprio[..., begin : begin + AXES]
            others = torch.cat([others, axes.expand(*axes.shape[:-2], n, -1)], -1)
        if away:
            parts.append(fine(torch.cat(away, -1) / RANGE_M))
        # Sines and cosines of sums of turns are linear in these.
        parts.append(3 * (directions[..., None] * others[..., None, :]).flatten(-2))
        return torch.cat(parts, -1)

    def _where(self, spec: TaskSpec) -> Tensor:
        """[N, P] places in the slot of each object's pose; what a shorter pose lacks is one beyond."""
        rows: list[list[int]] = []
        for key, at in spec.pose_slices.items():
            if key.endswith("_position"):
                rows.append([])
            rows[-1] += range(self.pose_size)[at]
        longest = max(map(len, rows))
        return torch.tensor([row + [self.pose_size] * (longest - len(row)) for row in rows])

    @property
    def _goal_has_place(self) -> bool:
        return self.goal_row >= PLACE

    def _keep(self, name: str, units: list) -> None:
        for part, rows in zip(("centre", "half"), zip(*units, strict=True), strict=True):
            tensor = torch.stack([torch.as_tensor(row) for row in rows])
            self.register_buffer(f"{name}_{part}", tensor, False)
