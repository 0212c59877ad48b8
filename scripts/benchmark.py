"""Measure how fast it is here, or how safe: suite=env, train, plan, gate, peers, scale or all, into OUT/benchmark.json and .md.

Each rate is a median of repeated calls after a warm-up, with its spread, and stands beside the machine
it holds for. What else runs on the machine shows in the load average. The suite peers measures other
libraries beside robowm; docs/performance.md says which, and how equal it is.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import MISSING
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

from robowm import agents, cli
from robowm.config import TaskConfig
from robowm.config import folder as configs_folder
from robowm.data.collect import CollectConfig, collect
from robowm.data.replay import ReplayConfig, SequenceReplay
from robowm.data.store import Dataset, open_dataset
from robowm.errors import UserError, unknown
from robowm.evaluation import benchmark, peers, scale, workloads
from robowm.evaluation.benchmark import Row, Timing, TimingConfig, duration, measure, rate
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.report import write_json
from robowm.learning import randomness
from robowm.learning.build import build
from robowm.learning.device import choose_device
from robowm.learning.trainer import Trainer, TrainerConfig
from robowm.nets.precision import in_bfloat16
from robowm.planning.agent import BeliefAgent
from robowm.spec import TaskSpec
from robowm.tracking import TrackingConfig, make_logger

TROUBLE = "gate_trouble.json"  # what went wrong, where something did
EPISODES = 2  # of each task's expert
JOB = 20_000  # chunks; one seed each
PRECISIONS = ("fp32", "bf16")


@dataclasses.dataclass
class Benchmark:
    """The whole configuration.

    Attributes:
      suite: env, train, plan, gate, peers or scale; all is every one but gate, each in OUT/SUITE.
      threads: torch's own.
      steps: env: steps in a timed call.
      vector_envs, vector_processes: env: how many at once.
      data: train: folder that collect.py wrote; None collects a few episodes.
      batch_size, length: train: as in ``learning`` of train.py.
      chunks, workers, seed: gate: how many are sent, by how many processes, and which.
      only: peers: which of update, update_12m, compiled, plan and env.
      rounds: peers and scale: how often each process is asked, in turn.
      r2dreamer, tdmpc2: peers: folders of their clones.
      compile: train and plan: torch.compile over the losses, and over an imagined step.
      out: folder of the results.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    model: Any = MISSING
    behaviour: Any = MISSING
    planner: Any = MISSING
    timing: TimingConfig = field(default_factory=TimingConfig)
    suite: str = MISSING
    device: str = "auto"
    threads: int = 1
    steps: int = 50
    vector_envs: int = 8
    vector_processes: int = 2
    data: str | None = None
    batch_size: int = 16
    length: int = 16
    chunks: int = 1_000_000
    workers: int = 2
    seed: int = 0
    only: list[str] = field(default_factory=lambda: ["update", "plan", "env"])
    rounds: int = 10
    r2dreamer: str | None = None
    tdmpc2: str | None = None
    compile: bool = False
    out: str = "outputs/benchmark"


def main(config: Benchmark) -> int:
    if config.suite not in (*SUITES, *OF_PROCESSES, "all"):
        raise unknown("suite", config.suite, (*SUITES, *OF_PROCESSES, "all"))
    for name in ("chunks", "workers", "rounds"):
        if (value := getattr(config, name)) < 1:
            raise UserError(f"{name} is {value}: give at least 1.")
    if config.suite == "all":
        each = (name for name in (*SUITES, *OF_PROCESSES) if name != "gate")
        return max(
            main(dataclasses.replace(config, suite=name, out=str(Path(config.out) / name)))
            for name in each
        )
    if config.suite in OF_PROCESSES:
        return OF_PROCESSES[config.suite](config)
    trouble = Path(config.out) / TROUBLE
    trouble.unlink(missing_ok=True)
    torch.set_num_threads(config.threads)
    randomness.seed_all(0)
    device = choose_device(config.device)
    facts = benchmark.machine(device)
    console = Console(highlight=False)
    rows = []
    with console.status("") as status:
        for row in SUITES[config.suite](config, device, status.update):
            rows.append(row)
            spread = f"{row.low:.4g} to {row.high:.4g}"
            line = f"{row.name}, {row.size}: {row.value:.4g} {row.unit} ({spread})"
            console.print(line, soft_wrap=True)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(
        out / "benchmark.json",
        {
            "suite": config.suite,
            "machine": facts,
            "peak_rss_mib": benchmark.peak_rss_mib(),
            "config": dataclasses.asdict(config),
            "rows": [dataclasses.asdict(row) for row in rows],
        },
    )
    write_bytes(out / "benchmark.md", benchmark.markdown(config.suite, facts, rows).encode())
    console.print(str(out / "benchmark.md"), soft_wrap=True)
    if trouble.is_file():
        console.print(f"[red]the gate was wrong: {trouble}[/red]", soft_wrap=True)
        return 1
    return 0


