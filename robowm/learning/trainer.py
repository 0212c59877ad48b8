"""One training loop for every world model and behaviour.

An update, in this order: collect (online only), sample, ``model.loss`` plus each ``behaviour.loss``,
one backward pass, clip, check that all is finite, optimiser step, ``after_update``, then log,
evaluate and save where due. Everything that happens follows from the update count, the configuration
and the state in the checkpoint; the clock decides nothing but how many updates ``minutes`` allows,
once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robowm.errors import UserError
from robowm.learning import checkpoint, randomness
from robowm.learning import optimizer as optimizers
from robowm.learning.device import autocast, choose_device, choose_precision, keep_freed_memory
from robowm.learning.interrupt import StopOnSignal, only_run_in
from robowm.learning.parallel import Group
from robowm.learning.schedule import learning_rate_factor
from robowm.spec import TaskSpec
from robowm.tracking.protocol import Logger

messages = logging.getLogger(__name__)

Metrics = dict[str, float]
SETTLING = 10  # first updates, which allocate and compile, and say nothing of the speed
MEASURED = 20  # updates whose time decides how many `minutes` allows
# Configuration that may change when a run is resumed: none of it changes what is learned.
MAY_CHANGE = (
    "out",
    "data",
    "tracking",
    "replay.memory_limit_gib",
    "learning.updates",
    "learning.minutes",
    "learning.device",
    "learning.threads",
    "learning.compile",
    "learning.log_every",
    "learning.checkpoint_every",
    "learning.evaluate_every",
    "learning.keep",
)


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
    """How to learn; counts are in updates.

    Attributes:
      updates: length of the run.
      minutes: in place of ``updates``: the update is timed once it is warm, and the number that fits
        is then fixed and saved, so that schedule and resuming follow the count and not the clock.
      batch_size, length: sequences in a batch, and steps in a sequence.
      optimizer: a name in :data:`robowm.learning.optimizer.OPTIMIZERS`.
      learning_rate: after ``warmup`` updates; falls along a cosine to the fraction ``decay`` of it.
      behaviour_learning_rate: the same for behaviours: small networks that read features and have
        more to learn from each update than it gives at the model's rate.
      behaviour_echo: how often a behaviour that can (``echo``) learns from a batch again.
      grad_clip: largest norm of the gradient of the model, and of each behaviour; 0 for no limit.
      precision: ``auto``, ``fp32`` or ``bf16`` (autocast; weights stay float32).
      compile: torch.compile over the losses.
      threads: torch's own, in each process.
      processes: that share each batch. The noise that they draw depends on their number.
      keep: checkpoints kept.
      train_ratio: online only: replayed steps for each collected one.
      online_after: updates from the given data alone before the first collection.
    """

    updates: int | None = 5000
    minutes: float | None = None
    batch_size: int = 16
    length: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    behaviour_learning_rate: float = 2e-3
    behaviour_echo: int = 2
    weight_decay: float = 0.0
    warmup: int = 100
    decay: float = 0.05
    grad_clip: float = 10.0
    precision: str = "auto"
    compile: bool = False
    device: str = "auto"
    threads: int = 1
    processes: int = 1
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    evaluate_every: int = 0
    keep: int = 2
    train_ratio: float = 64.0
    online_after: int = 0

    def check(self) -> None:
        """Raise :class:`UserError` on a value that cannot be meant."""
        positive = ("batch_size", "length", "threads", "log_every", "checkpoint_every", "keep")
        for name in (
            *positive,
            "processes",
            "learning_rate",
            "behaviour_learning_rate",
            "train_ratio",
            "updates",
            "minutes",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"learning.{name} is {value}: give a number above 0.")
        if self.batch_size % self.processes:
            raise UserError(
                f"learning.processes is {self.processes}, which does not divide learning.batch_size, "
                f"{self.batch_size}: give a number that does."
            )
        if self.updates is None and self.minutes is None:
            raise UserError(
                "neither learning.updates nor learning.minutes is set: give one of them."
            )


class Replay(Protocol):
    """Sequences to learn from; its state covers what :meth:`add` put in."""

    def sample(self) -> Mapping[str, Any]: ...

    def add(self, episode: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended: ``step`` of ``updates`` done, and the signal that stopped it, if one did."""

    step: int
    updates: int | None
    signal: int | None


