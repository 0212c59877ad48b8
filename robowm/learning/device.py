"""Where training runs, and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys

import torch

from robowm.errors import UserError, unknown

PRECISIONS = ("auto", "fp32", "bf16")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one; anything else is torch's own name of a device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): "
            "choose auto, cpu or a device that torch sees."
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``: ``auto`` takes bf16 where the hardware multiplies in it."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    if name != "auto":
        return name
    return "bf16" if _multiplies_bf16(device) else "fp32"


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, for the next update needs as much again.

    By default glibc hands large blocks back to the system at once, and each of a network's
    activations is then mapped and zeroed anew at every update, a tenth of its time on a CPU.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context in which losses are computed; parameters and gradients stay float32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        # Emulated bf16 is slower than float32.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Tiles (AMX), or AVX-512 BF16, with which a plan of 64 x 2 x 6 in eight worlds takes 1.7 times less.
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)
    return False
