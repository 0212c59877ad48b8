"""What an environment does to the process that it lives in, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import robowm_envs
from robowm_envs import expert, gym, joints, vector

kept = robowm_envs.make("grasp", image_size=16)
kept.reset(seed=0)
kept.render("front", (24, 24))
closed = robowm_envs.make("reach", image_size=16)
closed.reset(seed=0)
closed.close()
forgotten = robowm_envs.make("slip", image_size=16)
forgotten.reset(seed=0)
del forgotten
again = robowm_envs.make("reach", image_size=16)  # after the first context has been closed
again.reset(seed=0)
again.itself = again  # in a cycle: nothing but the end of the process comes for it
late = robowm_envs.make("grasp", image_size=16)
late.reset(seed=0)
del late  # and no picture comes after it
print(sorted({"torch", "robowm"} & set(sys.modules)))
"""


def test_nothing_closed_nothing_said_nothing_written_no_learning_imported(tmp_path: Path):
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == [], "MuJoCo logs its warnings into the working directory"
