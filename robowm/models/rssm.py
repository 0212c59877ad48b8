"""A discrete recurrent state-space model with a pose slot.

The form is DreamerV3's (Hafner et al. 2023, arXiv:2301.04104): a block-diagonal GRU, categorical
latents with one percent of uniform, balanced KL with free nats, two-hot scalars. Pixels and vectors
are fused before the posterior.

What is added is the *slot*: continuous numbers beside ``deter`` and ``stoch`` that hold the object's
pose and the proprioception, in the task's own units scaled to [-1, 1]. The posterior fuses what the
encoder reads from the pixels with what was predicted; the prior predicts a change. A discrete latent
alone forgets where things are to the centimetre; the slot keeps it, and rotation survives imagination.

State: deter [B, D], stoch [B, S * C], slot [B, P + Q], goal [B, G]. P numbers of pose, Q of
proprioception.
"""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robowm.models.protocol import Batch, Prediction, State
from robowm.models.relations import Relations
from robowm.nets.blocks import CODES, BlockGRU, NormAct, compute_dtype, fine, linear, mlp
from robowm.nets.distributions import (
    TwoHot,
    categorical_kl,
    gumbel_like,
    one_hot,
    straight_through,
    unimix_log_probs,
)
from robowm.nets.images import ImageDecoder, ImageEncoder
from robowm.spec import GOAL, POSITION, PROPRIO, ROTATION, YAW, TaskSpec


@dataclasses.dataclass
class LossScales:
    """Weight of each term; every term is a mean over time and batch."""

    dynamics: float = 1.0
    representation: float = 0.1
    image: float = 0.02  # of squared error summed over pixels; a picture has many, a pose five
    vector: float = 1.0
    pose: float = 10.0  # encoder's and posterior's pose, and the prior's slot
    proprio: float = 0.2  # of the slot's proprioception beside its pose: the arm's is measured
    reward: float = 1.0
    cont: float = 1.0
    success: float = 0.5
    contact: float = 0.5
    open_loop: float = 1.0


@dataclasses.dataclass
class RSSMConfig:
    """Sizes and switches; the named sizes are in configs/model/rssm."""

    kind: str = "rssm"
    deter: int = 256
    blocks: int = 8
    hidden: int = 256
    stoch: int = 16
    classes: int = 16
    embed: int = 256
    depth: int = 16  # channels of the first convolution
    head_layers: int = 1
    unimix: float = 0.01
    free_nats: float = 1.0
    pose_slot: bool = True
    privileged: bool = True  # learn from simulator-only targets
    relations: bool = True  # objects seen from goal, hand and each other, beside where they are
    turn_products: bool = False  # rotations times rotations and goal, which relations have too
    encode_goal: bool = False  # an encoder that is told the goal takes it for what it sees
    image_share: float = 0.125  # of the frames that the picture loss sees
    open_loop_steps: int = 6  # 0 turns the open-loop loss off
    open_loop_starts: int = 4  # start times drawn in each sequence
    reward_bins: int = 41
    scales: LossScales = dataclasses.field(default_factory=LossScales)


