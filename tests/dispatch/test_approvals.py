"""Approval of exactly one plan, for a limited time."""

import json

import numpy as np
import pytest

from robowm.dispatch.online.approvals import Approvals, Card, Verdict


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def card(plan_id="plan-00001", **changes):
    facts = {
        "value": 1.5,
        "success": 0.75,
        "trusted_steps": 3,
        "actions": np.zeros((4, 5), np.float32),
        "step_s": 0.1,
        "duration_s": 0.45,
        "margins": {"position": 0.5, "collision": float("inf")},
        "planning_ms": 60.0,
        "approval_s": 30.0,
        "frames": {"front": np.zeros((5, 8, 8, 3), np.uint8)},
    }
    return Card(plan_id, **{**facts, **changes})


@pytest.fixture
def clock():
    return Clock()


def test_a_plan_is_open_until_it_is_approved(clock):
    shown = []
    approvals = Approvals(clock)
    approvals.viewers.append(shown.append)
    approvals.offer(card())
    assert shown[0].plan_id == approvals.pending.plan_id == "plan-00001"
    assert approvals.verdict("plan-00001") is None
    assert approvals.approve("plan-00001") == (True, "plan-00001 is approved.")
    assert approvals.pending is None
    assert not approvals.reject("plan-00001")[0]  # too late
    assert approvals.verdict("plan-00001") is Verdict.APPROVED
    assert approvals.verdict("plan-00001") is Verdict.EXPIRED  # a verdict is given once


def test_only_the_plan_that_is_offered_can_be_approved(clock):
    approvals = Approvals(clock)
    assert "nothing is" in approvals.approve("plan-00001")[1]
    approvals.offer(card("plan-00001"))
    approvals.offer(card("plan-00002"))
    assert approvals.approve("plan-00001") == (
        False,
        "plan-00001 is not offered: plan-00002 is.",
    )
    assert approvals.verdict("plan-00002") is None
    assert approvals.verdict("plan-00001") is Verdict.EXPIRED


@pytest.mark.parametrize(("passed_s", "open_still"), [(29.9, True), (30.1, False)])
def test_approval_expires(clock, passed_s, open_still):
    approvals = Approvals(clock)
    approvals.offer(card())
    clock.now_s += passed_s
    assert (approvals.pending is not None) is open_still
    assert approvals.verdict("plan-00001") is (None if open_still else Verdict.EXPIRED)
    assert approvals.approve("plan-00001")[0] is open_still


def test_what_is_declined_or_withdrawn_is_not_done(clock):
    approvals = Approvals(clock)
    approvals.offer(card())
    assert approvals.reject("plan-00001")[0]
    assert approvals.verdict("plan-00001") is Verdict.DECLINED
    approvals.offer(card("plan-00002"))
    approvals.withdraw()
    assert approvals.pending is None and not approvals.approve("plan-00002")[0]


def test_a_card_is_plain_data_and_a_few_lines():
    data = json.loads(json.dumps(card(success=float("nan")).to_dict(), allow_nan=False))
    assert data["plan_id"] == "plan-00001" and data["success"] is None
    assert data["margins"] == {"position": 0.5, "collision": None} and data["frames"] == {}
    text = "\n".join(card().lines())
    assert "4 steps, 0.5 s" in text and "75%" in text and "position 50%" in text
    assert "not foretold" in "\n".join(card(success=float("nan")).lines())