def peers_suite(config: Benchmark) -> int:
    """robowm and other libraries in turn, each in a process of its own, one thread each."""
    found = peers.chosen(workloads.workloads(configs_folder()), config.only)
    clones = peers.check_clones({"r2dreamer": config.r2dreamer, "tdmpc2": config.tdmpc2})
    torch.set_num_threads(peers.THREADS)
    facts = benchmark.machine(torch.device("cpu"))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    rows: list[peers.Measured] = []
    with console.status("") as status:
        for size in dict.fromkeys(workload.size for workload in found):
            together = [workload for workload in found if workload.size == size]
            measured = peers.measure(
                together, workloads.folder(), clones, config.rounds, out, status.update
            )
            console.print(f"[bold]{size}[/bold]", soft_wrap=True)
            for row in measured:
                colour = "red" if row.missing else "none"
                console.print(Text(peers.line(row, measured[0]), style=colour), soft_wrap=True)
            rows += measured
            facts["load_average_at_the_end"] = round(os.getloadavg()[0], 2)
            peers.write(out, facts, dataclasses.asdict(config), rows)
    console.print(str(out / "benchmark.md"), soft_wrap=True)
    return 0


def scale_suite(config: Benchmark) -> int:
    """What an update and a plan cost as each of their sizes grows."""
    torch.set_num_threads(peers.THREADS)
    facts = benchmark.machine(torch.device("cpu"))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    with console.status("") as status:
        found = scale.run(workloads.folder(), config.rounds, out, status.update)
    scale.write(out, facts, dataclasses.asdict(config), found)
    console.print(str(out / "benchmark.md"), soft_wrap=True)
    return 0


OF_PROCESSES = {"peers": peers_suite, "scale": scale_suite}

Say = Callable[[str], None]


def env_suite(config: Benchmark, device: torch.device, say: Say) -> Iterator[Row]:
    """Steps a second, the resets that fall among them included."""
    import robowm_envs
    from robowm_envs.vector import BatchedEnv, ProcessVectorEnv

    arguments = config.task.arguments()
    task = arguments.pop("task")
    rng = np.random.default_rng(0)
    for observation in ("pixels", "state"):
        options = arguments | {"observation": observation}
        size = task + (_cameras(config.task) if observation == "pixels" else ", state")
        say(f"{size}: one process")
        env = robowm_envs.make(task, **options)
        env.reset(seed=0)

        def steps(env: Any = env) -> None:
            for action in rng.uniform(-1, 1, (config.steps, env.action_spec().shape[0])):
                env.step(action)

        yield rate(
            "environment, one process", size, "steps/s", measure(steps, config.timing), config.steps
        )
        yield duration("reset", size, measure(env.reset, config.timing))
        env.close()
        for name, make, count in (
            ("environments, one batch", BatchedEnv, config.vector_envs),
            ("environments, a process each", ProcessVectorEnv, config.vector_processes),
        ):
            say(f"{size}: {name}")
            many = make(task, count, **options)
            many.reset(seed=0)

            def steps_of_all(many: Any = many, count: int = count) -> None:
                for _ in range(config.steps):
                    many.step(rng.uniform(-1, 1, (count, many.single_action_space.shape[0])))

            timing = measure(steps_of_all, config.timing)
            yield rate(f"{name} ({count})", size, "steps/s", timing, count * config.steps)
            many.close()


def train_suite(config: Benchmark, device: torch.device, say: Say) -> Iterator[Row]:
    """Updates as the trainer makes them, and what of them goes into sampling."""
    with tempfile.TemporaryDirectory() as folder:
        say("collecting")
        dataset = _dataset(config, Path(folder) / "data")
        size = f"{config.batch_size} x {config.length}"
        replay = SequenceReplay(
            dataset,
            batch_size=config.batch_size,
            length=config.length,
            seed=0,
            memory_limit_gib=ReplayConfig().memory_limit_gib,
        )
        timing = measure(replay.sample, config.timing)
        yield duration(
            "sampling a batch", size, timing, episodes=len(dataset.episodes), steps=dataset.steps
        )
        for precision in PRECISIONS:
            for with_behaviour in (False, True):
                parts = "model and behaviour" if with_behaviour else "model alone"
                say(f"{precision}, {parts}")
                model, behaviours = _modules(config, dataset.spec)
                timing = _updates(
                    config,
                    precision,
                    model,
                    behaviours if with_behaviour else {},
                    replay,
                    dataset.spec,
                    Path(folder) / f"{precision}_{with_behaviour}",
                )
                yield duration(
                    f"update in {precision}, {parts}",
                    size,
                    timing,
                    updates_per_s=1 / timing.quantile(0.5),
                    parameters_M=_parameters(model) / 1e6,
                    peak_rss_MiB=benchmark.peak_rss_mib(),
                )


