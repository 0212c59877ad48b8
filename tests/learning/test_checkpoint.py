import json
import os
import shutil

import pytest
import torch
from torch import nn

from robowm.errors import UserError
from robowm.learning import checkpoint

from .toy import SPEC, make_trainer


@pytest.fixture
def saved(tmp_path):
    """A folder with checkpoints at two steps."""
    for step in (5, 10):
        write(tmp_path, step)
    return tmp_path


def write(out, step, keep=3):
    return checkpoint.save(
        out,
        step,
        weights={"model.weight": torch.full((2, 3), float(step)), "model.bias": torch.zeros(2)},
        optimizer={"0.exp_avg": torch.ones(2)},
        state={"counter": step, "random": torch.arange(4)},
        config={"model": {"kind": "toy"}},
        spec=SPEC,
        keep=keep,
    )


@pytest.mark.parametrize(
    "where", ["", "checkpoints", "checkpoints/last", "checkpoints/step_00000010"]
)
def test_every_way_to_name_it_reads_the_same(saved, where):
    read = checkpoint.load(saved / where)
    assert read.step == 10 and read.state["counter"] == 10
    assert read.config == {"model": {"kind": "toy"}} and read.spec == SPEC
    assert read.state["random"].tolist() == [0, 1, 2, 3]
    layer = nn.Linear(3, 2)
    read.restore(layer)
    assert layer.weight.unique().tolist() == [10.0]


def test_an_older_step_can_be_named(saved):
    assert checkpoint.load(saved / "checkpoints" / "step_00000005").step == 5


def test_the_last_link_is_relative_and_survives_a_move(saved, tmp_path_factory):
    assert str((saved / "checkpoints" / "last").readlink()) == "step_00000010"
    moved = tmp_path_factory.mktemp("moved") / "run"
    shutil.move(saved, moved)
    assert checkpoint.load(moved).step == 10


def test_keeps_the_newest(saved):
    for step in (15, 20):
        write(saved, step, keep=2)
    names = sorted(path.name for path in (saved / "checkpoints").iterdir())
    assert names == ["last", "step_00000015", "step_00000020"]


def test_saving_a_step_again_replaces_it(saved):
    checkpoint.load(write(saved, 10))
    write(saved, 10)
    assert checkpoint.load(saved).step == 10
    assert not [p for p in (saved / "checkpoints").iterdir() if p.name.startswith(".")]


def test_nothing_is_pickled(saved):
    suffixes = {path.suffix for path in checkpoint.load(saved).path.iterdir()}
    assert suffixes == {".safetensors", ".json"}


def test_leftovers_of_a_kill_are_removed_and_nothing_else(saved):
    root = saved / "checkpoints"
    (root / ".step_00000015.123.new").mkdir()
    (root / ".step_00000015.123.new" / "model.safetensors").write_bytes(b"half")
    (root / ".last.123.new").symlink_to("step_00000015")
    checkpoint.remove_leftovers(saved)
    names = sorted(path.name for path in root.iterdir())
    assert names == ["last", "step_00000005", "step_00000010"]


def test_missing_is_said(tmp_path):
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "nowhere")
    assert checkpoint.find(tmp_path) is None


def test_a_link_to_nothing_is_said(saved):
    shutil.rmtree(saved / "checkpoints" / "step_00000010")
    with pytest.raises(UserError, match="step_00000010, which is missing"):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", checkpoint._TENSORS + checkpoint._JSON)
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_one_flipped_byte_is_found(saved, name, place):
    path = checkpoint.load(saved).path / name
    data = bytearray(path.read_bytes())
    data[place if isinstance(place, int) else int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"damaged.*{name}.*step_00000005"):
        checkpoint.load(saved)


def test_no_flipped_byte_of_the_manifest_gives_wrong_content(saved):
    path = checkpoint.load(saved).path / "manifest.json"
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            assert checkpoint.load(saved).step == 10
        except UserError:
            continue


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "state.json"])
def test_half_written_is_said(saved, name):
    folder = checkpoint.load(saved).path
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"damaged: it has no {name}"):
        checkpoint.load(saved)


def test_a_truncated_file_is_found(saved):
    path = checkpoint.load(saved).path / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(saved)


def test_another_format_is_said(saved):
    path = checkpoint.load(saved).path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        checkpoint.load(saved)


def test_another_architecture_is_said(saved):
    with pytest.raises(
        UserError, match=r"model\.weight has shape \(2, 3\) in it, expected \(2, 4\)"
    ):
        checkpoint.load(saved).restore(nn.Linear(4, 2))
    with pytest.raises(UserError, match=r"behaviour\.cloning\.bias has shape None"):
        checkpoint.load(saved).restore(nn.Linear(3, 2), {"cloning": nn.Linear(1, 1)})


def test_what_fits_is_lent_and_the_rest_begins_anew(saved):
    wider = nn.Linear(4, 2)
    weight = wider.weight.clone()
    assert checkpoint.load(saved).lend(wider, {}) == ["model.weight"]
    assert torch.equal(wider.weight, weight) and wider.bias.tolist() == [0, 0]
    fitting = nn.Linear(3, 2)
    assert checkpoint.load(saved).lend(fitting, {}) == []
    assert fitting.weight.unique().tolist() == [10.0]
    with pytest.raises(UserError, match=r"nothing of the checkpoint .* fits"):
        checkpoint.load(saved).lend(nn.Linear(4, 3), {})


def test_training_again_from_a_damaged_checkpoint_names_the_one_before(tmp_path):
    make_trainer(tmp_path).run()
    path = checkpoint.load(tmp_path).path / "model.safetensors"
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    with pytest.raises(UserError, match="use step_00000010 beside it"):
        make_trainer(tmp_path, updates=20).run()
