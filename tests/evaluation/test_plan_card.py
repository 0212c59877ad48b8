"""Plans in hindsight and the card that shows them, on a model whose error is known."""

import math

import cv2
import numpy as np
import pytest

from robowm.errors import UserError
from robowm.evaluation import hindsight, plan_card
from robowm.evaluation.plan_card import Card, CardConfig
from robowm.tracking.video import encode_mp4
from tests.dispatch import toy

DRIFT_M = 0.003


@pytest.fixture(scope="module")
def lived():
    """An episode of 20 steps in which the planner's model drifts, and its trace."""
    env, model, agent, spec = toy.make(DRIFT_M)
    step = env.reset(seed=3)
    recorder = hindsight.Recorder(env, "front", 32)
    recorder.look(step.observation)
    agent.reset()
    while not step.last():
        action = agent.act(step.observation)
        step = env.step(action)
        recorder.decided(agent.belief, agent.last_plan, action)
        recorder.look(step.observation)
    return recorder.trace, model, spec


def test_the_error_of_every_plan_is_the_models_drift(lived):
    trace, model, spec = lived
    comparison = hindsight.compare(trace, model, spec, ahead=8)
    for part, steps in ((comparison.planned, 5), (comparison.replayed, 8)):
        errors = part["position_cm"]
        assert errors.shape == (20, steps)
        expected = 100 * DRIFT_M * np.arange(1, steps + 1)
        np.testing.assert_allclose(errors[:12], np.tile(expected, (12, 1)), atol=1e-3)
        np.testing.assert_array_equal(np.isfinite(errors[-3]), np.arange(steps) < 3)
        np.testing.assert_allclose(part["rotation_deg"][:12], 0, atol=1e-3)
    assert comparison.mean()["planned"]["position_cm"][4] == pytest.approx(1.5, abs=1e-2)
    assert [len(comparison.at(18)[part]["position_cm"]) for part in ("planned", "replayed")] == [
        2,
        2,
    ]


def test_a_changed_mind_shows_in_the_plan_and_not_in_the_replay(lived):
    trace, model, spec = lived
    actions = [np.array([-1, 0.5, 1], np.float32)] * len(trace)
    other = hindsight.Trace(
        trace.beliefs, trace.plans, actions, trace.seen, trace.film, trace.truth
    )
    replayed = hindsight.compare(other, model, spec, 5).replayed["position_cm"][0]
    planned = hindsight.compare(other, model, spec, 5).planned["position_cm"][0]
    np.testing.assert_allclose(planned, 0.3 * np.arange(1, 6), atol=1e-3)  # against what happened
    np.testing.assert_allclose(
        replayed, (4 - 0.3) * np.arange(1, 6), atol=1e-2
    )  # against other actions


def test_moments_are_where_something_happens(lived):
    trace, _, spec = lived
    truth = [{k: v.copy() for k, v in row.items()} for row in trace.truth]
    for t, row in enumerate(truth):
        row["object_position"] = np.array([0.1 * (t >= 11), 0, 0], np.float32)
        row["object_yaw"] = np.array([0, 1], np.float32)
    still = hindsight.Trace(
        trace.beliefs, trace.plans, trace.actions, trace.seen, trace.film, truth
    )
    chosen = hindsight.choose_moments(still, spec, 2, 5)
    assert chosen[0] == 0 and chosen[1] <= 11 <= chosen[1] + 5
    assert hindsight.choose_moments(still, spec, 1, 5) == [0]
    many = hindsight.choose_moments(trace, spec, 4, 5)
    assert many == sorted(set(many)) and len(many) > 2 and many[-1] <= 15


def test_the_film_imagines_from_before_and_never_from_what_it_shows(lived):
    trace, model, _ = lived
    frames = plan_card.film(trace, model, CardConfig(film_size=32))
    assert frames.shape[0] == 21 and frames.dtype == np.uint8
    imagined = plan_card.planned_images(trace, model, 5, "front")
    shown = cv2.resize(imagined[3], (32, 32), interpolation=cv2.INTER_NEAREST)
    panel = frames[8][23:55, 38 + 4 + 3 : 38 + 4 + 3 + 32]  # label and frame; gap
    np.testing.assert_array_equal(panel, shown)


def test_the_overlay_is_grey_where_both_agree():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    same = plan_card.overlay(picture, picture)
    assert (np.ptp(same.astype(int), axis=-1) <= 1).all()
    dark = np.zeros_like(picture)
    red, _, blue = plan_card.overlay(np.full_like(picture, 255), dark)[0, 0]
    assert red > blue  # only imagined dark: orange


def make_card(lived, images=True, poses=True):
    trace, model, spec = lived
    nothing = np.zeros((0, 1, 1, 3), np.uint8)
    comparison = hindsight.compare(trace, model, spec, 8) if poses else hindsight.Comparison({}, {})
    row = {
        "value": 1.0, "success": 0.5 if poses else None, "trusted_steps": 3, "horizon": 5,
        "planning_time_ms": 80.0, "reasons": [],
    }  # fmt: skip
    rows = [{**row, "stamp_s": 0.1 * t} for t in range(20)]
    rows[4]["reasons"] = ["velocity exceeds the limit of elbow"]
    return Card(
        title="point, seed 0",
        subtitle="<planner>",
        facts={"the task": "succeeded"},
        rows=rows,
        control_dt_s=0.1,
        comparison=comparison,
        moments=[
            (
                t,
                plan_card.planned_images(trace, model, t, "front") if images else nothing,
                np.stack(trace.seen[t : t + 6]) if images else nothing,
            )
            for t in (0, 17)
        ],
    )


@pytest.mark.parametrize(("images", "poses"), [(True, True), (False, True), (True, False)])
def test_the_card_is_a_picture_and_a_page_that_need_nothing_else(lived, tmp_path, images, poses):
    card = make_card(lived, images, poses)
    picture = cv2.imdecode(np.frombuffer(card.png(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] > 600 and picture.shape[1] > 1200 and picture.std() > 5
    card.page(encode_mp4(np.zeros((3, 16, 16, 3), np.uint8), 10)).write(tmp_path / "card.html")
    page = (tmp_path / "card.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert "&lt;planner&gt;" in page and "velocity exceeds the limit of elbow" in page
    assert page.count("data:image/png") == (2 if images else 0)
    assert ("object position error" in page) == poses


def test_a_card_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"card\.moments is 0"):
        CardConfig(moments=0)


def test_rows_come_from_the_dispatch_log():
    plan = {"value": 1.0, "success": None, "trusted_steps": 2, "planning_time_ms": 3.0}
    tick = {"stamp_s": 0.1, "plan": plan, "decision": {"reasons": ["why"]}}
    row = plan_card.row(tick, 6)
    assert row["horizon"] == 6 and row["reasons"] == ["why"] and math.isclose(row["value"], 1.0)
