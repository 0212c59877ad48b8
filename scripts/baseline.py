"""Train PPO or SAC, without a model, on the true state and the dense reward, and evaluate it.

Stable-Baselines3 learns; starts, success and report.json are those of evaluate.py. OUT also gets
curve.json, success along the way, and policies/, the weights at each of its points. Stopped runs
cannot go on: only a pickle would hold all of their state.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save as format_tensors

from robowm import cli
from robowm.config import TaskConfig
from robowm.errors import UserError, unknown
from robowm.evaluation import pages
from robowm.evaluation.metrics import summarise
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.report import write_json
from robowm.evaluation.rollout import EpisodeResult, evaluate


@dataclasses.dataclass
class PPO:
    """Schulman et al. 2017 (arXiv:1707.06347), table 3, with wider layers, a shorter sight, and a
    higher rate that falls to 0.

    Names are Stable-Baselines3's, but for two.

    Attributes:
      envs: environments side by side.
      normalise: observations to mean 0 and variance 1, as met so far.
    """

    envs: int = 8
    normalise: bool = False
    learning_rate: float = 1e-3
    n_steps: int = 256
    batch_size: int = 64
    n_epochs: int = 10
    gamma: float = 0.95
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    net_arch: list[int] = field(default_factory=lambda: [256, 256])


@dataclasses.dataclass
class SAC:
    """Haarnoja et al. 2018 (arXiv:1812.05905), table 1, with a shorter sight and a higher rate.

    ``envs`` and ``normalise`` are those of :class:`PPO`.
    """

    envs: int = 1
    normalise: bool = False
    learning_rate: float = 7e-4
    buffer_size: int = 1_000_000
    learning_starts: int = 1000
    batch_size: int = 256
    tau: float = 0.005
    gamma: float = 0.95
    train_freq: int = 1
    gradient_steps: int = 1
    net_arch: list[int] = field(default_factory=lambda: [256, 256])


@dataclasses.dataclass
class Baseline:
    """The whole configuration.

    Attributes:
      algorithm: ppo or sac.
      steps: in the environments, all of them together; ppo rounds up to whole rollouts.
      seed: of the training.
      episodes: starts at the end: the numbers first_start and following, as evaluate.py's ``seed``.
      split: of these starts; training is on ``train``.
      evaluate_every: steps between the points of the curve.
      curve_episodes: starts of each point before the last, the first of those at the end.
      threads: torch's own.
      again: begin anew where a run in OUT was stopped before its end; one that ended is never touched.
      out: folder of the results.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    algorithm: str = "sac"
    steps: int = 200_000
    seed: int = 0
    ppo: PPO = field(default_factory=PPO)
    sac: SAC = field(default_factory=SAC)
    episodes: int = 100
    first_start: int = 0
    split: str = "test"
    evaluate_every: int = 10_000
    curve_episodes: int = 20
    threads: int = 1
    device: str = "cpu"
    again: bool = False
    out: str = "outputs/baseline"


def main(config: Baseline) -> None:
    check(config)
    import robowm_envs

    torch.set_num_threads(config.threads)
    make_env = functools.partial(robowm_envs.make, split=config.split, **config.task.arguments())
    make_env().close()  # says at once what is wrong with the task or the split
    out = Path(config.out)
    learner = Learner(config)
    console = Console(highlight=False)
    if (out / "curve.json").exists():  # of a run that was stopped, which check has let pass
        shutil.rmtree(out / "policies", ignore_errors=True)
    curve: list[dict[str, Any]] = []
    results: list[EpisodeResult] = []
    for last in learner.train():
        episodes = config.episodes if last else min(config.curve_episodes, config.episodes)
        with torch.random.fork_rng(devices=[]):  # episodes seed torch; exploring must not repeat
            results = evaluate(make_env, lambda env: learner, episodes, config.first_start)
        weights = out / "policies" / f"step_{learner.steps:08d}.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(weights, format_tensors(learner.tensors()))
        curve.append(point(learner, results))
        write_json(out / "curve.json", {"agent": config.algorithm, "curve": curve})
        console.print("{env_steps} steps, {minutes:.1f} minutes: {success:.0%}".format(**curve[-1]))
    learner.close()
    row = {
        "task": config.task.name,
        "agent": config.algorithm,
        "checkpoint": str(weights),
        "updates": learner.updates,
        "train_seed": config.seed,
        "env_steps": learner.steps,
        "minutes": learner.minutes,
        "observation": config.task.observation,
        "split": config.split,
        "seed": config.first_start,
        **summarise(results),
        "settings": dataclasses.asdict(config),
    }
    write_json(out / "report.json", row)
    pages.evaluation_page(row, curve=curve).write(out / "report.html")
    console.print(f"{out / 'report.html'}", soft_wrap=True)


