"""Look at this machine and say what robowm can use, and the line that mends what is missing.

    python scripts/doctor.py                            everything; exit code 0 if usable, else 2
    python scripts/doctor.py --only renderer --install  install a renderer if none answers

Needs nothing but Python's own library, so that it also runs where nothing is installed yet.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

PYTHON = ((3, 11), (3, 14))  # from, and below; as in pyproject.toml
PACKAGES = (
    *("av", "cv2", "dm_control", "gymnasium", "h5py", "hydra", "matplotlib", "mujoco", "rich"),
    *("robowm", "robowm_envs", "safetensors", "torch", "wandb"),
)
EXTRAS = {
    "tracking": ("tensorboard", "curves in TensorBoard"),
    "viz": ("glfw", "MuJoCo's window"),
    "baselines": ("stable_baselines3", "other people's learners"),
    "menagerie": ("mujoco_menagerie", "other people's arms"),
}
GOOD, FAIR, BAD = "ok", "note", "missing"

SCENE = """
import time, mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 2' castshadow='false'/>"
    "<geom type='box' size='.1 .1 .1' rgba='1 0 0 1'/></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render().std() > 0, "the picture is empty"
    start = time.perf_counter()
    for _ in range(200):
        renderer.update_scene(data)
        renderer.render()
    print(200 / (time.perf_counter() - start))
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report; ``mend`` is a line to run. Only BAD makes robowm unusable."""

    what: str
    state: str
    said: str
    mend: str = ""


def python() -> list[Finding]:
    version = platform.python_version()
    low, high = PYTHON
    if low <= sys.version_info[:2] < high:
        return [Finding("Python", GOOD, f"{version}, {sys.executable}")]
    return [
        Finding(
            "Python",
            BAD,
            f"{version}; expected {low[0]}.{low[1]} to {high[0]}.{high[1] - 1}",
            "make setup PYTHON=python3.12",
        )
    ]


def packages() -> list[Finding]:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return [Finding("packages", GOOD, "all that is needed is installed")]
    mend = "make setup && . .venv/bin/activate"
    return [Finding("packages", BAD, f"not installed: {', '.join(missing)}", mend)]


def renderer() -> list[Finding]:
    """Draw with EGL, then OSMesa, each in its own process: a driver may take its process down."""
    if importlib.util.find_spec("mujoco") is None:
        return [Finding("renderer", FAIR, "not tried: mujoco is not installed")]
    found: dict[str, float] = {}
    failures: dict[str, str] = {}
    for backend in ("egl", "osmesa"):
        rate, why = _draw(backend)
        if rate:
            found[backend] = rate
        else:
            failures[backend] = why
    if found:
        best = next(iter(found))  # EGL where it works: it also reaches a GPU
        rates = ", ".join(f"{name} {rate:.0f} frames/s" for name, rate in found.items())
        chosen = os.environ.get("MUJOCO_GL", best)
        if chosen in found or chosen == "glfw":
            return [Finding("renderer", GOOD, f"{rates} (64x64)")]
        return [
            Finding(
                "renderer",
                BAD,
                f"MUJOCO_GL={chosen} does not draw ({failures.get(chosen, 'no such backend')}), "
                f"though others do: {rates}",
                f"export MUJOCO_GL={best}",
            )
        ]
    why = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
    return [Finding("renderer", BAD, f"none answers ({why})", install_line())]


def threads() -> list[Finding]:
    """Time a small recurrent scan, forward and backward: what training does most."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    counts = [n for n in (1, 2, 4, 8, 16) if n <= cores]
    before = torch.get_num_threads()
    milliseconds = {}
    for count in counts:
        torch.set_num_threads(count)
        milliseconds[count] = _scan_ms(torch)
    torch.set_num_threads(before)
    # More threads must pay clearly: other processes collect and draw meanwhile.
    best = counts[0]
    for count in counts[1:]:
        if milliseconds[count] < 0.85 * milliseconds[best]:
            best = count
    times = ", ".join(f"{n}: {ms:.0f} ms" for n, ms in milliseconds.items())
    mend = f"python scripts/train.py learning.threads={best} ..." if best != 1 else ""
    state = FAIR if mend else GOOD
    return [Finding("threads", state, f"{best} of {cores} is best (a small update, {times})", mend)]


