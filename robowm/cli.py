"""The command line of every script: ``cli.run(main, "train")``.

A script is a dataclass, a ``main`` and one line::

    @dataclasses.dataclass
    class Train:                                   # the whole configuration of scripts/train.py
        task: TaskConfig = field(default_factory=TaskConfig)   # one dataclass: annotate it
        model: Any = MISSING                       # one of several (a registry): Any
        learning: TrainerConfig = field(default_factory=TrainerConfig)
        data: str = MISSING                        # must be given
        out: str = "outputs/train"

    def main(config: Train) -> int | None: ...     # imports robowm_envs (mujoco) inside, not above

    if __name__ == "__main__":
        cli.run(main, "train")

configs/train.yaml begins with ``defaults: [base_train, {task: grasp_rotate_place}, {model: rssm/small},
_self_]`` written as a list of lines; ``{task: ???}`` must be chosen. ``base_train`` is the dataclass
above, registered here. An option of a registry, such as configs/planner/mppi.yaml, begins with
``defaults: [base_mppi, _self_]``: ``base_<kind>`` is the dataclass beside the registered class, found
by its name (``MPPI`` and ``MPPIConfig``). ``+preset=debug`` reads configs/preset/debug/train.yaml
(``# @package _global_``; a group is changed with ``defaults: [{override /model: rssm/debug}]``).
``dataclasses.asdict(config)`` is the resolved configuration as plain data.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import dataclasses
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robowm import config as configuration
from robowm.errors import UserError

Main = Callable[[Any], int | None]
LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}  # what draws without a screen, better ones first
OTHER_RENDERERS = ("glfw", "glx", "enable", "disable", "on", "off", "true", "false", "1", "0")
ROS_ARGS = "--ros-args"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run(main: Main, config_name: str) -> NoReturn:
    """Compose, call ``main``, leave with its exit code; what a user did wrong is one sentence."""
    sys.exit(call(main, config_name, sys.argv[1:]))


def call(main: Main, config_name: str, arguments: Sequence[str]) -> int:
    """As :func:`run`, with the exit code returned."""
    try:
        choose_renderer()
        schema = _schema(main)
        arguments, ros_args = _without_ros_args(schema, arguments)
        flags = [a for a in arguments if a.startswith("-")]
        if wrong := [flag for flag in flags if flag not in ("--help", "-h", "--cfg", "-c")]:
            raise UserError(
                f"unknown option {wrong[0]}: --help and --cfg exist, the rest is key=value."
            )
        helping = bool({"--help", "-h"} & set(flags))
        settings = [a for a in arguments if a not in flags]
        config = configuration.compose(config_name, schema, settings, choose=helping)
        if helping:
            _help(main, config_name, config)
            return 0
        if flags:
            sys.stdout.write(OmegaConf.to_yaml(config))
            return 0
        finished = configuration.finish(config_name, config)
        if ros_args:
            finished = dataclasses.replace(finished, ros_args=ros_args)
        return main(finished) or 0
    except KeyboardInterrupt:
        _say("interrupted.")
        return INTERRUPTED
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        _say(f"error: {error}")
        return int(code)


def choose_renderer() -> None:
    """Choose how MuJoCo draws on a machine without a screen; must come before mujoco is imported.

    A choice in MUJOCO_GL that cannot load is said here, because importing mujoco would fail on it.
    """
    if not sys.platform.startswith("linux"):
        return
    # Mesa's software renderer shares small pictures among threads that then wait for each other: a
    # picture of 64 x 64 takes 0.6 ms with two of them and 0.35 ms in the caller's own.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if not chosen:
        for name, library in LIBRARIES.items():
            if loads(library):
                os.environ["MUJOCO_GL"] = name
                return
    if chosen in LIBRARIES and not loads(LIBRARIES[chosen]):
        raise UserError(
            f"MUJOCO_GL={chosen}, but lib{LIBRARIES[chosen]} is not installed: "
            "`python scripts/doctor.py` names the line that mends it."
        )
    if chosen not in ("", *LIBRARIES, *OTHER_RENDERERS):
        raise UserError(f"MUJOCO_GL={chosen} is unknown to MuJoCo: choose egl, osmesa or glfw.")


def loads(library: str) -> bool:
    """Whether the system has a library and the loader accepts it."""
    name = ctypes.util.find_library(library)
    try:
        return name is not None and ctypes.CDLL(name) is not None
    except OSError:
        return False


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _without_ros_args(schema: type, arguments: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """Arguments of ours, and those from ``--ros-args`` on to ``--`` or the end, for a script that has a
    ``ros_args``: ROS's own tools add them to every node's command line."""
    fields = {field.name for field in dataclasses.fields(schema)}
    if ROS_ARGS not in arguments or "ros_args" not in fields:
        return arguments, []
    begin = list(arguments).index(ROS_ARGS)
    end = next((i for i in range(begin, len(arguments)) if arguments[i] == "--"), len(arguments))
    return [*arguments[:begin], *arguments[end + 1 :]], list(arguments[begin:end])


def _schema(main: Main) -> type:
    """The dataclass that ``main`` takes."""
    first = next(iter(inspect.signature(main).parameters))
    return typing.get_type_hints(main)[first]


def _help(main: Main, name: str, config: DictConfig) -> None:
    console = Console(highlight=False)
    summary = (inspect.getmodule(main).__doc__ or "").strip()  # type: ignore[union-attr]
    console.print(f"[bold]{name}[/]  {escape(summary)}\n")
    console.print(f"python scripts/{name}.py key=value ... [--cfg] [--help]\n", markup=False)
    choices = Table(box=None, padding=(0, 2), title="choices", title_justify="left")
    choices.add_column(style="bold cyan")
    choices.add_column()
    for group in configuration.chosen_groups(name):
        choices.add_row(f"{group}=", ", ".join(configuration.options(group)))
    choices.add_row("+preset=", ", ".join(configuration.options(configuration.PRESET)))
    console.print(choices)
    values = Table(box=None, padding=(0, 2), title="keys", title_justify="left", show_header=False)
    values.add_column(style="cyan", no_wrap=True)
    values.add_column(overflow="fold")
    values.add_column(style="dim")
    for key, value in configuration.keys(config).items():
        shown = "(must be given)" if value == "???" else escape(str(value))
        values.add_row(key, shown, escape(_doc_of(config, key)))
    console.print(values)


def _doc_of(config: DictConfig, key: str) -> str:
    """What the dataclass that owns ``key`` says of it under "Attributes:"."""
    parent, _, name = key.rpartition(".")
    owner = OmegaConf.get_type(OmegaConf.select(config, parent) if parent else config)
    for cls in getattr(owner, "__mro__", ()):
        text = inspect.getdoc(cls) or ""
        for names, said in re.findall(r"(?m)^  ((?:\w+, )*\w+): (.*(?:\n {4,}.*)*)", text):
            if name in names.split(", "):
                return " ".join(said.split())
    return ""
