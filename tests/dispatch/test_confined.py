"""An arm that is made and touched on one thread alone."""

import threading

from robowm.dispatch.arm import ArmState
from robowm.dispatch.arms.confined import ConfinedArm
from tests.dispatch.live import LiveArm
from tests.dispatch.test_arms import towards


class Jealous(LiveArm):
    """Notes the threads that it is touched on."""

    def __init__(self):
        self.threads = {threading.get_ident()}
        super().__init__()

    def observe(self):
        self.threads.add(threading.get_ident())
        return super().observe()

    def send(self, chunk):
        self.threads.add(threading.get_ident())
        return super().send(chunk)


def test_all_of_it_happens_on_one_thread_which_is_not_ours():
    arm = ConfinedArm(Jealous)
    try:
        arm.connect()
        assert arm.send(towards(arm, (0.01, 0.0, 0.0))).accepted
        arm.wait(arm.observe().stamp_s + 0.05)
        arm.hold()
        arm.estop()
        assert arm.state is ArmState.STOPPED
        arm.reset()
        assert arm.state is ArmState.HOLDING
        assert len(arm.arm.threads) == 1 and threading.get_ident() not in arm.arm.threads
        arm.close()
    finally:
        arm.end()