def accelerator() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return [Finding("GPU", GOOD, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")]
    if shutil.which("nvidia-smi") and not torch.version.cuda:
        return [
            Finding(
                "GPU",
                FAIR,
                f"there is one, but torch {torch.__version__} is a build for CPUs",
                f"pip install --force-reinstall torch=={torch.__version__.partition('+')[0]}",
            )
        ]
    return [Finding("GPU", GOOD, "none: training runs on the CPU, with sizes that suit it")]


def precision() -> list[Finding]:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "robowm")):
        return []
    from robowm.learning.device import choose_device, choose_precision

    device = choose_device("auto")
    chosen = choose_precision("auto", device)
    why = "the hardware multiplies in it" if chosen == "bf16" else "no fast bfloat16 here"
    return [Finding("precision", GOOD, f"{chosen} ({why}), on {device.type}")]


def extras() -> list[Finding]:
    here = os.path.exists("pyproject.toml")  # noqa: PTH110
    found = []
    for extra, (module, use) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            mend = f"pip install -e '.[{extra}]'" if here else f"pip install 'robowm[{extra}]'"
            found.append(Finding(extra, FAIR, f"optional, not installed: {use}", mend))
        else:
            found.append(Finding(extra, GOOD, f"optional, installed: {use}"))
    return found


CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "python": python,
    "packages": packages,
    "renderer": renderer,
    "threads": threads,
    "gpu": accelerator,
    "precision": precision,
    "extras": extras,
}


def install_line() -> str:
    """What installs a software renderer on this system."""
    sudo = "" if os.name != "posix" or os.geteuid() == 0 else "sudo "
    if shutil.which("apt-get"):
        return f"{sudo}apt-get update && {sudo}apt-get install -y {' '.join(APT[0])}"
    if shutil.which("dnf"):
        return f"{sudo}dnf install -y mesa-libEGL mesa-libGL mesa-dri-drivers"
    if shutil.which("pacman"):
        return f"{sudo}pacman -S --noconfirm mesa libglvnd"
    return "install Mesa's libEGL and libGL with the system's package manager"


APT = (("libegl1", "libgl1"), ("libosmesa6", "libgl1"))  # newer systems have no OSMesa


def install_renderer() -> bool:
    """With apt, as root or by a sudo that asks nothing; True if a renderer then draws."""
    if not shutil.which("apt-get"):
        return False
    prefix: list[str] = []
    if os.geteuid() != 0:
        prefix = ["sudo", "-n"]
        if not shutil.which("sudo") or subprocess.run([*prefix, "true"], check=False).returncode:
            return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("no renderer answers; installing one:", *APT[0], flush=True)
    subprocess.run([*prefix, "apt-get", "update", "-qq"], env=environment, check=False)
    for names in APT:
        command = [*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *names]
        subprocess.run(command, env=environment, check=False)
        if renderer()[0].state == GOOD:
            return True
    return False


def _draw(backend: str) -> tuple[float, str]:
    """Frames a second, or 0 and why not."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCENE],
            env={**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0.0, "no answer in two minutes"
    if done.returncode == 0:
        return float(done.stdout.split()[-1]), ""
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(" ")]
    return 0.0, lines[-1] if lines else f"the process died with {done.returncode}"


def _scan_ms(torch: object) -> float:
    from torch import nn

    net = nn.GRU(256, 256, batch_first=True)
    encoder = nn.Conv2d(3, 16, 4, 2)
    sequence, frames = torch.randn(16, 16, 256), torch.randn(64, 3, 64, 64)  # type: ignore[attr-defined]
    times = []
    for _ in range(6):
        start = time.perf_counter()
        (net(sequence)[0].square().mean() + encoder(frames).square().mean()).backward()
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times[1:])[2]  # the first one warms up


def show(findings: Sequence[Finding]) -> None:
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ModuleNotFoundError:
        for finding in findings:
            print(f"{finding.state:8} {finding.what:10} {finding.said}")
            if finding.mend:
                print(f"{'':19} mend: {finding.mend}")
        return
    colours = {GOOD: "green", FAIR: "yellow", BAD: "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        said = escape(finding.said)
        if finding.mend:
            said += f"\n[cyan]{escape(finding.mend)}[/]"
        table.add_row(state, f"[bold]{finding.what}[/]", said)
    Console(highlight=False, soft_wrap=False).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CHECKS, action="append", help="look at this alone")
    parser.add_argument("--install", action="store_true", help="install a missing renderer (apt)")
    options = parser.parse_args(arguments)
    findings = [finding for name in options.only or CHECKS for finding in CHECKS[name]()]
    missing = {finding.what for finding in findings if finding.state == BAD}
    if options.install and "renderer" in missing and install_renderer():
        findings = [*(f for f in findings if f.what != "renderer"), *renderer()]
    show(findings)
    usable = all(finding.state != BAD for finding in findings)
    if not options.only:
        print(
            "robowm can run here." if usable else "robowm cannot run here yet: see the lines above."
        )
    return 0 if usable else 2


if __name__ == "__main__":
    sys.exit(main())
