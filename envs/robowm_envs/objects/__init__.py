"""Things to manipulate. Each is pure data; the scene turns it into bodies."""

from robowm_envs.objects.bar import BAR, BASE, SMALL_BARS, Box

__all__ = ["BAR", "BASE", "SMALL_BARS", "Box"]
