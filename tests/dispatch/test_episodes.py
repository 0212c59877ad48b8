"""Episodes to learn from, and the account, of runs that were recorded."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from robowm.data.replay import align
from robowm.data.store import EpisodeWriter, open_dataset
from robowm.dispatch.record.account import account, tracking_errors
from robowm.dispatch.record.bag import Run, read_run
from robowm.dispatch.record.episodes import episodes_of
from robowm.dispatch.record.records import Event, Executed, Judged, Kind, Observed, Planned, Sent
from tests.dispatch import recorded, toy
from tests.dispatch.recorded import ARM, SPEC


def run_of(told):
    return Run(Path("run.mcap"), SPEC, {}, ARM.joints, tuple(told), {})


def test_an_episode_is_what_was_seen_and_done(tmp_path):
    told = recorded.records()
    (episode,) = episodes_of(read_run(recorded.record(tmp_path / "run", told)))
    seen = [record.observation.arrays for record in told if isinstance(record, Observed)]
    done = [record.action for record in told if isinstance(record, Executed)]
    assert len(episode) == len(done) == 20 and len(seen) == 21
    for name in SPEC.observation:
        array = np.stack([arrays[name] for arrays in seen])
        np.testing.assert_array_equal(episode.observations[name], array)
        assert episode.observations[name].dtype == SPEC.observation[name].dtype
    np.testing.assert_array_equal(episode.actions, done)
    # The action of a row leads to the observation after it.
    moved = np.diff(episode.observations["proprio"], axis=0)
    np.testing.assert_allclose(moved, toy.STEP_M * episode.actions[:, :2], atol=1e-6)
    episode.check(SPEC)
    with EpisodeWriter(tmp_path / "run.hdf5", SPEC) as writer:
        writer.add(episode)
    (stored,) = open_dataset(tmp_path / "run.hdf5").episodes
    np.testing.assert_array_equal(stored.load().actions, done)


def test_with_a_step_of_lead_it_is_still_what_was_done_then():
    (episode,) = episodes_of(run_of(recorded.records(lead_steps=1)))
    moved = np.diff(episode.observations["proprio"], axis=0)
    np.testing.assert_allclose(moved, toy.STEP_M * episode.actions[:, :2], atol=1e-6)
    np.testing.assert_array_equal(episode.actions[0], [0, 0, -1])


def test_what_nobody_knows_is_nan_and_what_succeeded_is_imitated():
    (episode,) = episodes_of(run_of(recorded.records()))
    rows = align(episode)
    assert np.isnan(episode.rewards).all() and np.isnan(episode.privileged["object_yaw"]).all()
    assert np.isnan(episode.success[:-1]).all() and (rows["outcome"] == 1).all()
    np.testing.assert_array_equal(episode.expert_actions, episode.actions)
    assert not episode.info["broken_off"] and not episode.terminal


@pytest.mark.parametrize("success", [0.0, None])
def test_what_failed_or_is_unknown_is_not_imitated(success):
    told = recorded.records(result=False)
    if success is not None:
        told.append(Event(0.0, 2.0, Kind.RESULT, json.dumps({"success": success})))
    (episode,) = episodes_of(run_of(told))
    assert np.isnan(episode.expert_actions).all()
    assert episode.info["broken_off"] == (success is None)
    expected = np.nan if success is None else 0.0
    np.testing.assert_array_equal(align(episode)["outcome"], np.full(21, expected, np.float32))


def test_standing_for_want_of_a_plan_is_not_imitated():
    """From step 8 to 11 nothing is sent; the chunk of step 7 ends within step 8."""
    told = []
    for record in recorded.records():
        late = isinstance(record, Planned | Judged | Sent) and 0.75 < record.stamp_s < 1.15
        if not late:
            told.append(record)
    (episode,) = episodes_of(run_of(told))
    known = ~np.isnan(episode.expert_actions).any(1)
    assert known[:8].all() and not known[9:12].any() and known[12:].all()
    np.testing.assert_array_equal(episode.expert_actions[known], episode.actions[known])


def test_what_a_hold_broke_off_is_not_imitated():
    told = recorded.records()
    held = next(at for at, r in enumerate(told) if isinstance(r, Executed) and r.step == 8)
    told.insert(held, Event(0.0, 0.85, Kind.HOLD, "the observation is old"))
    (episode,) = episodes_of(run_of(told))
    known = ~np.isnan(episode.expert_actions).any(1)
    assert not known[8] and known.sum() == 19


def test_a_step_that_was_not_seen_divides_an_episode():
    told = []
    for record in recorded.records():
        if isinstance(record, Observed) and record.step == 5:
            continue
        if isinstance(record, Observed) and record.step == 12:  # its picture was left out
            rest = {"proprio": record.observation.arrays["proprio"]}
            seen = dataclasses.replace(record.observation, arrays=rest)
            record = dataclasses.replace(record, observation=seen)
        told.append(record)
    episodes = episodes_of(run_of(told))
    assert [(e.info["first_step"], len(e)) for e in episodes] == [(0, 4), (6, 5), (13, 7)]
    assert [e.info["broken_off"] for e in episodes] == [True, True, False]
    for episode in episodes:
        moved = np.diff(episode.observations["proprio"], axis=0)
        np.testing.assert_allclose(moved, toy.STEP_M * episode.actions[:, :2], atol=1e-6)


def test_every_episode_of_a_run_has_its_own_result():
    told = []
    for number, success in enumerate((0.0, 1.0)):
        for record in recorded.records(result=False):
            kept = isinstance(record, Observed | Executed)
            told.append(dataclasses.replace(record, episode=number) if kept else record)
        told.append(Event(0.0, 2.0, Kind.RESULT, json.dumps({"success": success})))
    episodes = episodes_of(run_of(told))
    assert [e.success[-1] for e in episodes] == [0.0, 1.0]
    assert account(run_of(told))["results"]["0"]["success"] == 0.0


def test_an_action_that_was_never_done_is_none():
    """The world did not go on after the last one of a limited run."""
    told = recorded.records(max_steps=3)
    (episode,) = episodes_of(run_of(told))
    assert len(episode) == 2 and sum(isinstance(record, Executed) for record in told) == 3


def test_of_a_shadow_nothing_is_learned():
    """The agent was told that the arm stands still; somebody else moved it."""
    told = recorded.records()
    told[24:24] = [Event(0.0, 0.5, Kind.MODE, "shadow")]
    told[60:60] = [Event(0.0, 1.0, Kind.MODE, "auto")]
    episodes = episodes_of(run_of(told))
    assert len(episodes) == 2 and sum(map(len, episodes)) < 15
    told[0:0] = [Event(0.0, 0.0, Kind.MODE, "shadow")]
    assert len(episodes_of(run_of(told[:60]))) == 0


def test_nothing_seen_is_no_episode():
    assert episodes_of(run_of([])) == []


# ---------------------------------------------------------------------- the account


def test_the_account_of_a_run():
    told = recorded.records()
    data = account(run_of(told))
    json.dumps(data, allow_nan=False)
    assert data["steps"] == data["plans"] == data["judged"] == data["followed"] == 20
    assert data["refused"] == 0 and data["duration_s"] == pytest.approx(2.0)
    assert data["series"]["plans"]["success"] == [0.75] * 20
    assert data["plan_kept"] == [0.0] * toy.Straight.horizon
    assert data["tracking"]["slide_x"]["largest"] < 1e-6  # a servo without mass
    margins = data["series"]["decisions"]["margins"]
    assert all(len(column) == 20 for column in margins.values()) and "workspace" in margins


def test_refusals_are_counted_by_what_they_say():
    start = recorded.records(max_steps=1)[0].observation.q[0]
    told = recorded.records(workspace_high=(start + 0.06, 1.0, 1.0))
    data = account(run_of(told))
    assert data["refused"] == 5 and data["followed"] == 2
    (refusal,) = data["refusals"]
    assert refusal["by"] == "workspace" and refusal["times"] == 5
    assert refusal["reason"].startswith("the tool leaves the workspace (…, …, …)")


def test_tracking_is_held_against_what_the_arm_was_told():
    told = recorded.records()
    late = [
        dataclasses.replace(
            record,
            observation=dataclasses.replace(
                record.observation, q=record.observation.q - [0.01, 0.0, 0.0]
            ),
        )
        if isinstance(record, Observed) and record.step
        else record
        for record in told
    ]
    stamps, errors = tracking_errors(late)
    assert len(stamps) == 20  # the first was before any command
    np.testing.assert_allclose(errors[:, 0], 0.01, atol=1e-6)
    np.testing.assert_allclose(errors[:, 1], 0.0, atol=1e-6)


def test_a_changed_mind_is_measured():
    told = []
    for record in recorded.records():
        if isinstance(record, Planned):
            sequence = record.sequence.copy()
            sequence[1] -= 0.25
            record = dataclasses.replace(record, sequence=sequence)
        told.append(record)
    assert account(run_of(told))["plan_kept"][:3] == pytest.approx([0.0, 0.25, 0.0])


def test_a_run_of_which_little_is_known_has_an_account_too():
    event = Event(0.0, np.nan, Kind.ESTOP, "by hand")
    data = account(run_of([event]))
    json.dumps(data, allow_nan=False)
    assert data["log"][0] == {"time_s": None, "kind": "estop", "message": "by hand", "plan_id": ""}
    assert data["tracking"] == {} and data["latency_ms"]["planning"] is None
    told = [r for r in recorded.records(max_steps=2) if isinstance(r, Judged | Sent)]
    assert account(run_of(told))["judged"] == 2
