"""The states of a managed node: what each transition needs, and what is left where one does not succeed."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robowm.dispatch.bridge.lifecycle import TRANSITIONS, Lifecycle, LifecycleState
from robowm.errors import UserError


class Managed:
    """Does nothing, refuses or breaks, as it is told."""

    def __init__(self):
        self.done, self.raises = [], None

    def _do(self, name):
        self.done.append(name)
        if self.raises:
            raise self.raises

    def configure(self):
        self._do("configure")

    def cleanup(self):
        self._do("cleanup")

    def activate(self):
        self._do("activate")

    def deactivate(self):
        self._do("deactivate")

    def shutdown(self):
        self._do("shutdown")

    def failed(self):
        self.done.append("failed")


@pytest.fixture
def managed():
    return Managed()


@pytest.fixture
def told():
    return []


@pytest.fixture
def lifecycle(managed, told):
    return Lifecycle(managed, lambda state, why: told.append(state))


def test_the_way_there_and_back(lifecycle, managed, told):
    way = ["configure", "activate", "deactivate", "cleanup", "shutdown"]
    assert [lifecycle.change(transition)[0] for transition in way] == [True] * 5
    assert managed.done == way
    assert told == ["inactive", "active", "inactive", "unconfigured", "finalized"]


def test_what_is_refused_leaves_the_state_and_says_why(lifecycle, managed):
    lifecycle.change("configure")
    managed.raises = UserError("the arm is not at rest")
    assert lifecycle.change("activate") == (False, "the arm is not at rest")
    assert lifecycle.state is LifecycleState.INACTIVE and "failed" not in managed.done


def test_what_breaks_lets_go_of_everything(lifecycle, managed, told):
    lifecycle.change("configure")
    managed.raises = RuntimeError("no such device")
    done, why = lifecycle.change("activate")
    assert not done and "no such device" in why
    assert lifecycle.state is LifecycleState.UNCONFIGURED and managed.done[-1] == "failed"


def test_one_transition_at_a_time(lifecycle, managed):
    begun, go_on = threading.Event(), threading.Event()
    managed.configure = lambda: (begun.set(), go_on.wait(20))
    thread = threading.Thread(target=lifecycle.change, args=("configure",))
    thread.start()
    assert begun.wait(20)
    assert "under way" in lifecycle.change("shutdown")[1]
    go_on.set()
    thread.join(20)
    assert lifecycle.state is LifecycleState.INACTIVE


@given(st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=12))
def test_a_transition_is_done_exactly_where_it_may_begin(wanted):
    managed = Managed()
    lifecycle = Lifecycle(managed, lambda *_: None)
    for transition in wanted:
        before, (begins, ends) = lifecycle.state, TRANSITIONS[transition]
        count = len(managed.done)
        done, why = lifecycle.change(transition)
        assert done == (before in begins) == (len(managed.done) > count)
        assert lifecycle.state is (ends if done else before)
        assert done or before in why
