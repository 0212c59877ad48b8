"""Things to manipulate. Each is pure data; the scene turns it into bodies."""

from robowm_envs.objects.bar import BAR, BASE, CAPPED_BAR, SMALL_BARS, Box

__all__ = ["BAR", "BASE", "CAPPED_BAR", "SMALL_BARS", "Box"]