Evaluate = Callable[[int, Logger], Mapping[str, float]]
Collector = Callable[[], Sequence[Any]]
AugmentBatch = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
Progress = Callable[[int, int | None, Mapping[str, float]], None]


class Trainer:
    """Trains ``model`` and ``behaviours`` on ``replay`` into the folder ``out``.

    Args:
      config: how.
      model: a WorldModel that is a module.
      behaviours: modules with the Behaviour interface, by the name that metrics carry. One with
        ``after_update()`` has it called after each step; one whose loss grows later says from which
        update on in ``full_cost_from``, so that ``minutes`` is measured there.
      replay: where batches come from.
      logger: where metrics go; closed at the end.
      out: folder of the run. One that holds a checkpoint is resumed.
      spec: what the model sees and sends; saved in checkpoints.
      resolved_config: plain data that the run can be built from again; saved in checkpoints and
        compared on resuming.
      evaluate: called each ``evaluate_every`` updates and at the end with (step, logger); its
        metrics are logged. It may draw random numbers: training does not notice.
      collector: called for new episodes, which go to ``replay.add``. Its ``state_dict`` and
        ``load_state_dict`` are used where it has them.
      augment: changes each batch before it is learned from.
      progress: called after each update with (step, updates, metrics), for a progress bar.
      group: the processes that train together, ``config.processes`` of them. What follows happens in
        all of them alike; the first alone writes, heeds signals and looks at the clock.
    """

    def __init__(
        self,
        config: TrainerConfig,
        model: nn.Module,
        behaviours: Mapping[str, nn.Module],
        replay: Replay,
        logger: Logger,
        out: str | Path,
        spec: TaskSpec,
        resolved_config: Mapping[str, Any],
        evaluate: Evaluate | None = None,
        collector: Collector | None = None,
        augment: AugmentBatch | None = None,
        progress: Progress | None = None,
        group: Group | None = None,
    ):
        config.check()
        self.group = group or Group()
        if self.group.size != config.processes:
            raise ValueError(f"{self.group.size} processes train, expected {config.processes}")
        if collector and self.group.size > 1:
            raise UserError(
                "collecting while training is for a single process: give learning.processes=1."
            )
        self.config, self.replay, self.logger, self.spec = config, replay, logger, spec
        self.out = Path(out)
        self.resolved_config = dict(resolved_config)
        self._evaluate, self._collector, self._progress = evaluate, collector, progress
        self._augment = augment or dict
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        # Any: both a module and, by their protocols, a WorldModel and Behaviours.
        self.model: Any = model.to(self.device).train()
        self.behaviours: dict[str, Any] = {
            k: v.to(self.device).train() for k, v in behaviours.items()
        }
        rates = [(self.model, config.learning_rate)]
        rates += [(b, config.behaviour_learning_rate) for b in self.behaviours.values()]
        self.optimizer = optimizers.make_optimizer(config.optimizer, rates, config.weight_decay)
        self._losses_now = torch.compile(self._losses) if config.compile else self._losses

        self.step = 0
        self.updates = config.updates if config.minutes is None else None
        self._collected_steps = 0
        self._replayed_steps = 0  # since collecting began
        self._elapsed_s = 0.0
        self._means = _Means()

    def run(self) -> Result:
        """Train to the end, or until SIGTERM or SIGINT, from the last checkpoint if there is one.

        Raises :class:`UserError` where the checkpoint is damaged or does not fit, where another
        process trains into ``out``, and on a loss or gradient that is not finite.
        """
        alone = only_run_in(self.out) if self.group.is_first else contextlib.nullcontext()
        with alone, StopOnSignal() as stop:
            try:
                self._begin()
                self._loop(stop)
            finally:
                self.logger.close()
        return Result(self.step, self.updates, stop.signal)

    # The loop

    def _loop(self, stop: StopOnSignal) -> None:
        clock = _Clock(self._elapsed_s)
        pace = _Pace(self.step, self._full_cost_from(), clock)
        reported = (self.step, clock.now())
        while self.updates is None or self.step < self.updates:
            self._collect()
            metrics, frames = self._update()
            self.step += 1
            self._means.add(metrics)
            must_save = self.updates is None and self._fix_updates(pace)
            finished = self.step == self.updates

            record: Metrics = {}
            if self.step % self.config.log_every == 0 or finished:
                step, now = reported
                rate = (self.step - step) / max(clock.now() - now, 1e-9)
                reported = (self.step, clock.now())
                record |= self._means.pop() | {
                    "rate/updates_per_s": rate,
                    "rate/frames_per_s": rate * frames,
                    "rate/resident_gib": _resident_gib(),
                    "rate/elapsed_s": clock.now(),
                }
            evaluating = self._evaluate and self.group.is_first
            if evaluating and (self._due(self.config.evaluate_every) or finished):
                record |= self._evaluated()
            if record:
                self.logger.log(self.step, record)
            if self._progress:
                self._progress(self.step, self.updates, metrics)
            self._elapsed_s = clock.now()
            signal = self.group.of_first(stop.signal or 0)
            if must_save or finished or signal or self._due(self.config.checkpoint_every):
                self._save()
            if signal:
                messages.warning("stopped by signal %d at update %d, saved", signal, self.step)
                return

    def _update(self) -> tuple[Metrics, int]:
        """One optimiser step: its metrics, and how many frames it replayed."""
        if not self.group.is_first:  # other noise than the first's, and not in need of being saved
            torch.manual_seed((self.config.seed + self.step) * self.group.size + self.group.rank)
        whole = {name: torch.as_tensor(value) for name, value in self.replay.sample().items()}
        rows, length = next(iter(whole.values())).shape[:2]
        batch = {
            name: value.to(self.device, non_blocking=True)
            for name, value in self._augment(self.group.share(whole)).items()
        }
        factor = learning_rate_factor(
            self.step,
            updates=self.updates,
            warmup=self.config.warmup,
            final_fraction=self.config.decay,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision, self.device):
            total, metrics, states = self._losses_now(batch)
        total.backward()
        numbers = _stack([total, *metrics.values()])
        self.group.average(
            [*_gradients(*self._modules()), *_averaged_buffers(*self._modules()), numbers]
        )
        limit = self.config.grad_clip or math.inf
        # Apart, lest the pictures' gradient shrink a policy's.
        norms = [nn.utils.clip_grad_norm_(m.parameters(), limit) for m in self._modules()]
        loss, *means, norm = torch.cat([numbers, torch.stack(norms).norm()[None]]).tolist()
        values = {"loss": loss, "grad_norm": norm, **dict(zip(metrics, means, strict=True))}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
            raise self._nonfinite(batch, values)
        self.optimizer.step()
        states = {name: leaf.detach() for name, leaf in states.items()}
        for _ in range(self.config.behaviour_echo):
            self._echo(batch, states)
        for behaviour in self.behaviours.values():
            if hasattr(behaviour, "after_update"):
                behaviour.after_update()
        if self._collector and self.step >= self.config.online_after:
            self._replayed_steps += rows * length
        return {**values, "learning_rate": self.config.learning_rate * factor}, rows * length

    def _echo(self, batch: Mapping[str, Tensor], states: dict[str, Tensor]) -> None:
        """The same batch once more, for the behaviours alone.

        Their networks are small, and what was encoded at some cost has more to teach them than one
        step takes in (data echoing, Choi et al. 2019, arXiv:1907.05550).
        """
        echoing = [b for b in self.behaviours.values() if hasattr(b, "echo")]
        if not echoing:
            return
        self.optimizer.zero_grad(set_to_none=True)  # without a gradient the model stays as it is
        with autocast(self.precision, self.device):
            total = torch.stack([b.echo(self.model, batch, states) for b in echoing]).sum()
        total.backward()
        self.group.average(list(_gradients(*echoing)))
        for behaviour in echoing:
            nn.utils.clip_grad_norm_(behaviour.parameters(), self.config.grad_clip or math.inf)
        self.optimizer.step()

    def _losses(
        self, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        total, metrics, states = self.model.loss(batch)
        metrics = {f"model/{name}": value for name, value in metrics.items()}
        for name, behaviour in self.behaviours.items():
            loss, more = behaviour.loss(self.model, batch, states)
            total = total + loss
            metrics |= {f"{name}/{key}": value for key, value in more.items()}
        return total, metrics, states

    def _collect(self) -> None:
        """Collect until the replayed steps are at most ``train_ratio`` for each collected one."""
        if self._collector is None or self.step < self.config.online_after:
            return
        while self._replayed_steps >= self.config.train_ratio * self._collected_steps:
            episodes = self._collector()
            if not sum(map(len, episodes)):
                raise UserError("the collector returned no steps: it must return whole episodes.")
            for episode in episodes:
                self.replay.add(episode)
                self._collected_steps += len(episode)

    def _evaluated(self) -> Metrics:
        assert self._evaluate is not None
        random_state = randomness.state_dict()
        modules = list(self._modules())
        for module in modules:
            module.eval()
        try:
            with torch.no_grad():
                return dict(self._evaluate(self.step, self.logger))
        finally:
            for module in modules:
                module.train()
            randomness.load_state_dict(random_state)

    def _fix_updates(self, pace: _Pace) -> bool:
        """With ``minutes``: decide the number of updates once it can be told. True when decided."""
        assert self.config.minutes is not None
        budget_s = 60 * self.config.minutes
        seconds = pace.seconds_per_update(self.step, budget_s / 2)
        left_s = max(0.0, budget_s - pace.clock.now())
        decided = self.group.of_first(0 if seconds is None else self.step + int(left_s / seconds))
        if not decided:
            return False
        self.updates = decided
        messages.info(
            "%.3f s an update: %g minutes allow %d updates, which is fixed from here on",
            seconds or 0.0,
            self.config.minutes,
            self.updates,
        )
        return True

    def _nonfinite(self, batch: Mapping[str, Tensor], values: Metrics) -> UserError:
        folder = self.out / f"nonfinite_step_{self.step + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        on_cpu = {name: tensor.cpu().contiguous() for name, tensor in batch.items()}
        save_file(on_cpu, folder / "batch.safetensors")
        weights = checkpoint.collect_weights(self.model, self.behaviours)
        save_file(weights, folder / "weights.safetensors")
        (folder / "metrics.json").write_text(
            json.dumps({k: v if math.isfinite(v) else str(v) for k, v in values.items()}, indent=1)
        )
        parts = [name for name in values if name not in ("loss", "grad_norm")]
        bad = [name for name in (*parts, "loss", "grad_norm") if not math.isfinite(values[name])]
        return UserError(
            f"{bad[0]} is {values[bad[0]]} in update {self.step + 1}, so training stopped before "
            f"the optimiser step: its batch and weights are in {folder}; look there, or lower "
            "learning.learning_rate and train again."
        )

    # Beginning, saving, resuming

    def _begin(self) -> None:
        if self.group.is_first:
            checkpoint.remove_leftovers(self.out)
        if checkpoint.find(self.out) is None:
            randomness.seed_all(self.config.seed)
            self.logger.resume(0, {})
            messages.info("training on %s in %s", self.device, self.precision)
            return
        saved = checkpoint.load(self.out)
        self.spec.check_same(saved.spec, f"the checkpoint {saved.path}")
        self._check_config(saved)
        saved.restore(self.model, self.behaviours)
        optimizers.restore(self.optimizer, saved.optimizer)
        state = saved.state
        self.step = saved.step
        self.updates = self._resumed_updates(saved)
        if self.config.precision == "auto":  # as it began, on whatever machine it goes on
            self.precision = state["precision"]
        self._collected_steps = state["collected_steps"]
        self._replayed_steps = state["replayed_steps"]
        self._elapsed_s = state["elapsed_s"]
        self._means.load_state_dict(state["means"])
        self.replay.load_state_dict(state["replay"])
        if restore_collector := getattr(self._collector, "load_state_dict", None):
            restore_collector(state["collector"])
        self.logger.resume(saved.step, state["logger"])
        randomness.load_state_dict(state["random"])  # last: nothing above may draw from it
        messages.info("going on from %s", saved.path)

    def _save(self) -> None:
        if not self.group.is_first:
            return
        collector_state = getattr(self._collector, "state_dict", None)
        checkpoint.save(
            self.out,
            self.step,
            weights=checkpoint.collect_weights(self.model, self.behaviours),
            optimizer=optimizers.tensors_of(self.optimizer),
            state={
                "updates": self.updates,
                "minutes": self.config.minutes,
                "precision": self.precision,
                "collected_steps": self._collected_steps,
                "replayed_steps": self._replayed_steps,
                "elapsed_s": self._elapsed_s,
                "means": self._means.state_dict(),
                "random": randomness.state_dict(),
                "replay": self.replay.state_dict(),
                "collector": collector_state() if collector_state else None,
                "logger": self.logger.state_dict(),
            },
            config=self.resolved_config,
            spec=self.spec,
            keep=self.config.keep,
        )

    def _check_config(self, saved: checkpoint.Checkpoint) -> None:
        before, now = _flat(saved.config), _flat(self.resolved_config)
        for key in sorted(set(before) | set(now)):
            free = any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE)
            if not free and before.get(key) != now.get(key):
                raise UserError(
                    f"{key} is {now.get(key)!r}, but the run in {self.out} was begun with "
                    f"{before.get(key)!r}: give that value to go on with it, or another `out`."
                )

    def _resumed_updates(self, saved: checkpoint.Checkpoint) -> int | None:
        """The length decided before, unless another one is asked for now."""
        before, minutes = saved.state["updates"], self.config.minutes
        if minutes is not None:
            return before if minutes == saved.state["minutes"] else None
        updates = self.config.updates
        assert updates is not None
        if before is not None and updates < before and saved.state["minutes"] is None:
            raise UserError(
                f"learning.updates is {updates}, but the run in {self.out} was begun with {before} "
                f"and is at {saved.step}: it may grow, not shrink; give more, or another `out`."
            )
        return updates

    def _modules(self) -> Iterable[nn.Module]:
        return (self.model, *self.behaviours.values())

    def _full_cost_from(self) -> int:
        return max((getattr(b, "full_cost_from", 0) for b in self.behaviours.values()), default=0)

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0


