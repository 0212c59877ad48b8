"""The modules that a configuration asks for, whether it comes from configs/ or from a checkpoint."""

from __future__ import annotations

from typing import Any

from torch import nn

from robowm.behaviour import BEHAVIOURS
from robowm.behaviour.cloning import CloningConfig
from robowm.models import MODELS
from robowm.spec import TaskSpec


def build(
    model_config: Any, behaviour_config: Any, spec: TaskSpec
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The world model and its behaviours by name, as :class:`~robowm.learning.trainer.Trainer` and
    :meth:`~robowm.learning.checkpoint.Checkpoint.restore` take them.

    A cloned policy is always among the behaviours: it proposes, and it is the floor that a planner
    must beat. Each configuration is the dataclass beside its class and names it in ``kind``.
    """
    model = MODELS[model_config.kind](model_config, spec)
    configs = {config.kind: config for config in (CloningConfig(), behaviour_config)}
    behaviours = {
        kind: BEHAVIOURS[kind](config, feat_size=model.feat_size, action_spec=spec.action)
        for kind, config in configs.items()
    }
    return model, behaviours
