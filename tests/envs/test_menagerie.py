"""Arms of the Menagerie: our own arm under the Menagerie's names stands in for the download."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from types import ModuleType, SimpleNamespace

import mujoco
import numpy as np
import pytest

import robowm_envs
from robowm_envs.arms import panda
from robowm_envs.errors import EnvError
from robowm_envs.expert import Expert

ARM = "menagerie/franka_emika_panda"


def in_the_menagerie_style() -> mujoco.MjSpec:
    """Servos, fingers and gripper renamed, self-collision, a light, a keyframe, another integrator."""
    spec = panda.build().spec
    spec.delete(spec.site("tcp"))
    for geom in spec.geoms:
        geom.name, geom.conaffinity = "", 1
    for body in spec.bodies:
        body.gravcomp = 0
    spec.worldbody.add_light(name="top", pos=[0, 0, 2])
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICIT
    xml = spec.to_xml()
    for side, joint in (("left", "finger_joint1"), ("right", "finger_joint2")):
        xml = re.sub(rf'(<joint name|joint|joint1|joint2)="{side}_finger"', rf'\1="{joint}"', xml)
    for i in range(1, 8):
        xml = re.sub(rf'(<(?:general|position) name)="joint{i}"', rf'\1="actuator{i}"', xml)
    xml = re.sub(r'(<(?:general|position) name)="gripper"', r'\1="actuator8"', xml)
    key = '<keyframe><key name="home" qpos="0 0 0 -1.57 0 1.57 -0.78 0.04 0.04"/></keyframe>'
    spec = mujoco.MjSpec.from_string(xml.replace("</mujoco>", f"{key}</mujoco>"))
    # The Menagerie commands the opening as a number from 0 to 255.
    gripper = spec.actuator("actuator8")
    gripper.gainprm[0] *= 2 * panda.FINGER_STROKE_M / 255
    return spec


class MenagerieError(Exception):
    pass


def stand_in(monkeypatch: pytest.MonkeyPatch, spec) -> None:
    package = ModuleType("mujoco_menagerie")
    package.MenagerieError = MenagerieError
    package.get = lambda name: SimpleNamespace(spec=spec)
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", package)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(EnvError, match=r"pip install 'robowm\[menagerie\]'") as caught:
        robowm_envs.make("reach", arm=ARM)
    assert caught.value.__cause__ is None and "\n" not in str(caught.value)


@pytest.mark.parametrize("error", (MenagerieError("offline"), OSError("offline")))
def test_a_failed_download_is_one_sentence(monkeypatch, error: Exception):
    def spec(entry: str) -> mujoco.MjSpec:
        raise error

    stand_in(monkeypatch, spec)
    with pytest.raises(EnvError, match=r"offline.*MENAGERIE_ROOT"):
        robowm_envs.make("reach", arm=ARM)


def test_the_expert_lifts_with_an_arm_of_the_menageries_names(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, lambda entry: in_the_menagerie_style())
    with closing(robowm_envs.make("grasp", arm=ARM, observation="state", split="test")) as env:
        arm, model = env.physics.scene.arm, env.physics.model
        assert model.nkey == 0 and model.nlight == 1  # the scene's own
        assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        is_arm = np.array(["arm/" in model.body(i).name for i in range(model.nbody)])
        assert (model.body_gravcomp[is_arm] == 1).all()
        assert (model.geom_conaffinity[is_arm[model.geom_bodyid]] == 0).all()  # no self-collision
        assert len(arm.pads[0]) == len(arm.pads[1]) == 2
        step, expert = env.reset(seed=0), Expert(env)
        np.testing.assert_allclose(env.physics.joint_low, panda.JOINT_LOW)
        while not step.last():
            step = env.step(expert.act())
        assert env.metrics()["success"] == 1.0
    assert list(tmp_path.iterdir()) == [], "a warning of MuJoCo's was logged"
