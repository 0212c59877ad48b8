"""Several processes that train one model are held to what one process does."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from robowm.errors import UserError
from robowm.learning import checkpoint
from robowm.learning.parallel import Group, launch
from robowm.learning.trainer import TrainerConfig

from .toy import ToyCollector, ToyModel, make_trainer


class Noiseless(ToyModel):
    """Without its noise what is learned does not depend on who drew it."""

    def __init__(self):
        super().__init__()
        self.net[2].p = 0.0

    def loss(self, batch):
        h = self.net(torch.cat([batch["x"], batch["action"]], -1))
        loss = (self.head(h)[:, :-1] - batch["x"][:, 1:]).square().mean()
        return loss, {"prediction": loss.detach()}, {"h": h}


class Dies(Noiseless):
    """Ends the process that follows, as a kill would."""

    def loss(self, batch):
        if torch.distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch)


def train(group, out, model_class, learning):
    torch.manual_seed(0)
    model = model_class()
    return make_trainer(
        out, model=model, group=group, processes=group.size, log_every=1, **learning
    ).run()


def run(out, size, model_class=Noiseless, **learning):
    with launch(size, train, out, model_class, learning) as group:
        return train(group, out, model_class, learning)


def curve(out):
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("rate/")} for r in records]


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path):
    run(tmp_path / "one", 1)
    run(tmp_path / "two", 2)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(two) == 12
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    first, second = checkpoint.load(tmp_path / "one"), checkpoint.load(tmp_path / "two")
    for name, weight in first.weights.items():
        torch.testing.assert_close(weight, second.weights[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_with_noise_resume_to_the_bit(tmp_path):
    run(tmp_path / "whole", 2, ToyModel, decay=1.0)
    run(tmp_path / "parts", 2, ToyModel, decay=1.0, updates=5)
    run(tmp_path / "parts", 2, ToyModel, decay=1.0)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    first, second = checkpoint.load(tmp_path / "whole"), checkpoint.load(tmp_path / "parts")
    assert all(torch.equal(first.weights[k], second.weights[k]) for k in first.weights)


def test_a_process_that_dies_ends_the_run_with_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"another of the 2 processes .* ended \(exit code -9\)"):
        run(tmp_path, 2, Dies)


def test_minutes_are_settled_by_the_first(tmp_path):
    """Else one would go on alone, and wait for the other."""
    result = run(tmp_path, 2, updates=None, minutes=0.05)
    assert result.updates == result.step == checkpoint.load(tmp_path).step


def test_a_share_is_every_size_th_row():
    batch = {"x": torch.arange(6), "y": torch.arange(12).reshape(6, 2)}
    shares = [Group(rank, 3).share(batch) for rank in range(3)]
    assert [share["x"].tolist() for share in shares] == [[0, 3], [1, 4], [2, 5]]
    assert shares[1]["y"].tolist() == [[2, 3], [8, 9]]


def averaged(group, out):
    torch.manual_seed(group.rank)
    found = [torch.randn(3, 5), torch.randn(()), torch.randn(7)]
    for _ in range(3):  # memory that is used again
        group.average(found)
        found[0] += group.rank
    torch.save(found, out / f"{group.rank}.pt")


@pytest.mark.parametrize(("size", "free"), [(3, 2**40), (2, 0)])
def test_an_average_is_the_mean_in_every_process(tmp_path, monkeypatch, size, free):
    """Through memory that all see, and through sockets where there is too little of it."""
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with launch(size, averaged, tmp_path) as group:
        averaged(group, tmp_path)
        assert (next(iter(group._shared.values())) is None) == (free == 0)
        assert not list(Path(group._folder).glob("[0-9]*"))
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(size)]
    drawn = []
    for rank in range(size):
        torch.manual_seed(rank)
        drawn.append([torch.randn(3, 5), torch.randn(()), torch.randn(7)])
    mean = [torch.stack(parts).mean(0) for parts in zip(*drawn, strict=True)]
    for rank, (large, single, small) in enumerate(found):
        torch.testing.assert_close(
            large, mean[0] + (size - 1) + rank
        )  # twice the ranks' mean, and its own
        torch.testing.assert_close([single, small], mean[1:])
        assert torch.equal(small, found[0][2])


def test_alone_nothing_changes():
    value = torch.from_numpy(np.arange(3.0))
    Group().average([value])
    assert value.tolist() == [0, 1, 2]
    assert Group().of_first(7) == 7


def test_what_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"learning.processes is 3, which does not divide"):
        TrainerConfig(processes=3, batch_size=16).check()
    with pytest.raises(UserError, match="collecting while training is for a single process"):
        make_trainer(tmp_path, processes=2, group=Group(0, 2), collector=ToyCollector())