def plan_suite(config: Benchmark, device: torch.device, say: Say) -> Iterator[Row]:
    """A plan, each warm-started by the one before; and the whole of an agent's action."""
    import robowm_envs

    env = robowm_envs.make(**config.task.arguments())
    spec = TaskSpec.from_env(env)
    observation = env.reset(seed=0).observation
    env.close()
    model: Any
    model, behaviours = _modules(config, spec)
    behaviour: Any = behaviours[config.behaviour.kind]
    for module in (model, *behaviours.values()):
        module.to(device).eval()
    planner_config = config.planner
    size = f"{planner_config.samples} x {planner_config.iterations} x {planner_config.horizon}"
    times = config.timing
    if times.repeats >= 10:  # for a p99 that means something, where this is more than a trial
        times = dataclasses.replace(times, repeats=max(100, times.repeats))
    for precision in PRECISIONS:
        say(f"{planner_config.kind}, {precision}")
        planner = agents.make_planner(
            dataclasses.replace(planner_config, precision=precision),
            model,
            [behaviours["cloning"]],
            behaviour if hasattr(behaviour, "critic") else None,
            spec,
        )
        agent = BeliefAgent(model, spec, planner)
        agent.act(observation)
        belief, plans = agent.belief, [agent.last_plan]

        def plan(planner: Any = planner, belief: Any = belief, plans: list[Any] = plans) -> None:
            plans[0] = planner.plan(belief, plans[0])

        parameters = _parameters(model) / 1e6
        timing = measure(plan, times)
        yield duration(
            f"{planner_config.kind} in {precision}", size, timing, parameters_M=parameters
        )
    say("one imagined step" + (", compiled" if config.compile else ""))
    rows = planner_config.samples
    imagine = _imagined_step(config, model, behaviours["cloning"], device, rows)
    name = "compiled" if config.compile else "eager"
    for part, step in imagine.items():
        yield duration(f"{part} in bf16, {name}", f"{rows} rows", measure(step, times))
    say("agent")
    agent = BeliefAgent(model, spec, planner)
    for name, function in (
        ("belief update", agent.observe),
        ("policy's action, belief update included", BeliefAgent(model, spec, behaviour.policy).act),
    ):
        call = functools.partial(function, observation)
        yield duration(name, _cameras(config.task).lstrip(", "), measure(call, config.timing))


def _imagined_step(
    config: Benchmark, model: Any, policy: Any, device: torch.device, rows: int
) -> dict[str, Callable[[], object]]:
    """What a planner does most: a step of the model, and the policy's opinion of an action."""
    model, policy = in_bfloat16(model), in_bfloat16(policy)
    state = {k: v.float() for k, v in model.initial(rows).items()}
    action = torch.zeros(rows, policy.head.switch.numel(), device=device)

    def policy_of(state: Any) -> Tensor:
        proposal: Tensor = policy.policy(model.feat(state)).log_prob(action)
        return proposal

    def prepared(function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
        if config.compile:  # weights are constants here: they are packed once
            function = torch.compile(function, dynamic=False, options={"freezing": True})

        def call() -> object:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                return function(*arguments)

        return call

    return {
        "imagined step": prepared(model.step, state, action),
        "policy": prepared(policy_of, state),
    }


def gate_suite(config: Benchmark, device: torch.device, say: Say) -> Iterator[Row]:
    """The safety gate: its time for an expert's chunks, and what becomes of very many of every class.

    Where an unsafe one passes, or one of the expert's does not, that is written down with what led to it.
    """
    from robowm.dispatch import fuzz

    say("recording experts")
    recordings = list(_recordings())
    yield from _gate_times(recordings)
    report = fuzz.Report()
    for part in _fuzzed(config, recordings):
        report.add(part)
        say(f"{report.sent:,} of {config.chunks:,} chunks, {report.total.unsafe} unsafe passed")
    if report.trouble:
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / TROUBLE, {"seed": config.seed, "trouble": report.trouble})
    for name, count in sorted(report.counts.items()):
        yield _count_row(name, count)
    yield _count_row("all classes", report.total)


def _fuzzed(config: Benchmark, recordings: list[Any]) -> Iterator[Any]:
    """A report of each job, as it is done. Each job takes one recording and a seed of its own."""
    from robowm.dispatch import fuzz
    from robowm_envs.oracle import Oracle
    from robowm_envs.twin import Twin

    jobs = math.ceil(config.chunks / JOB)
    chunks = math.ceil(config.chunks / jobs)
    context = multiprocessing.get_context("spawn")  # a forked child inherits torch's threads
    with concurrent.futures.ProcessPoolExecutor(config.workers, context) as pool:
        parts = [
            pool.submit(
                fuzz.run, [recordings[i % len(recordings)]], Twin, Oracle, chunks, (config.seed, i)
            )
            for i in range(jobs)
        ]
        for part in concurrent.futures.as_completed(parts):
            yield part.result()


