"""Objects seen from their goals, from the hand and from each other."""

import numpy as np
import pytest
import torch

import robowm_envs
from robowm.models.relations import Relations
from robowm.spec import TaskSpec


def spec_of(task: str) -> TaskSpec:
    return TaskSpec.from_env(robowm_envs.make(task, observation="state"))


def build(task: str) -> Relations:
    torch.manual_seed(0)
    return Relations(spec_of(task), hidden=32)


def normalised(spec: TaskSpec, env, step) -> tuple[torch.Tensor, torch.Tensor]:
    """Slot and goal as the model would hold them."""

    def norm(array, value):
        centre, half = array.centre_and_half()
        return torch.from_numpy(((value - centre) / half).astype(np.float32))

    told = env.privileged()
    slot = [norm(spec.privileged[k], told[k]) for k in spec.pose_keys]
    slot.append(norm(spec.observation["proprio"], step.observation["proprio"]))
    return torch.cat(slot), norm(spec.observation["goal"], step.observation["goal"])


@pytest.mark.parametrize("task", ["grasp", "grasp_rotate_place", "stack", "reorient", "sort"])
def test_every_task_with_objects_has_relations(task):
    spec = spec_of(task)
    env = robowm_envs.make(task, observation="state", split="validation")
    slot, goal = normalised(spec, env, env.reset(seed=3))
    out = build(task)(slot.expand(2, 3, -1), goal.expand(2, 3, -1))
    assert out.shape == (2, 3, build(task).size) and out.isfinite().all()


def test_the_order_in_which_objects_are_listed_does_not_matter():
    relations = build("sort")
    generator = torch.Generator().manual_seed(1)
    slot, goal = (
        torch.randn(4, 15 + 25, generator=generator),
        torch.randn(4, 18, generator=generator),
    )
    order = [2, 0, 1]
    other = torch.cat([slot[:, :15].unflatten(1, (3, 5))[:, order].flatten(1), slot[:, 15:]], 1)
    other_goal = goal.unflatten(1, (3, 6))[:, order].flatten(1)
    torch.testing.assert_close(relations(slot, goal), relations(other, other_goal))


def test_differences_are_in_the_tokens_and_do_not_depend_on_the_place():
    """A policy that had to learn the differences failed on half of its held-out actions (`sort`)."""
    spec, relations = spec_of("grasp_rotate_place"), build("grasp_rotate_place")
    env = robowm_envs.make("grasp_rotate_place", observation="state", split="validation")
    step = env.reset(seed=5)
    slot, goal = normalised(spec, env, step)
    position = env.privileged()["object_position"]
    wanted, hand = step.observation["goal"][:3], step.observation["proprio"][14:17]
    away = np.concatenate([wanted - position, position - hand, wanted - hand]) / 0.1
    start = 5 * (5 + 5 + 25)
    found = relations.tokens(slot, goal)[0, start : start + 9] / 10
    np.testing.assert_allclose(found, away, atol=1e-4)


def test_the_sine_of_a_sum_of_turns_is_linear_in_the_tokens():
    relations = build("stack")
    slot, goal = torch.zeros(1, 10 + 25), torch.zeros(1, 2)
    block, turn = torch.tensor(0.7), torch.tensor(-1.9)
    slot[0, 8:10] = torch.stack([block.sin(), block.cos()])
    goal[0] = torch.stack([turn.sin(), turn.cos()])
    products = relations.tokens(slot, goal)[0, 0, -6 * 12 :].unflatten(0, (6, 12)) / 3
    both = products[2:4, 4:6]  # the block's turn times the goal's
    assert both[0, 1] + both[1, 0] == pytest.approx(float((block + turn).sin()), abs=1e-6)
    assert both[1, 1] - both[0, 0] == pytest.approx(float((block + turn).cos()), abs=1e-6)
