"""The core that planners by sampling share: propose, imagine, keep the best, refit.

A planner of this kind differs from another in one rule alone: how much each of the best sequences
counts when the sampling distribution is refitted (:meth:`SamplingPlanner.weights`). The arrangement
is that of TD-MPC2 (Hansen et al. 2024, arXiv:2310.16828): proposals from policies, a shifted warm
start, a terminal value. Added to it: what has been scored stays among the candidates, switches are
coins, and the outcome is never a sequence that the model scores below the first policy's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robowm.behaviour.protocol import ActionDistribution, Critic, Policy
from robowm.errors import UserError
from robowm.models.protocol import (
    Objective,
    PredictsSuccess,
    State,
    Step,
    Uncertain,
    WorldModel,
    gather_state,
)
from robowm.planning.gate import Gate
from robowm.planning.imagine import Rollout, in_parts, present_value, rollout, score, unroll
from robowm.planning.keep_out import KeepOut, Zone
from robowm.planning.pace import Pace
from robowm.planning.proposals import Proposals
from robowm.planning.protocol import Plan
from robowm.spec import ActionSpec

SELECT = {"argmax": (0, 1), "mean": (0,), "best": (1,)}  # finalists: mean, best sequence
DIVERGED = -1e6  # score of a sequence along which the model is not finite


@dataclasses.dataclass
class SamplingConfig:
    """Settings of every planner by sampling.

    Attributes:
      samples: sequences imagined in an iteration (in the first, proposals included).
      iterations: rounds of sampling and refitting.
      deadline_ms: after which a plan should be there: rounds that would not end in time, judged by the
        last ones, are left out, though never the policies' own proposals. None does all of them, and
        then the same beliefs give the same plan on any machine.
      horizon: steps of a sequence.
      elites: sequences that the distribution is refitted to, the best seen so far.
      policy_samples: proposals drawn from the policies in imagination, beside their modes.
      leaning_samples: proposals that follow the policy and lean to one side from some step on, in
        addition to ``samples``, where there is a box to keep out of: each is a way round it.
      policy_prior: weight of a penalty for each step, the log-probability that an action lacks
        against the mode there of the policy that it is nearest to; the plan's value is net of it. 0
        is off.
      init_std, min_std, max_std: of the continuous dimensions, in units of the action's [-1, 1].
      noise_scale: a factor on these for each dimension; none is 1 everywhere.
      noise_persistence: share of the noise's variance that a sequence keeps for all its steps. What
        goes round an obstacle leans to one side for a while, which white noise hardly ever does.
      switch_flip: each switch is drawn against its likelier side at least this often.
      momentum: share of the old mean that is kept in refitting.
      select: what may be executed in place of the first policy's mode, beside the modes of the
        others: the refitted ``mean``, the ``best`` sequence, or ``argmax``, whichever scores higher.
      trust_margin: a plan replaces the first policy's mode only where it scores higher by more than
        this: of many scores the best is the most overrated one. Without a policy it is 0.
      discount: a step; that of the critic.
      keep_out_margin_m, keep_out_weight: distance at which a box to keep out of begins to cost, and
        the cost of a step that touches it, far above any reward.
      keep_out_prior_limit: the most that the policy prior counts against a step, in nats, where the
        policy is about to touch a box: it knows of none, and must not forbid the way round.
      value: reading of the critic ensemble, ``min`` or ``mean_std``.
      value_std_penalty: standard deviations that ``mean_std`` takes off.
      precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the hardware multiplies in it.
    """

    kind: str = "mppi"
    samples: int = 64
    iterations: int = 2
    deadline_ms: float | None = None
    horizon: int = 6
    elites: int = 32
    policy_samples: int = 16
    leaning_samples: int = 24
    policy_prior: float = 0.2
    init_std: float = 0.3
    min_std: float = 0.05
    max_std: float = 1.0
    noise_scale: list[float] | None = None
    noise_persistence: float = 0.5
    switch_flip: float = 0.05
    momentum: float = 0.1
    select: str = "argmax"
    trust_margin: float = 0.3
    discount: float = 0.97
    value: str = "min"
    value_std_penalty: float = 1.0
    keep_out_margin_m: float = 0.02
    keep_out_weight: float = 30.0
    keep_out_prior_limit: float = 3.0
    precision: str = "auto"

    def __post_init__(self) -> None:
        def check(name: str, good: bool, expected: str) -> None:
            if not good:
                value = getattr(self, name)
                raise UserError(f"planner.{name} is {value!r}, expected {expected}.")

        for name in ("iterations", "horizon", "elites"):
            check(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "policy_samples",
            "leaning_samples",
            "policy_prior",
            "trust_margin",
            "value_std_penalty",
        ):
            check(name, getattr(self, name) >= 0, "0 or more")
        check("samples", self.samples >= self.policy_samples + 3, "at least policy_samples + 3")
        check("min_std", 0 < self.min_std <= self.max_std, "above 0 and at most max_std")
        for name in ("keep_out_margin_m", "keep_out_weight"):
            check(name, getattr(self, name) > 0, "above 0")
        check("init_std", self.init_std > 0, "above 0")
        in_time = self.deadline_ms is None or self.deadline_ms > 0
        check("deadline_ms", in_time, "above 0, or null for none")
        check("switch_flip", 0 <= self.switch_flip < 0.5, "from 0 to below 0.5")
        check("noise_persistence", 0 <= self.noise_persistence <= 1, "from 0 to 1")
        check("momentum", 0 <= self.momentum < 1, "from 0 to below 1")
        check("discount", 0 < self.discount <= 1, "above 0 and at most 1")
        check("select", self.select in SELECT, "one of " + ", ".join(SELECT))
        check("value", self.value in ("min", "mean_std"), "min or mean_std")
        check("precision", self.precision in ("auto", "fp32", "bf16"), "auto, fp32 or bf16")


class SamplingPlanner:
    """Plans for B beliefs at once; the same noise serves each, so no row depends on the others.

    Args:
      policies: propose, the first being the one to fall back on; without one the proposal is to hold
        still, switches off.
      critic: values the last imagined state; without one only the horizon counts.
      objective: replaces the model's reward, in imagination only.
      seed: of the planner's own generator.
      gate: says how many steps are to be trusted; without one all are.
    """

    def __init__(
        self,
        config: SamplingConfig,
        model: WorldModel,
        action: ActionSpec,
        policies: Sequence[Policy] = (),
        critic: Critic | None = None,
        objective: Objective | None = None,
        seed: int = 0,
        gate: Gate | None = None,
    ):
        if config.noise_scale is not None and len(config.noise_scale) != action.size:
            raise UserError(
                f"planner.noise_scale has {len(config.noise_scale)} numbers, expected {action.size}: "
                f"one for each of {', '.join(action.names)}."
            )
        self.config, self.model, self.action = config, model, action
        self.proposals, self.critic = Proposals(policies), critic
        self.objective, self.gate = objective, gate
        self.horizon = config.horizon
        self._keep_out: KeepOut | None = None
        self._prior_limit: Tensor | None = None
        self._at_first: Sequence[ActionDistribution] = ()
        self._pace = Pace(None if config.deadline_ms is None else config.deadline_ms / 1e3)
        self._generator = torch.Generator()  # on the CPU: the same draws whatever the device
        self._success_model = model if isinstance(model, PredictsSuccess) else None
        self._uncertain_model = model if isinstance(model, Uncertain) else None
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start the noise anew, so that an episode does not depend on those before it."""
        self._generator.manual_seed(seed)

    def constrain(self, constraints: Sequence[Mapping[str, NDArray[Any]]], yaw_order: int) -> None:
        """Keep out, from here on, of the boxes that ``constraints`` tell of, or of none.

        One for all beliefs, or one for each of them. See
        :class:`~robowm.planning.keep_out.KeepOut`. An objective that was given stays.
        """
        c = self.config
        zones = [
            Zone(self.model, told, yaw_order, c.keep_out_margin_m, c.keep_out_weight)
            for told in constraints
            if "keep_out" in told
        ]
        if zones and len(zones) < len(constraints):
            raise ValueError("some beliefs have a box to keep out of and others have none")
        self._keep_out = KeepOut(zones, self.objective) if zones else None

    def weights(self, scores: Tensor) -> Tensor:
        """How much each elite counts: scores [B, E], best first -> [B, E], summing to 1."""
        raise NotImplementedError

    @torch.no_grad()  # autocast does not cache its casts of weights in inference_mode
    def plan(self, state: State, warm_start: Plan | None = None) -> Plan:
        begin = time.perf_counter()
        self._pace.begin()
        config = self.config
        device = next(iter(state.values())).device
        switch = torch.tensor(self.action.switch, device=device)
        scale = torch.tensor(config.noise_scale or [1.0] * self.action.size, device=device)
        with self._autocast(device):
            self._prior_limit = self._limit_prior(state)
            if self._charges:  # all futures of a belief begin in the same place
                self._at_first = self.proposals.opinions(self.model.feat(state)[:, None, None])
            pool, scores, mean = self._propose(state, warm_start, switch)
            modes = pool[:, : max(1, len(self.proposals))]
            std = torch.full_like(mean, config.init_std) * scale
            for iteration in range(config.iterations):
                if not self._pace.allows_another():
                    break
                fresh = config.samples - (pool.shape[1] - self._leaning if iteration == 0 else 0)
                noise = self._noise(fresh, mean.shape[1:])
                drawn = self._draw(mean, std, noise.to(device), switch)
                pool = torch.cat([pool, drawn], 1)
                fresh_scores = self._contenders(self._imagine(state, drawn), scores)
                scores = torch.cat([scores, fresh_scores], 1)
                scores, best = scores.topk(min(config.elites, pool.shape[1]), 1)
                pool = pool.gather(1, best[..., None, None].expand(-1, -1, *pool.shape[2:]))
                mean, std = self._refit(pool, scores, mean, scale)
                self._pace.round_ends()
            best = pool[torch.arange(len(pool)), scores.argmax(1)][:, None]
            finalists = torch.cat([modes, _snap(mean, switch)[:, None], best], 1)
            imagined = self._imagine(state, finalists, keep_states=True)
            plan = self._outcome(state, imagined, self._score(imagined), begin)
            self._pace.end()
            return plan

    def _propose(
        self, state: State, warm_start: Plan | None, switch: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences [B, P, H, A] with scores [B, P], and the mean [B, H, A] to start from.

        The first rows are the modes of the policies in imagination (or, without one, holding still),
        then comes the warm start if there is one, its last action from the first policy (repeated
        without one); the others are drawn from the policies in turn.
        """
        batch, device = len(next(iter(state.values()))), switch.device
        proposals, warm = self.proposals, None
        given = modes = max(1, len(proposals))
        if warm_start is not None:
            shape = (batch, self.horizon, self.action.size)
            if warm_start.sequence.shape != shape:
                raise ValueError(
                    f"the warm start has shape {tuple(warm_start.sequence.shape)}, expected {shape}: "
                    "it comes from another planner"
                )
            last = warm_start.sequence[:, -1:]
            warm = torch.cat([warm_start.sequence[:, 1:], last], 1).to(device)
            given = modes + 1
        known = self.horizon - 1 if proposals else self.horizon  # steps of the warm start
        leaning = self._leaning
        count = given + (self.config.policy_samples if proposals else 0) + leaning
        lean = self._lean(leaning, switch)
        hold = torch.where(switch, -1.0, 0.0).expand(batch * count, -1)
        if proposals:
            owner = torch.cat([proposals.owners(n) for n in (modes, given - modes, count - given)])

        def act(t: int, feat: Tensor) -> Tensor:
            mode, drawn = proposals.act(feat, owner) if proposals else (hold, hold)
            mode, action = (part.unflatten(0, (batch, count)) for part in (mode, drawn.clone()))
            action[:, :given] = mode[:, :given]
            if leaning:
                action[:, -leaning:] = mode[:, -leaning:] + lean[:, t]
            if warm is not None and t < known:
                action[:, modes] = warm[:, t]
            return _snap(action, switch).flatten(0, 1)

        with self._seeded(device):
            imagined = unroll(self.model, state, act, count, self.horizon, self._objective)
        pool, scores = imagined.actions, self._score(imagined)
        if proposals:
            mean = pool[torch.arange(batch), scores[:, :given].argmax(1)]
        else:  # holding still is a candidate, but no place to search around
            mean = torch.zeros_like(pool[:, 0]) if warm is None else pool[:, modes]
        return pool, scores, mean

    def _noise(self, count: int, shape: torch.Size) -> Tensor:
        """[N, H, A] of unit variance."""
        white = torch.randn(count, *shape, generator=self._generator)
        if not (share := self.config.noise_persistence):
            return white
        lasting = torch.randn(count, 1, shape[1], generator=self._generator)
        return share**0.5 * lasting + (1 - share) ** 0.5 * white

    @property
    def _leaning(self) -> int:
        """How many proposals lean now."""
        return self.config.leaning_samples if self.proposals and self._keep_out else 0

    def _limit_prior(self, state: State) -> Tensor | None:
        """[B] nats: a little where the policy is about to touch a box, and no limit elsewhere."""
        proposals, zone = self.proposals, self._keep_out
        if not proposals or zone is None:
            return None
        owner = proposals.owners(len(proposals))

        def modes(_: int, feat: Tensor) -> Tensor:
            return proposals.modes(feat, owner)

        def cost(_: State, __: Tensor, step: Step) -> Tensor:
            return zone.cost(step.state)

        with self._seeded(next(iter(state.values())).device):
            ahead = unroll(self.model, state, modes, len(owner), self.horizon, cost).objective
        touches = (ahead > 0).any(-1).any(-1)
        free = torch.full_like(ahead[:, 0, 0], torch.inf)
        return torch.where(touches, self.config.keep_out_prior_limit, free)

    def _lean(self, count: int, switch: Tensor) -> Tensor:
        """Offsets [N, H, A] in random directions of the continuous dimensions, 0.3 to 1.2 long.

        Half begin at once, the others later: what is about to grasp must do so before it goes round.
        """
        direction = torch.randn(count, len(switch), generator=self._generator).to(switch.device)
        direction = torch.where(switch, 0.0, direction)
        length = 0.3 + 0.9 * torch.rand(count, 1, generator=self._generator).to(switch.device)
        lean = length * nn.functional.normalize(direction, dim=1)
        begin = torch.randint(self.horizon, (count,), generator=self._generator)
        begin[::2] = 0
        late = torch.arange(self.horizon) < begin[:, None]
        return lean[:, None].masked_fill(late[..., None].to(switch.device), 0.0)

    def _draw(self, mean: Tensor, std: Tensor, noise: Tensor, switch: Tensor) -> Tensor:
        """Sequences [B, N, H, A]; the mean of a switch is 2 p - 1 with p its probability of on."""
        mean, std = mean[:, None], std[:, None]
        flip = self.config.switch_flip
        chance = ((mean + 1) / 2).clamp(flip, 1 - flip)
        coin = torch.where(torch.special.ndtr(noise) < chance, 1.0, -1.0)
        return torch.where(switch, coin, (mean + std * noise).clamp(-1, 1))

    def _refit(
        self, elites: Tensor, scores: Tensor, old: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        weight = self.weights(scores)[..., None, None]  # [B, E, 1, 1]
        mean = (weight * elites).sum(1)
        std = (weight * (elites - mean[:, None]).square()).sum(1).sqrt()
        std = std.clamp(scale * self.config.min_std, scale * self.config.max_std)
        return torch.lerp(mean, old, self.config.momentum), std

    def _imagine(self, state: State, actions: Tensor, keep_states: bool = False) -> Rollout:
        return rollout(self.model, state, actions, self._objective, keep_states)

    def _score(self, imagined: Rollout) -> Tensor:
        """[B, N], net of the policy prior."""
        scores = self._promise(imagined)
        if self._charges:
            later = self._charge_later(imagined.feats, imagined.actions)
            charge = torch.cat([self._charge_first(imagined.actions), later], -1)
            scores = scores - present_value(charge, imagined.cont, self.config.discount)
        return _finite(scores)

    def _promise(self, imagined: Rollout) -> Tensor:
        """[B, N], before the policy prior."""
        c = self.config
        return score(imagined, self.critic, c.discount, c.value, c.value_std_penalty)

    def _contenders(self, imagined: Rollout, known: Tensor) -> Tensor:
        """Scores [B, N] of futures beside those that are known [B, M]; of any that cannot be among the
        elites a low one.

        The policies' opinion of a sequence is the dearest part of its score, and can only lower it: what
        is not good enough before is not asked about.
        """
        if not self._charges:
            return _finite(self._promise(imagined))
        cont, discount = imagined.cont, self.config.discount
        bound = _finite(self._promise(imagined) - self._charge_first(imagined.actions)[..., 0])
        order = bound.argsort(1, descending=True)
        scores = torch.full_like(bound, DIVERGED)
        elites, total = self.config.elites, known.shape[1] + bound.shape[1]
        begin, count = 0, max(elites, bound.shape[1] // 4)
        while count:
            asked = order[:, begin : begin + count]
            later = self._charge_later(_rows(imagined.feats, asked), _rows(imagined.actions, asked))
            charge = nn.functional.pad(later, (1, 0))  # the first is in the bound
            exact = _rows(bound, asked) - present_value(charge, _rows(cont, asked), discount)
            scores.scatter_(1, asked, _finite(exact))
            begin += count
            least = torch.cat([known, scores], 1).topk(min(elites, total), 1).values[:, -1:]
            count = int((_rows(bound, order[:, begin:]) > least).sum(1).amax())
        return scores

    @property
    def _objective(self) -> Objective | None:
        return self._keep_out or self.objective

    @property
    def _charges(self) -> bool:
        """Whether the policy prior is on."""
        return bool(self.proposals) and self.config.policy_prior > 0

    def _charge_first(self, actions: Tensor) -> Tensor:
        """[B, N, 1] for the first of the actions [B, N, H, A]."""
        return self._charge(self._at_first, actions[:, :, :1])

    def _charge_later(self, feats: Tensor, actions: Tensor) -> Tensor:
        """[B, N, H - 1] for the others, of a rollout's feats and actions."""
        feats, actions = feats[:, :, :-1], actions[:, :, 1:]
        batch, count, steps = actions.shape[:3]
        parts = in_parts(count, batch * steps, actions.device)
        each = [
            self._charge(self.proposals.opinions(feats[:, at]), actions[:, at])
            for at in (parts if steps else ())
        ]
        return torch.cat(each, 1) if each else actions.new_zeros(batch, count, 0)

    def _charge(self, opinions: Sequence[ActionDistribution], action: Tensor) -> Tensor:
        """What taking each action costs, in the policies' opinions: [B, N, T]."""
        lacking = self.proposals.lacking(opinions, action)
        if self._prior_limit is not None:
            lacking = lacking.minimum(self._prior_limit[:, None, None])
        return self.config.policy_prior * lacking

    def _outcome(self, state: State, imagined: Rollout, scores: Tensor, begin: float) -> Plan:
        """Choose among the finalists (modes, mean, best sequence), and describe the choice."""
        batch, count = scores.shape
        rows = torch.arange(batch, device=scores.device)
        others = [*range(1, count - 2), *(count - 2 + i for i in SELECT[self.config.select])]
        allowed = torch.tensor(others, device=scores.device)
        value, choice = scores[:, allowed].max(1)
        margin = self.config.trust_margin if self.proposals else 0.0
        better = value > scores[:, 0] + margin
        choice = torch.where(better, allowed[choice], 0)
        states = [gather_state(kept, rows * count + choice) for kept in imagined.states]
        sequence = imagined.actions[rows, choice]  # [B, H, A]
        if self._uncertain_model is not None:
            before = {k: torch.cat([v, *(s[k] for s in states[:-1])]) for k, v in state.items()}
            taken = sequence.transpose(0, 1).flatten(0, 1)  # as the states: step by step
            disagreement = self._uncertain_model.epistemic(before, taken).float()
            epistemic = disagreement.unflatten(0, (-1, batch)).T
        else:
            epistemic = torch.zeros_like(sequence[..., 0])
        if self.gate is None:
            trusted = torch.full_like(choice, self.horizon)
        else:
            trusted = self.gate(epistemic)
        if self._success_model is not None:
            success = self._success_model.predict_success(states[-1]).float()
        else:
            success = torch.full_like(value, float("nan"))
        if scores.device.type == "cuda":
            torch.cuda.synchronize(scores.device)
        return Plan(
            action=sequence[:, 0],
            sequence=sequence,
            value=scores[rows, choice],
            success=success,
            epistemic=epistemic,
            trusted_steps=trusted,
            states=states,
            planning_time_ms=(time.perf_counter() - begin) * 1e3,
            rounds=self._pace.rounds,
        )

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    @contextlib.contextmanager
    def _seeded(self, device: torch.device) -> Iterator[None]:
        """Distributions draw from torch's global generator: lend it a seed, then put it back."""
        seed = int(torch.randint(2**62, (), generator=self._generator))
        devices = [] if device.type == "cpu" else [device]
        with torch.random.fork_rng(devices, device_type="cuda" if not devices else device.type):
            torch.manual_seed(seed)
            yield


def _snap(action: Tensor, switch: Tensor) -> Tensor:
    """Into [-1, 1], switches to exactly -1 or 1 (> 0 is on)."""
    return torch.where(switch, torch.where(action > 0, 1.0, -1.0), action.clamp(-1, 1))


def _finite(scores: Tensor) -> Tensor:
    return torch.where(scores.isfinite(), scores, DIVERGED)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Of [B, N, ...] those [B, M, ...] at ``index`` [B, M]."""
    return values[torch.arange(len(index), device=index.device)[:, None], index]
