"""Agents by name: what a checkpoint learned, and what is there to compare it with.

A checkpoint keeps its configuration, so its folder is all that is needed to act again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from robowm.behaviour import BEHAVIOURS
from robowm.behaviour.baselines import NothingAgent, RandomAgent
from robowm.config import TaskConfig, config_class, typed
from robowm.data.collect import collect_episode
from robowm.errors import UserError, unknown
from robowm.learning import checkpoint, pretrained
from robowm.learning.build import build
from robowm.learning.device import choose_device, choose_precision
from robowm.models import MODELS
from robowm.nets.precision import in_bfloat16
from robowm.planning import PLANNERS
from robowm.planning.agent import BeliefAgent
from robowm.planning.protocol import Planner
from robowm.spec import TaskSpec

POLICIES = {"actor": "actor_critic", "cloning": "cloning"}  # agent -> the behaviour that it is
LEARNED = ("planner", *POLICIES)
SCRIPTED = ("expert", "replay", "random", "nothing")
NAMES = (*LEARNED, *SCRIPTED)
NO_PROPOSALS = "none"  # as ``proposals``: the planner gets no policy at all
ALL_PROPOSALS = "all"  # those of each behaviour that was trained
ELSEWHERE = 1_000_000  # seeds further on: a start that no evaluation sees


class Agent(Protocol):
    def reset(self) -> None: ...

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]: ...


@dataclasses.dataclass(frozen=True)
class Trained:
    """The modules of a checkpoint, ready to act.

    Attributes:
      path: the step folder that it was read from.
      step: updates done.
      task: what it was trained on.
      spec: what it sees and sends.
      behaviours: by kind; ``cloning`` is always among them.
      seed, minutes: of the training; None where they are not known.
      env_steps: of the data and those collected while training.
    """

    path: Path
    step: int
    task: TaskConfig
    spec: TaskSpec
    model: Any
    behaviours: Mapping[str, Any]
    seed: int | None = None
    minutes: float | None = None
    env_steps: int | None = None

    @property
    def name(self) -> str:
        """Of the run, or of the shipped checkpoint."""
        return (
            self.path.parent.parent.name if self.path.name.startswith("step_") else self.path.name
        )

    def policy(self, kind: str) -> BeliefAgent:
        """The mode of one behaviour's policy."""
        return BeliefAgent(self.model, self.spec, self._behaviour(kind).policy)

    def planner(self, config: Any, proposals: str = ALL_PROPOSALS, seed: int = 0) -> BeliefAgent:
        """A planner that searches around the policy of the behaviour ``proposals``, or around all of
        them, with the cloned one to fall back on. With ``"none"`` it searches alone, without samples,
        mode or prior of a policy. The terminal value is that of the behaviour that has one.
        ``config`` is the dataclass beside a planner.
        """
        if proposals == NO_PROPOSALS:
            kinds: list[str] = []
        elif proposals == ALL_PROPOSALS:
            kinds = sorted(self.behaviours, key=lambda kind: kind != "cloning")
        else:
            kinds = [proposals]
        proposers = [self._behaviour(kind) for kind in kinds]
        valued = next((b for b in self.behaviours.values() if hasattr(b, "critic")), None)
        planner = make_planner(config, self.model, proposers, valued, self.spec, seed)
        return BeliefAgent(self.model, self.spec, planner)

    def _behaviour(self, kind: str) -> Any:
        if kind not in BEHAVIOURS:
            raise unknown("behaviour", kind, BEHAVIOURS)
        if kind not in self.behaviours:
            raise UserError(
                f"the checkpoint {self.path} has no {kind}: it was trained with "
                f"{', '.join(self.behaviours)}; use one of these, or train with behaviour={kind}."
            )
        return self.behaviours[kind]


def make_planner(
    config: Any, model: Any, proposers: Sequence[Any], valued: Any, spec: TaskSpec, seed: int = 0
) -> Planner:
    """The planner of ``config`` over trained modules, which it may copy in a lower precision.

    Args:
      proposers: the behaviours that propose, the one to fall back on first.
      valued: the one whose critic ends a plan, or None.
    """
    precision = choose_precision(config.precision, next(model.parameters()).device)
    if precision == "bf16":
        model = in_bfloat16(model)
        proposers = [in_bfloat16(proposer) for proposer in proposers]
        valued = None if valued is None else in_bfloat16(valued)
    return PLANNERS[config.kind](
        dataclasses.replace(config, precision=precision),
        model,
        spec.action,
        policies=[proposer.policy for proposer in proposers],
        critic=None if valued is None else valued.critic,
        seed=seed,
    )