class _Clock:
    """Seconds spent training, over all the processes that a run took."""

    def __init__(self, before_s: float):
        self._start = time.perf_counter() - before_s

    def now(self) -> float:
        return time.perf_counter() - self._start


class _Pace:
    """Times updates once they cost what they will cost."""

    def __init__(self, first: int, full_cost_from: int, clock: _Clock):
        self.clock = clock
        self._warm = max(first + SETTLING, full_cost_from)
        self._mark = (first, clock.now())

    def seconds_per_update(self, step: int, hurry_s: float) -> float | None:
        """None until enough was seen, or until ``hurry_s`` of training have passed."""
        now = self.clock.now()
        if step == self._warm:
            self._mark = (step, now)
        first, start = self._mark
        if step >= self._warm + MEASURED or (now > hurry_s and step > first):
            return (now - start) / (step - first)
        return None


class _Means:
    """Mean of each metric since it was last taken; some appear only in later updates."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, metrics: Metrics) -> None:
        for name, value in metrics.items():
            total = self._sums.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def pop(self) -> Metrics:
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, list[float]]:
        return self._sums

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        self._sums = state


def _stack(values: Iterable[Tensor | float]) -> Tensor:
    """Scalars in one tensor, where the first of them is."""
    scalars = [torch.as_tensor(value).detach().float().reshape(()) for value in values]
    return torch.stack([scalar.to(scalars[0].device) for scalar in scalars])


def _gradients(*modules: nn.Module) -> Iterator[Tensor]:
    return (p.grad for module in modules for p in module.parameters() if p.grad is not None)


def _averaged_buffers(*modules: nn.Module) -> Iterator[Tensor]:
    """Running statistics, which each process moves by what it saw."""
    return (b for module in modules for b in module.buffers() if b.is_floating_point())


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _resident_gib() -> float:
    """Memory that the process holds now; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
