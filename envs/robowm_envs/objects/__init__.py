"""Things to manipulate. Each is pure data; the scene turns it into bodies."""

from robowm_envs.objects.bar import BAR, CAPPED_BAR, Box

__all__ = ["BAR", "CAPPED_BAR", "Box"]