class RSSM(nn.Module):
    """See the module's docstring. Raw observations in, predictions in SI units out."""

    slot_weight: Tensor

    def __init__(self, config: RSSMConfig, spec: TaskSpec):
        super().__init__()
        self.config, self.spec = config, spec
        c, obs = config, spec.observation
        self.pose_keys = spec.pose_keys if c.privileged else ()
        self.contact_keys = tuple(k for k in spec.privileged if k not in spec.pose_keys)
        self.inputs = tuple(k for k in spec.vectors if k != GOAL)
        for name in (*spec.vectors, *self.pose_keys):
            array = obs.get(name) or spec.privileged[name]
            centre, half = array.centre_and_half()
            self.register_buffer(f"centre_{name}", torch.from_numpy(centre), False)
            self.register_buffer(f"half_{name}", torch.from_numpy(half), False)
        self.pose_size = sum(spec.privileged[k].size for k in self.pose_keys)
        self.proprio_size = obs[PROPRIO].size if PROPRIO in obs else 0
        self.goal_size = obs[GOAL].size if GOAL in obs else 0
        self.slot_size = (self.pose_size + self.proprio_size) if c.pose_slot else 0
        self.stoch_size = c.stoch * c.classes
        latent_size = c.deter + self.stoch_size
        self.turns = self._turns_in_slot() if self.slot_size and c.turn_products else []
        self.feat_size = latent_size + CODES * (self.slot_size + self.goal_size)
        self.feat_size += len(self.turns) * (len(self.turns) + self.goal_size)
        related = c.relations and c.pose_slot and self.pose_size
        self.relations = Relations(spec, c.hidden) if related else None
        self.feat_size += self.relations.size if self.relations else 0

        # Encoder: each camera on its own, then everything together.
        cameras = {k: ImageEncoder(obs[k].shape, c.depth) for k in spec.images}
        self.cameras = nn.ModuleDict(cameras)
        vectors = sum(obs[k].size for k in self.inputs) + self.goal_size * c.encode_goal
        self.camera_out = nn.ModuleDict(
            {k: linear(camera.size, c.embed, bias=False) for k, camera in cameras.items()}
        )
        self.camera_norm = nn.ModuleDict({k: NormAct(c.embed) for k in self.cameras})
        fused = c.embed * len(self.cameras) + vectors
        self.fuse = nn.Sequential(
            linear(fused, c.embed, bias=False), NormAct(c.embed),
            linear(c.embed, c.embed, bias=False), NormAct(c.embed),
        )  # fmt: skip
        self.pose_head = linear(c.embed, self.pose_size) if self.pose_size else None

        # Recurrence.
        self.enter_deter = nn.Sequential(linear(c.deter, c.hidden, bias=False), NormAct(c.hidden))
        self.enter_latent = nn.Sequential(
            linear(self.stoch_size + self.slot_size, c.hidden, bias=False), NormAct(c.hidden)
        )
        self.enter_action = nn.Sequential(
            linear(spec.action.size, c.hidden, bias=False), NormAct(c.hidden)
        )
        self.cell = BlockGRU(3 * c.hidden, c.deter, c.blocks)
        self.prior_head = mlp(c.deter, c.hidden, 1, self.stoch_size)
        self.posterior_deter = linear(c.deter, c.hidden, bias=False)
        self.posterior_embed = linear(c.embed, c.hidden, bias=False)
        self.posterior_norm = NormAct(c.hidden)
        self.posterior_head = linear(c.hidden, self.stoch_size)
        weight = [1.0] * self.pose_size + [c.scales.proprio] * self.proprio_size
        self.register_buffer("slot_weight", torch.tensor(weight[: self.slot_size]), False)
        if self.slot_size:
            inputs = c.deter + self.slot_size + spec.action.size
            self.slot_change = mlp(inputs, c.hidden, 1, self.slot_size, scale=0.1)
        if self.slot_size and self.pose_size:
            self.slot_gate = linear(c.hidden, self.pose_size, scale=0.1)

        # Heads.
        self.decoders = nn.ModuleDict(
            {k: ImageDecoder(obs[k].shape, self.feat_size, c.hidden, c.depth) for k in spec.images}
        )
        self.contact_size = (
            sum(spec.privileged[k].size for k in self.contact_keys) if c.privileged else 0
        )
        self.vector_head = mlp(
            latent_size, c.hidden, c.head_layers, self.pose_size + self.proprio_size
        )
        self.two_hot = TwoHot(c.reward_bins, -2.0, 2.0)
        # One trunk for the scalars that a planner asks at every imagined step.
        self.scalar_trunk = mlp(self.feat_size, c.hidden, c.head_layers, c.hidden)
        self.scalar_norm = NormAct(c.hidden)
        self.reward_head = linear(c.hidden, c.reward_bins, scale=0.0)
        self.flag_head = linear(c.hidden, 2 + self.contact_size)  # continue, success, contacts
        self.outcome_head = mlp(self.feat_size, c.hidden, 1, 1)

    # ------------------------------------------------------------------ the protocol

    def initial(self, batch_size: int) -> State:
        new = self.posterior_deter.weight.new_zeros
        return {
            "deter": new(batch_size, self.config.deter),
            "stoch": new(batch_size, self.stoch_size),
            "slot": new(batch_size, self.slot_size),
            "goal": new(batch_size, self.goal_size),
        }

    def observe(
        self, state: State, prev_action: Tensor, obs: Batch, is_first: Tensor, sample: bool = False
    ) -> State:
        embed, pose, proprio, goal = self._encode(obs)
        noise = self._noise(len(embed)) if sample else None
        prev_action = prev_action * (~is_first)[:, None]
        return self._posterior(
            state,
            prev_action,
            self.enter_action(prev_action),
            self.posterior_embed(embed),
            pose,
            proprio,
            goal,
            is_first,
            noise,
        )[0]

    def step(self, state: State, action: Tensor, sample: bool = False) -> State:
        with self._stepwise():
            if sample or torch.is_grad_enabled():
                return self._prior(state, action, sample)[0]
            # Planning: the mode of the logits is the mode of the mixed probabilities.
            deter, slot = self._recur(state, action, self.enter_action(action))
            logits = self.prior_head(deter).unflatten(-1, (self.config.stoch, -1))
            stoch = one_hot(logits).flatten(-2)
            return {"deter": deter, "stoch": stoch, "slot": slot, "goal": state["goal"]}

    def predict(self, feat: Tensor) -> Prediction:
        scalars = self._scalars(feat)
        cont = torch.sigmoid(self.flag_head(scalars)[..., 0].float())
        return Prediction(self._reward(scalars), cont)

    def feat(self, state: State) -> Tensor:
        slot, goal = state["slot"], state["goal"]
        parts = [state["deter"], state["stoch"], fine(torch.cat([slot, goal], -1))]
        if self.turns:
            turns = slot[..., self.turns]
            others = torch.cat([turns, goal], -1)
            parts.append(3 * (turns[..., None] * others[..., None, :]).flatten(-2))
        if self.relations is not None:
            parts.append(self.relations(slot, goal))
        # Whoever reads it under autocast would cast it, each anew. Gradients are summed in float32.
        weight = self.posterior_deter.weight
        dtype = slot.dtype if torch.is_grad_enabled() else compute_dtype(weight)
        return torch.cat([part.to(dtype) for part in parts], -1)

    def decode(self, state: State) -> dict[str, Tensor]:
        feat = self.feat(state)
        out = {k: (decoder(feat) * 255).clamp(0, 255) for k, decoder in self.decoders.items()}
        if self.proprio_size:
            out[PROPRIO] = self.proprio(state)
        return out

    def pose(self, state: State) -> dict[str, Tensor]:
        """Object pose in SI units; from the latent where there is no slot."""
        vector = state["slot"] if self.slot_size else self._vector(state)
        parts = (
            vector[..., : self.pose_size]
            .float()
            .split([self.spec.privileged[k].size for k in self.pose_keys], -1)
        )
        return {k: self._restore(k, part) for k, part in zip(self.pose_keys, parts, strict=True)}

    def proprio(self, state: State) -> Tensor:
        vector = state["slot"] if self.slot_size else self._vector(state)
        return self._restore(PROPRIO, vector[..., self.pose_size :].float())

    def predict_success(self, state: State) -> Tensor:
        return torch.sigmoid(self.outcome_head(self.feat(state))[..., 0].float())

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], State]:
        c, scales = self.config, self.config.scales
        shape = batch["prev_action"].shape[:2]  # [B, T]
        flat = {k: batch[k].flatten(0, 1) for k in self.spec.observation}
        embed, pose_read, proprio, goal = (x.unflatten(0, shape) for x in self._encode(flat))
        is_first = batch["is_first"].bool()
        follows = (~is_first).float()
        prev_action = batch["prev_action"] * follows[..., None]
        with self._stepwise():
            states, log_post, slot_prior = self._scan(
                prev_action, embed.float(), pose_read, proprio, goal, is_first
            )
        log_prior = self._log_probs(self.prior_head(states["deter"]))
        feat = self.feat(states)
        losses: dict[str, Tensor] = {}

        # Latent dynamics.
        free = torch.tensor(c.free_nats, device=feat.device)
        dyn = categorical_kl(log_post.detach(), log_prior)
        rep = categorical_kl(log_post, log_prior.detach())
        losses["dynamics"] = torch.maximum(dyn, free).mean()
        losses["representation"] = torch.maximum(rep, free).mean()

        # Pictures, on a share of the frames: they are the dearest part.
        if self.decoders:
            count = max(1, round(c.image_share * shape.numel()))
            rows = torch.randperm(shape.numel(), device=feat.device)[:count]
            some = feat.flatten(0, 1)[rows]
            losses["image"] = sum(
                (decoder(some) - flat[k][rows].float() / 255).square().sum((1, 2, 3)).mean()
                for k, decoder in self.decoders.items()
            )

        # Pose and proprioception.
        pose, told = self._target_pose(batch, pose_read, states)
        slot_target = torch.cat([pose, proprio], -1) if self.slot_size else pose[..., :0]
        vector_target = torch.cat([pose, proprio], -1)
        if vector_target.shape[-1]:
            losses["vector"] = _huber(self._vector(states), vector_target).mean()
        if self.pose_size:
            error = _huber(pose_read, pose)
            if self.slot_size:
                error = error + _huber(states["slot"][..., : self.pose_size], pose)
            losses["pose"] = (error * told).sum() / told.sum().clamp(min=1)
        if self.slot_size:
            error = _huber(slot_prior, slot_target, self.slot_weight) * follows
            losses["pose"] = losses.get("pose", feat.new_zeros(())) + error.mean()

        # Scalars.
        losses |= self._scalar_losses(feat, batch, follows)
        outcome = self.outcome_head(feat.detach())[..., 0].float()
        known = ~batch["outcome"].isnan()
        surprise = F.binary_cross_entropy_with_logits(
            outcome, batch["outcome"].nan_to_num(), reduction="none"
        )
        losses["outcome"] = (surprise * known).sum() / known.sum().clamp(min=1)

        # What a planner will ask: several steps without observation.
        ahead: dict[str, Tensor] = {}
        if c.open_loop_steps and shape[1] > c.open_loop_steps:
            with self._stepwise():
                ahead = self._open_loop(states, prev_action, follows, slot_target, log_post, batch)
            losses["open_loop"] = ahead.pop("open_loop")

        weighted = [getattr(scales, name, 1.0) * value for name, value in losses.items()]
        total = torch.stack(weighted).sum()
        metrics = {f"loss/{name}": value.detach() for name, value in losses.items()} | ahead
        metrics["kl"] = dyn.detach().mean()
        metrics["posterior_entropy"] = -(log_post.exp() * log_post).sum((-1, -2)).detach().mean()
        if self.pose_size:
            metrics |= self._pose_errors(
                pose_read.detach(), states, slot_prior.detach(), pose, follows, told
            )
        return total, metrics, states

    # ------------------------------------------------------------------ inside

    def _stepwise(self) -> AbstractContextManager[None]:
        """Autocast off on a CPU, for what is done step by step.

        There a step is many small operations, and casting weights to bfloat16 costs more than the
        products save (a scan of 16 x 16: 130 ms in place of 80). Encoder and decoder are where it
        pays, and planning, where the weights are in bfloat16 already.
        """
        weight = self.posterior_deter.weight
        if weight.device.type == "cpu" and weight.dtype == torch.float32:
            return torch.autocast("cpu", enabled=False)
        return nullcontext()

    def _encode(self, obs: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embedding [B, E], pose read [B, P], normalised proprioception [B, Q] and goal [B, G]."""
        parts = [
            self.camera_norm[k](self.camera_out[k](camera(obs[k])))
            for k, camera in self.cameras.items()
        ]
        vectors = {k: self._normalise(k, obs[k]) for k in self.spec.vectors}
        encoded = (
            (*self.inputs, GOAL) if self.goal_size and self.config.encode_goal else self.inputs
        )
        parts += [vectors[k] for k in encoded]
        embed = self.fuse(torch.cat(parts, -1))
        nothing = embed.new_zeros(len(embed), 0)
        pose = self.pose_head(embed).float() if self.pose_head is not None else nothing
        return embed, pose, vectors.get(PROPRIO, nothing), vectors.get(GOAL, nothing)

    def _turns_in_slot(self) -> list[int]:
        """Where in the slot sines, cosines and axes stand."""
        slots = range(self.pose_size)
        turns = (
            slots[at] for key, at in self.spec.pose_slices.items() if not key.endswith("position")
        )
        return list(itertools.chain.from_iterable(turns))

    def _normalise(self, name: str, value: Tensor) -> Tensor:
        return (value.float() - getattr(self, f"centre_{name}")) / getattr(self, f"half_{name}")

    def _restore(self, name: str, value: Tensor) -> Tensor:
        return value * getattr(self, f"half_{name}") + getattr(self, f"centre_{name}")

    def _target_pose(self, batch: Batch, read: Tensor, states: State) -> tuple[Tensor, Tensor]:
        """[B, T, P], and [B, T] whether it was told. What was not is what the model itself believes:
        the prediction of a step is then held against what was seen after it.
        """
        if not self.pose_keys:
            return read, read.new_zeros(read.shape[:2])
        truth = torch.cat(
            [self._normalise(k, batch[f"privileged/{k}"]) for k in self.pose_keys], -1
        )
        told = ~truth.isnan().any(-1, keepdim=True)
        believed = states["slot"][..., : self.pose_size] if self.slot_size else read
        return torch.where(told, truth.nan_to_num(), believed.detach()), told[..., 0].float()

    def _noise(self, rows: int) -> Tensor:
        shape = (rows, self.config.stoch, self.config.classes)
        return gumbel_like(shape, self.posterior_deter.weight.device)

    def _log_probs(self, logits: Tensor) -> Tensor:
        grouped = logits.unflatten(-1, (self.config.stoch, self.config.classes))
        return unimix_log_probs(grouped, self.config.unimix)

    def _vector(self, state: State) -> Tensor:
        """Pose and proprioception as the latent alone remembers them."""
        return self.vector_head(torch.cat([state["deter"], state["stoch"]], -1)).float()

    def _recur(self, state: State, action: Tensor, entered: Tensor) -> tuple[Tensor, Tensor]:
        """Next deter, and the slot predicted for it."""
        latent = torch.cat([state["stoch"], state["slot"]], -1)
        x = torch.cat([self.enter_deter(state["deter"]), self.enter_latent(latent), entered], -1)
        deter = self.cell(x, state["deter"])
        slot = state["slot"]
        if self.slot_size:
            slot = slot + self.slot_change(torch.cat([deter, slot, action], -1)).float()
        return deter, slot

    def _prior(self, state: State, action: Tensor, sample: bool) -> tuple[State, Tensor]:
        deter, slot = self._recur(state, action, self.enter_action(action))
        log_prior = self._log_probs(self.prior_head(deter))
        stoch = straight_through(log_prior, self._noise(len(deter)) if sample else None).flatten(-2)
        return {"deter": deter, "stoch": stoch, "slot": slot, "goal": state["goal"]}, log_prior

    def _posterior(
        self,
        state: State,
        action: Tensor,
        entered: Tensor,
        embed: Tensor,
        pose: Tensor,
        proprio: Tensor,
        goal: Tensor,
        is_first: Tensor,
        noise: Tensor | None,
    ) -> tuple[State, Tensor, Tensor]:
        """State after an observation, log-probabilities of its latents, and the slot predicted."""
        keep = (~is_first).float()[:, None]
        state = {k: v if k == "goal" else v * keep for k, v in state.items()}
        deter, predicted = self._recur(state, action, entered)
        hidden = self.posterior_norm(self.posterior_deter(deter) + embed)
        log_post = self._log_probs(self.posterior_head(hidden))
        stoch = straight_through(log_post, noise).flatten(-2)
        slot = predicted
        if self.slot_size:
            read = pose
            if self.pose_size:
                # Nothing was predicted for a first step: believe the encoder.
                gate = torch.sigmoid(self.slot_gate(hidden).float() + 2.0)
                gate = torch.where(is_first[:, None], torch.ones_like(gate), gate)
                believed = predicted[:, : self.pose_size]
                read = believed + gate * (pose - believed)
            slot = torch.cat([read, proprio], -1)
        return {"deter": deter, "stoch": stoch, "slot": slot, "goal": goal}, log_post, predicted

    def _scan(
        self,
        prev_action: Tensor,
        embed: Tensor,
        pose: Tensor,
        proprio: Tensor,
        goal: Tensor,
        is_first: Tensor,
    ) -> tuple[State, Tensor, Tensor]:
        """Posterior states, log-probabilities and predicted slots of a batch [B, T, ...].

        Everything that does not depend on the recurrence is computed for all times at once.
        """
        entered = self.enter_action(prev_action)
        embed = self.posterior_embed(embed)
        batch, length = is_first.shape
        noise = self._noise(batch * length).unflatten(0, (batch, length))
        inputs = (prev_action, entered, embed, pose, proprio, goal, is_first, noise)
        state = self.initial(batch)
        states, log_posts, slots = [], [], []
        for row in zip(*(x.unbind(1) for x in inputs), strict=True):
            state, log_post, slot = self._posterior(state, *row)
            states.append(state)
            log_posts.append(log_post)
            slots.append(slot)
        stacked = {k: torch.stack([s[k] for s in states], 1) for k in state}
        return stacked, torch.stack(log_posts, 1), torch.stack(slots, 1)

    def _scalars(self, feat: Tensor) -> Tensor:
        return self.scalar_norm(self.scalar_trunk(feat))

    def _reward(self, scalars: Tensor) -> Tensor:
        return self.two_hot.mean(self.reward_head(scalars))

    def _scalar_losses(self, feat: Tensor, batch: Batch, weight: Tensor) -> dict[str, Tensor]:
        """Reward, continuation, success and contacts of arriving where ``weight`` is not zero."""
        scalars = self._scalars(feat)
        flags = self.flag_head(scalars).float()
        bce = F.binary_cross_entropy_with_logits
        # Where nobody told a reward or success, it is NaN.
        known = {k: ~batch[k].isnan() for k in ("reward", "success")}
        reward, success = batch["reward"].nan_to_num(), batch["success"].nan_to_num()
        losses = {
            "reward": self.two_hot.loss(self.reward_head(scalars), reward) * known["reward"],
            "cont": bce(flags[..., 0], batch["cont"], reduction="none"),
            "success": bce(flags[..., 1], success, reduction="none") * known["success"],
        }
        if self.contact_size:
            target = torch.cat([batch[f"privileged/{k}"] for k in self.contact_keys], -1)
            told = ~target.isnan()
            target = target.nan_to_num().clamp(0, 1)
            errors = bce(flags[..., 2:], target, reduction="none") * told
            losses["contact"] = errors.sum(-1)
        return {k: (v * weight).mean() for k, v in losses.items()}

    def _open_loop(
        self,
        states: State,
        prev_action: Tensor,
        follows: Tensor,
        slot_target: Tensor,
        log_post: Tensor,
        batch: Batch,
    ) -> dict[str, Tensor]:
        """Losses after 1 to K steps of imagination along the recorded actions.

        Latents are the prior's mode, as in planning, so that the context is the planner's own.
        """
        c = self.config
        rows, length = follows.shape
        steps, starts = c.open_loop_steps, c.open_loop_starts
        begin = torch.randint(length - steps, (rows, starts), device=follows.device)
        row = torch.arange(rows, device=follows.device)[:, None].expand(rows, starts)
        row, begin = row.flatten(), begin.flatten()  # [B * starts]
        state = {k: v[row, begin] for k, v in states.items()}
        valid = follows.new_ones(len(row))
        scored = [k for k in ("reward", "cont", "success") if k in batch]
        scored += [f"privileged/{k}" for k in self.contact_keys if self.contact_size]
        valids, imagined, log_priors = [], [], []
        for k in range(1, steps + 1):
            valid = valid * follows[row, begin + k]  # ends where the next episode begins
            state, log_prior = self._prior(state, prev_action[row, begin + k], sample=False)
            valids.append(valid)
            imagined.append(state)
            log_priors.append(log_prior)

        # What is asked of the imagined states is asked of all at once: [B * starts, K].
        ahead = {k: torch.stack([s[k] for s in imagined], 1) for k in state}
        weight = torch.stack(valids, 1)
        rows_, at = row[:, None], begin[:, None] + torch.arange(1, steps + 1, device=begin.device)
        scales = c.scales
        scalars = self._scalar_losses(
            self.feat(ahead), {name: batch[name][rows_, at] for name in scored}, weight
        )
        total = sum(getattr(scales, name) * value for name, value in scalars.items())
        latent = categorical_kl(log_post[rows_, at].detach(), torch.stack(log_priors, 1))
        free = torch.tensor(c.free_nats, device=latent.device)
        total = total + 0.1 * scales.dynamics * (torch.maximum(latent, free) * weight).mean()
        if not self.slot_size:
            return {"open_loop": total}
        error = _huber(ahead["slot"], slot_target[rows_, at], self.slot_weight) * weight
        last = error[:, -1].detach().sum() / weight[:, -1].sum().clamp(min=1)
        return {
            "open_loop": total + scales.pose * error.mean(),
            f"slot_error/ahead_{steps}": last,
        }

    def _pose_errors(
        self,
        read: Tensor,
        states: State,
        prior: Tensor,
        truth: Tensor,
        follows: Tensor,
        told: Tensor,
    ) -> dict[str, Tensor]:
        """Median errors of the first object, cm and degrees: encoder, posterior, one-step prior."""
        if POSITION not in self.pose_keys or not (told * follows).any():
            return {}
        half = getattr(self, f"half_{POSITION}")
        part = self.spec.pose_slices
        place, yaw, axis = part[POSITION], part.get(YAW), part.get(ROTATION)
        estimates = {"read": read}
        if self.slot_size:
            estimates |= {"posterior": states["slot"].detach(), "prior": prior}
        metrics = {}
        told = told > 0
        for name, value in estimates.items():
            known = told & (follows > 0) if name == "prior" else told
            value, wanted = value[known], truth[known]
            error = 100 * ((value[..., place] - wanted[..., place]) * half).norm(dim=-1)
            metrics[f"position_error_cm/{name}"] = error.median()
            if yaw is not None:
                got, want = value[..., yaw], wanted[..., yaw]
                turn = torch.atan2(
                    got[..., 0] * want[..., 1] - got[..., 1] * want[..., 0], (got * want).sum(-1)
                )
                metrics[f"rotation_error_deg/{name}"] = torch.rad2deg(
                    turn.abs().median() / self.spec.yaw_order
                )
            if axis is not None:
                got, want = value[..., axis], wanted[..., axis]
                turn = torch.atan2(torch.linalg.cross(got, want).norm(dim=-1), (got * want).sum(-1))
                metrics[f"rotation_error_deg/{name}"] = torch.rad2deg(turn.median())
        return metrics


def _huber(value: Tensor, target: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Smooth absolute error summed over the last axis; linear beyond a fortieth of the range.

    The square would all but ignore the last centimetre, which decides success.
    """
    error = F.smooth_l1_loss(value.float(), target, beta=0.05, reduction="none")
    return (weight * error).sum(-1)
