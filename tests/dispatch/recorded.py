"""A run of the toy arm as its records, and the bag of it."""

from __future__ import annotations

import json

import numpy as np

from robowm.dispatch import loop
from robowm.dispatch.arms.sim import LimitsConfig, SimArm, SimArmConfig
from robowm.dispatch.record.recording import Recorder
from robowm.dispatch.record.records import Event, Kind, Planned
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.spec import TaskSpec
from tests.dispatch import toy

SPEC = TaskSpec.from_env(toy.PointArmEnv())


def make_arm(workspace_high=(1.0, 1.0, 1.0)):
    limits = LimitsConfig(workspace_low=(-1, -1, 0), workspace_high=workspace_high)
    env = toy.PointArmEnv()
    arm = SimArm(SimArmConfig(limits=limits), env, toy.PointPort(env), seed=3)
    arm.connect()
    return arm


ARM = make_arm().spec


def records(workspace_high=(1.0, 1.0, 1.0), result=True, **settings):
    """All that the synchronous loop tells, with imagined pictures in each plan, and the result."""
    told, arm = [], make_arm(workspace_high)
    agent = toy.make()[2]
    loop.run(
        arm,
        agent,
        SafetyGate(SafetyConfig(), arm.spec, toy.PointBody()),
        toy.PointCommander(),
        SPEC.action.switch,
        over=lambda: arm.timestep.last(),
        config=loop.LoopConfig(**settings),
        tell=told.append,
    )
    for at, record in enumerate(told):
        if isinstance(record, Planned):
            shape = (len(record.sequence) + 1, 16, 16, 3)
            frames = np.random.default_rng(record.step).integers(0, 256, shape, np.uint8)
            told[at] = Planned(**{**vars(record), "frames": {"front": frames}})
    if result:
        last = told[-1]
        words = json.dumps({"success": 1.0, "position_error_m": 0.01})
        told.append(Event(last.wall_s, last.stamp_s, Kind.RESULT, words))
    return told


def record(folder, told, **settings):
    """The MCAP file of a bag of these records."""
    with Recorder(folder, SPEC, ARM, {"checkpoint": "somewhere"}, **settings) as recorder:
        for one in told:
            recorder(one)
    return recorder.path


def check_same(ours, theirs):
    """The same values, to the bit, whatever the objects."""
    ours = ours.item() if isinstance(ours, np.generic) else ours
    assert type(ours) is type(theirs)
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(ours, float):
        np.testing.assert_equal(ours, theirs)  # NaN is NaN
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            check_same(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            check_same(one, other)
    elif hasattr(ours, "__dataclass_fields__"):
        check_same(vars(ours), vars(theirs))
    else:
        assert ours == theirs