def _recordings() -> Iterator[Any]:
    """A few episodes of every task's expert, through the gate."""
    import robowm_envs
    from robowm.dispatch.arms.sim import SimArm, SimArmConfig
    from robowm.dispatch.fuzz.recording import Recording, demonstrate
    from robowm_envs.expert import Expert
    from robowm_envs.joints import JointPort
    from robowm_envs.tasks import TASKS
    from robowm_envs.twin import Twin

    twin = Twin()
    for task in TASKS:
        env = robowm_envs.make(task, observation="state", split="test")
        names = env.task.actions.names
        for seed in range(EPISODES):
            arm = SimArm(SimArmConfig(), env, JointPort(env), seed)
            arm.connect()
            commander = twin.commander(names, arm.spec.position_low, arm.spec.position_high)
            switches = (False,) * (len(names) - 1) + (True,)
            episode = demonstrate(arm, Expert(env), twin, commander, switches)
            yield Recording.of(task, arm.spec, episode.ticks)
        env.close()


def _gate_times(recordings: list[Any]) -> Iterator[Row]:
    """By the number of waypoints; every other episode with twice as many as the expert sent."""
    from robowm.dispatch.arm import ArmState
    from robowm.dispatch.safety import SafetyConfig, SafetyGate
    from robowm_envs.twin import Twin

    twin = Twin()
    seconds: dict[int, list[float]] = {}
    for recording in [*recordings, *(recording.refined() for recording in recordings)]:
        gate = SafetyGate(SafetyConfig(), recording.spec, twin)
        for chunk, seen in recording.ticks:
            begin = time.perf_counter()
            accepted = gate.check(chunk, seen, ArmState.READY).accepted
            if accepted:
                seconds.setdefault(len(chunk.q), []).append(time.perf_counter() - begin)
    for waypoints, times in sorted(seconds.items()):
        yield duration("gate, an expert's chunk", f"{waypoints} waypoints", Timing(np.array(times)))


def _count_row(name: str, count: Any) -> Row:
    beside = {
        "passed": count.passed,
        "unsafe passed": count.unsafe,
        f"of {count.doubted:,} refusals needless": count.needless,
        **{f"refused for {check}": n for check, n in count.refused.most_common()},
    }
    size = f"{count.passed / max(count.sent, 1):.0%} passed"
    return Row(f"chunks, {name}", size, "sent", count.sent, count.sent, count.sent, 1, beside)


SUITES = {"env": env_suite, "train": train_suite, "plan": plan_suite, "gate": gate_suite}


def _updates(
    config: Benchmark,
    precision: str,
    model: nn.Module,
    behaviours: dict[str, nn.Module],
    replay: SequenceReplay,
    spec: TaskSpec,
    out: Path,
) -> Timing:
    """Wall time of the trainer's updates, from one to the next."""
    stamps: list[float] = []
    settings = TrainerConfig(
        updates=config.timing.warmup + config.timing.repeats + 1,
        batch_size=config.batch_size,
        length=config.length,
        precision=precision,
        compile=config.compile,
        device=config.device,
        threads=config.threads,
        log_every=10**9,
        checkpoint_every=10**9,
    )
    Trainer(
        settings,
        model,
        behaviours,
        replay,
        make_logger(TrackingConfig(), out, {}),
        out,
        spec,
        {},
        progress=lambda *_: stamps.append(time.perf_counter()),
    ).run()
    return Timing(np.diff(stamps)[config.timing.warmup :])


def _modules(config: Benchmark, spec: TaskSpec) -> tuple[nn.Module, dict[str, nn.Module]]:
    behaviour = config.behaviour
    if hasattr(behaviour, "begin"):  # the whole cost from the first update on
        behaviour = dataclasses.replace(behaviour, begin=0)
    return build(config.model, behaviour, spec)


def _dataset(config: Benchmark, folder: Path) -> Dataset:
    if config.data is not None:
        return open_dataset(config.data)
    import robowm_envs
    from robowm_envs.expert import Expert

    make_env = functools.partial(robowm_envs.make, **config.task.arguments())
    return collect(make_env, Expert, CollectConfig(episodes=8, workers=1), folder)


def _cameras(task: TaskConfig) -> str:
    side = task.image_size
    return f", {len(task.cameras)} cameras of {side} x {side}"


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    cli.run(main, "benchmark")
