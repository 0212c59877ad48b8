"""Who watches and commands a dispatcher: at a terminal, over a link; and what is shown of a plan."""

import io
import json

import cv2
import numpy as np
import pytest

from robowm.dispatch.arm import ArmState
from robowm.dispatch.bridge.terminal import Terminal
from robowm.dispatch.online.approvals import Approvals
from robowm.dispatch.online.status import State
from robowm.evaluation import approval_card
from tests.dispatch.live import LiveArm, dispatching, until
from tests.dispatch.test_approvals import card


class Offering:
    """As much of a dispatcher as a terminal needs to be obeyed."""

    def __init__(self):
        self.approvals, self.done = Approvals(), []

    def listen(self, listener):
        pass

    def __getattr__(self, name):
        return lambda *arguments: self.done.append(name)


def terminal(lines=""):
    dispatcher, out, ended = Offering(), io.StringIO(), []
    made = Terminal(dispatcher, io.StringIO(lines), out, lambda: ended.append(True))
    return dispatcher, made, out, ended


def test_a_plan_is_approved_by_its_own_number_alone():
    dispatcher, at, out, _ = terminal()
    dispatcher.approvals.offer(card("plan-00003"))
    assert "3 approves it" in out.getvalue() and "75%" in out.getvalue()
    assert "plan-00003 is" in at.obey("2") and "plan-00003 is" in at.obey("plan-00004")
    assert dispatcher.approvals.verdict("plan-00003") is None
    assert at.obey("y").startswith("  3 ")  # the help: a yes says not to what
    assert at.obey("3") == "plan-00003 is approved."
    dispatcher.approvals.offer(card("plan-00004"))
    assert at.obey("n") == "plan-00004 is declined."
    assert at.obey("n") == "nothing is offered"


@pytest.mark.parametrize(
    ("word", "done"),
    [("e", "estop"), ("estop", "estop"), ("r", "reset"), ("h", "hold"), ("p", "restart_planner")],
)
def test_what_an_operator_says_is_done(word, done):
    dispatcher, at, _, _ = terminal()
    at.obey(word)
    assert dispatcher.done == [done]


def test_lines_are_obeyed_until_they_end():
    dispatcher, at, out, ended = terminal("h\n\ne\n")
    at.serve()
    assert dispatcher.done == ["hold", "estop"] and ended and "stopped" in out.getvalue()


def test_a_terminal_drives_a_real_dispatcher():
    arm, approvals, out = LiveArm(), Approvals(), io.StringIO()
    with dispatching(arm=arm, approvals=approvals, mode="confirm") as dispatcher:
        at = Terminal(dispatcher, io.StringIO(), out, lambda: None)
        first = until(lambda: approvals.pending)
        assert "offering" in at.obey("s")
        at.obey(first.plan_id)
        until(lambda: arm.sent)
        at.obey("e")
        until(lambda: dispatcher.status().state is State.STOPPED)
    assert arm.state is ArmState.STOPPED
    assert "estop" in out.getvalue()


def test_a_card_is_kept_as_a_picture_and_as_data(tmp_path):
    shown = card(margins={"position": 0.5, "jerk": 0.1}, success=float("nan"))
    frames = {"front": np.full((5, 16, 16, 3), 200, np.uint8)}
    path = approval_card.write(tmp_path / "cards", shown.to_dict(), frames)
    assert sorted(p.name for p in path.parent.iterdir()) == ["plan-00001.json", "plan-00001.png"]
    data = json.loads(path.with_suffix(".json").read_text())
    assert data["plan_id"] == "plan-00001" and data["margins"]["jerk"] == 0.1
    picture = cv2.imread(str(path))
    height, width, _ = picture.shape
    assert width >= 5 * approval_card.TILE and height > approval_card.TILE
    faint = approval_card.draw(shown.to_dict(), frames) == 200
    assert faint.any() and faint.mean() < 0.7  # the last of them is beyond what is trusted


def test_a_card_without_pictures_is_a_card():
    assert approval_card.draw(card().to_dict(), {}).shape[2] == 3
