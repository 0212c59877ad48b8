"""World models, by name."""

from robowm.registry import Registry

MODELS = Registry("model", {"rssm": "robowm.models.rssm:RSSM"})
