"""A small task and random batches of it, for every world model alike."""

import numpy as np
import pytest
import torch

from robowm.spec import ActionSpec, ArraySpec, TaskSpec


def vector(size: int, bound: float = 1.0) -> ArraySpec:
    return ArraySpec((size,), "float32", (-bound,) * size, (bound,) * size)


def task_spec(mode: str) -> TaskSpec:
    observation = {"proprio": vector(4), "goal": vector(5)}
    if mode == "pixels":
        image = ArraySpec((16, 16, 3), "uint8", (0.0,), (255.0,))
        observation = {"image_front": image, "image_wrist": image, **observation}
    else:
        observation = {"object": vector(6), **observation}
    return TaskSpec(
        task="toy",
        observation=observation,
        action=ActionSpec(("dx_m", "dy_m", "gripper"), (0.05, 0.05, 1.0), (False, False, True)),
        privileged={
            "object_position": vector(3, 0.3),
            "object_yaw": vector(2),
            "contact": vector(2),
            "slip": vector(1),
        },
        yaw_order=2,
        control_dt_s=0.1,
        time_limit_steps=20,
    )


def random_batch(spec: TaskSpec, rows: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return torch.from_numpy(rng.uniform(-1, 1, (rows, length, *shape)).astype(np.float32))

    batch = {
        k: torch.from_numpy(rng.integers(0, 256, (rows, length, *s.shape), dtype=np.uint8))
        if s.is_image
        else normal(*s.shape)
        for k, s in spec.observation.items()
    }
    batch |= {f"privileged/{k}": normal(*s.shape) for k, s in spec.privileged.items()}
    batch["prev_action"] = normal(spec.action.size)
    batch["action"] = normal(spec.action.size)
    batch["expert_action"] = normal(spec.action.size)
    ones = torch.ones(rows, length)
    batch |= {"has_action": ones, "cont": ones, "reward": normal().abs(), "return": normal().abs()}
    batch |= {"success": torch.zeros(rows, length), "outcome": ones}
    batch["is_first"] = torch.zeros(rows, length, dtype=torch.bool)
    batch["is_first"][:, 0] = True
    return batch


@pytest.fixture(params=["pixels", "state"])
def spec(request):
    return task_spec(request.param)