def check(config: Baseline) -> None:
    if config.algorithm not in ALGORITHMS:
        raise unknown("algorithm", config.algorithm, ALGORITHMS)
    for name in ("steps", "evaluate_every", "episodes", "curve_episodes", "threads"):
        if getattr(config, name) < 1:
            raise UserError(f"{name} is {getattr(config, name)}, expected at least 1.")
    if config.task.observation != "state":
        raise UserError(
            f"task.observation is {config.task.observation!r}: the baselines learn from the state; "
            "leave it out."
        )
    out = Path(config.out)
    if (out / "report.json").exists():
        raise UserError(f"{config.out} holds a run that ended: give another out=DIR.")
    if (out / "curve.json").exists() and not config.again:
        raise UserError(
            f"{config.out} holds a run, which cannot go on: give again=true to begin anew, or another "
            "out=DIR."
        )
    try:
        import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise UserError(
            "baselines need stable-baselines3: pip install 'robowm[baselines]'."
        ) from error


ALGORITHMS = ("ppo", "sac")


class Learner:
    """An algorithm in its environments, and the agent that it has come to.

    Attributes:
      minutes: spent on training, evaluations left out.
    """

    def __init__(self, config: Baseline):
        import stable_baselines3
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

        from robowm_envs.gym import GymEnv

        settings = dataclasses.asdict(getattr(config, config.algorithm))
        make_env = functools.partial(GymEnv, split="train", **config.task.arguments())
        envs = DummyVecEnv([make_env] * settings.pop("envs"))
        self._envs = VecNormalize(envs, norm_obs=settings.pop("normalise"), norm_reward=False)
        if "buffer_size" in settings:
            settings["buffer_size"] = min(settings["buffer_size"], config.steps)
        algorithm = getattr(stable_baselines3, config.algorithm.upper())
        self._model = algorithm(
            "MultiInputPolicy",
            self._envs,
            policy_kwargs={"net_arch": settings.pop("net_arch")},
            seed=config.seed,
            device=config.device,
            **settings,
        )
        self._model.set_logger(Logger(None, []))  # its own makes a folder in the system's /tmp
        if config.algorithm == "ppo":
            # Its own progress is that of one call of learn, which is one part of the curve.
            rate, total = settings["learning_rate"], config.steps
            self._model.lr_schedule = lambda _: rate * max(0.0, 1 - self.steps / total)
        self._config = config
        self.minutes = 0.0

    @property
    def steps(self) -> int:
        return self._model.num_timesteps

    @property
    def updates(self) -> int:
        return self._model._n_updates

    def train(self) -> Iterator[bool]:
        """Goes on when asked; yields at each point of the curve whether it is the last."""
        while self.steps < self._config.steps:
            begin = time.perf_counter()
            few = min(self._config.evaluate_every, self._config.steps - self.steps)
            self._model.learn(few, reset_num_timesteps=False)
            self.minutes += (time.perf_counter() - begin) / 60
            yield self.steps >= self._config.steps

    def reset(self) -> None: ...

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The mode of the policy."""
        batch = {name: array[None] for name, array in observation.items()}
        actions, _ = self._model.predict(self._envs.normalize_obs(batch), deterministic=True)
        return actions[0]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The networks, and what observations are normalised by."""
        tensors = {f"policy.{k}": v.clone() for k, v in self._model.policy.state_dict().items()}
        for name, met in getattr(self._envs, "obs_rms", {}).items():
            tensors[f"mean.{name}"] = torch.from_numpy(np.array(met.mean))
            tensors[f"variance.{name}"] = torch.from_numpy(np.array(met.var))
        return tensors

    def close(self) -> None:
        self._envs.close()


def point(learner: Learner, results: Sequence[EpisodeResult]) -> dict[str, Any]:
    row = summarise(results)
    kept = ("episodes", "success", "success_low", "success_high", "return", "position_error_cm")
    return {
        "env_steps": learner.steps,
        "minutes": learner.minutes,
        **{name: row[name] for name in kept},
    }


if __name__ == "__main__":
    cli.run(main, "baseline")