def load(path: str | Path, device: str = "auto") -> Trained:
    """Read a checkpoint: a run's folder, its ``checkpoints``, one step folder, or the name of one that
    is shipped (:mod:`robowm.learning.pretrained`).

    Raises :class:`UserError` where it is missing, damaged or of another version.
    """
    saved = find(path)
    configs = {
        name: typed(config_class(registry, saved.config[name]["kind"]), saved.config[name])
        for name, registry in (("model", MODELS), ("behaviour", BEHAVIOURS))
    }
    model, behaviours = build(configs["model"], configs["behaviour"], saved.spec)
    saved.restore(model, behaviours)
    where = choose_device(device)
    modules: tuple[nn.Module, ...] = (model, *behaviours.values())
    for module in modules:
        module.to(where).eval().requires_grad_(False)
    task = typed(TaskConfig, saved.config["task"])
    known = {}
    if state := saved.state:
        episodes, observations = state["replay"]["given"]
        known["env_steps"] = observations - episodes + state["collected_steps"]
        known["minutes"] = state["elapsed_s"] / 60
    return Trained(
        saved.path,
        saved.step,
        task,
        saved.spec,
        model,
        behaviours,
        seed=saved.config["learning"]["seed"],
        **known,
    )


def planning_agent(
    path: str | Path,
    planner: Any,
    proposals: str = ALL_PROPOSALS,
    device: str = "auto",
    threads: int = 1,
    seed: int = 0,
) -> BeliefAgent:
    """A planner from a checkpoint, for a process of its own: its arguments are plain data.

    Args:
      planner: the dataclass beside it.
      threads: torch's, in this process.
    """
    torch.set_num_threads(threads)
    return load(path, device).planner(planner, proposals, seed)


def find(path: str | Path) -> checkpoint.Checkpoint:
    """A checkpoint by its folder or, where there is no such folder, by its name."""
    name = str(path)
    if Path(path).exists() or "/" in name:
        shipped = Path(path) / "card.json"
        if shipped.is_file():
            return pretrained.read(Path(path), Path(path).name)
        return checkpoint.load(path)
    known = pretrained.names()
    if name not in known:
        raise UserError(
            f"there is no checkpoint at {name}: give a folder that train.py wrote (its `out`), or one "
            f"of {', '.join(known) or 'those in pretrained/, which is empty'}."
        )
    return pretrained.load(name)


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """Plain data that makes an agent in any process.

    Attributes:
      name: one of :data:`NAMES`.
      checkpoint: for those of :data:`LEARNED`.
      planner: dataclass beside a planner, for ``planner``.
      proposals: behaviour that proposes to it, ``"all"`` or ``"none"``.
    """

    name: str
    checkpoint: str | None = None
    planner: Any = None
    proposals: str = ALL_PROPOSALS
    device: str = "auto"


def make_agent(
    env: Any,
    config: AgentConfig,
    make_expert: Callable[[Any], Any],
    make_env: Callable[[], Any],
) -> Agent:
    """The agent of that name for ``env``.

    Args:
      make_expert: the demonstrator for an environment.
      make_env: another environment of the task, for ``replay`` to watch the demonstrator in.

    Raises:
      UserError: for an unknown name, a learned agent without a checkpoint, or one that was trained
        to see or send something else than ``env`` shows and takes.
    """
    check_name(config.name)
    if config.name == "expert":
        return make_expert(env)
    if config.name == "replay":
        return ReplayAgent(make_env, make_expert)
    spec = TaskSpec.from_env(env)
    if config.name == "random":
        return RandomAgent(spec)
    if config.name == "nothing":
        return NothingAgent(spec)
    if config.checkpoint is None:
        raise UserError(f"agent={config.name} was learned: give checkpoint=DIR, train.py's `out`.")
    trained = load(config.checkpoint, config.device)
    trained.spec.check_same(spec, f"task {spec.task}")
    if config.name == "planner":
        return trained.planner(config.planner, config.proposals)
    return trained.policy(POLICIES[config.name])


def check_name(name: str) -> None:
    if name not in NAMES:
        raise unknown("agent", name, NAMES)


class ReplayAgent:
    """The demonstration of another start, played without looking: what memory alone is worth.

    :meth:`seed` chooses the start that is demonstrated; it is never the one to be acted in.
    """

    def __init__(self, make_env: Callable[[], Any], make_expert: Callable[[Any], Any]):
        self._env = make_env()
        self._expert = make_expert(self._env)
        self.seed(0)

    def seed(self, seed: int) -> None:
        self._actions = collect_episode(self._env, self._expert, ELSEWHERE + seed).expert_actions

    def reset(self) -> None:
        self._step = 0

    def act(self, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The next action; after the last one the hand stays where it is, and as it is."""
        if self._step < len(self._actions):
            action = self._actions[self._step].copy()
        else:
            action = np.append(np.zeros(len(self._actions[-1]) - 1), self._actions[-1][-1])
        self._step += 1
        return action.astype(np.float32)
