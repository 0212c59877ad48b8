import fcntl
import json
import math
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from robowm.errors import UserError
from robowm.learning import checkpoint, trainer
from robowm.learning.device import autocast, choose_device, choose_precision
from robowm.learning.optimizer import OPTIMIZERS

from .toy import ToyBehaviour, ToyCollector, ToyModel, ToyReplay, make_trainer


def read_metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_learns_and_logs_every_loss_and_rate(tmp_path):
    result = make_trainer(tmp_path, updates=300, log_every=50, checkpoint_every=300).run()
    assert (result.step, result.updates, result.signal) == (300, 300, None)
    records = read_metrics(tmp_path)
    assert [record["step"] for record in records] == [50, 100, 150, 200, 250, 300]
    assert set(records[0]) == {
        "step",
        "loss",
        "grad_norm",
        "learning_rate",
        "model/prediction",
        "cloning/loss",
        "rate/updates_per_s",
        "rate/frames_per_s",
        "rate/resident_gib",
        "rate/elapsed_s",
    }
    last = records[-1]
    assert last["loss"] < 0.8 * records[0]["loss"]
    assert last["loss"] == pytest.approx(last["model/prediction"] + last["cloning/loss"])
    assert last["rate/frames_per_s"] == pytest.approx(24 * last["rate/updates_per_s"])
    assert 0.01 < last["rate/resident_gib"] < 100


def test_a_logged_value_is_the_mean_since_the_one_before(tmp_path):
    make_trainer(tmp_path / "each", log_every=1).run()
    make_trainer(tmp_path / "third", log_every=3).run()
    each = [record["loss"] for record in read_metrics(tmp_path / "each")]
    third = [record["loss"] for record in read_metrics(tmp_path / "third")]
    assert third == pytest.approx([sum(each[i : i + 3]) / 3 for i in range(0, 12, 3)])


def test_one_update_is_the_gradient_of_all_losses_clipped(tmp_path):
    """By hand: plain SGD on the summed loss, the gradient of model and behaviour each scaled to norm
    0.01, each at its own rate."""
    torch.manual_seed(0)
    model, behaviour = ToyModel().eval(), ToyBehaviour()
    batch = {k: torch.as_tensor(v) for k, v in ToyReplay().sample().items()}
    run = make_trainer(
        tmp_path,
        updates=1,
        optimizer="sgd",
        learning_rate=0.5,
        behaviour_learning_rate=0.25,
        warmup=0,
        grad_clip=0.01,
    )
    run.model.load_state_dict(model.state_dict())
    run.behaviours["cloning"].load_state_dict(behaviour.state_dict())
    run.model.net[2].p = 0.0
    torch.manual_seed(0)
    loss, _, states = model.loss(batch)
    (loss + behaviour.loss(model, batch, states)[0]).backward()
    expected = []
    for module, rate in ((model, 0.5), (behaviour, 0.25)):
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in module.parameters()))
        assert norm > 0.01
        expected += [p.detach() - rate * p.grad * 0.01 / norm for p in module.parameters()]
    run.run()
    actual = [*run.model.parameters(), *run.behaviours["cloning"].parameters()]
    for got, want in zip(actual, expected, strict=True):
        torch.testing.assert_close(got.detach(), want, atol=1e-6, rtol=1e-4)
    assert run.behaviours["cloning"].updates.item() == 1


def test_an_echo_teaches_behaviours_and_leaves_the_model_alone(tmp_path):
    run = make_trainer(tmp_path, updates=1, behaviour_echo=3)
    behaviour, seen = run.behaviours["cloning"], []
    weight = next(run.model.parameters())

    def echo(model, batch, states):
        seen.append((weight.detach().clone(), next(behaviour.parameters()).detach().clone()))
        assert not any(leaf.requires_grad for leaf in states.values())
        return behaviour.loss(model, batch, states)[0]

    behaviour.echo = echo
    run.run()
    assert len(seen) == 3
    assert all(torch.equal(model, seen[0][0]) for model, _ in seen)
    assert torch.equal(weight.detach(), seen[0][0])
    assert not torch.equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_and_resumes_exactly(tmp_path, name):
    make_trainer(tmp_path / "whole", optimizer=name, learning_rate=1e-3, updates=8).run()
    part = make_trainer(tmp_path / "parts", optimizer=name, learning_rate=1e-3, updates=8)
    stop_after(part, 4)
    assert part.run().step == 4
    make_trainer(tmp_path / "parts", optimizer=name, learning_rate=1e-3, updates=8).run()
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


def stop_after(run, step):
    """Sends this process SIGTERM in the middle of update ``step``."""
    update = run._update

    def counted():
        if run.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return update()

    run._update = counted


def assert_same_training(a, b):
    """Weights, moments and curve of two finished runs are the same to the bit."""
    first, second = checkpoint.load(a), checkpoint.load(b)
    assert first.step == second.step
    for name in ("weights", "optimizer"):
        mine, theirs = getattr(first, name), getattr(second, name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert curve(a) == curve(b)


def curve(out):
    return [
        {key: value for key, value in record.items() if not key.startswith("rate/")}
        for record in read_metrics(out)
    ]


def test_a_signal_saves_then_leaves_and_the_same_call_goes_on(tmp_path):
    make_trainer(tmp_path / "whole").run()
    stopped = make_trainer(tmp_path / "parts")
    stop_after(stopped, 7)
    result = stopped.run()
    assert (result.step, result.signal) == (7, 15)
    assert checkpoint.load(tmp_path / "parts").step == 7
    make_trainer(tmp_path / "parts").run()
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


def test_an_exception_loses_only_what_came_after_the_checkpoint(tmp_path):
    make_trainer(tmp_path / "whole").run()
    broken = make_trainer(tmp_path / "parts")
    update = broken._update

    def fail():
        if broken.step == 9:
            raise RuntimeError("power")
        return update()

    broken._update = fail
    with pytest.raises(RuntimeError, match="power"):
        broken.run()
    assert checkpoint.load(tmp_path / "parts").step == 5
    assert read_metrics(tmp_path / "parts")[-1]["step"] == 8
    make_trainer(tmp_path / "parts").run()
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


def test_updates_may_grow_and_not_shrink(tmp_path):
    make_trainer(tmp_path, updates=6).run()
    assert make_trainer(tmp_path, updates=6).run().step == 6  # finished: nothing to do
    assert make_trainer(tmp_path, updates=9).run().step == 9
    assert [record["step"] for record in read_metrics(tmp_path)] == [2, 4, 6, 8, 9]
    with pytest.raises(UserError, match=r"learning\.updates is 4, but .* begun with 9"):
        make_trainer(tmp_path, updates=4).run()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 8}, "learning.batch_size is 8"),
        ({"resolved_config": {"model": {"kind": "other"}}}, "model.kind is 'other'"),
        ({"resolved_config": {"task": "reach"}}, "task is 'reach'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_by_name(tmp_path, change, said):
    make_trainer(tmp_path).run()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match=said):
        make_trainer(tmp_path, **{"updates": 20, **change}).run()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_what_does_not_change_learning_may_change(tmp_path):
    make_trainer(tmp_path).run()
    make_trainer(tmp_path, updates=14, log_every=1, keep=1, resolved_config={"data": "moved"}).run()
    assert read_metrics(tmp_path)[-1]["step"] == 14


class PoisonedReplay(ToyReplay):
    calls = 0

    def sample(self):
        batch = super().sample()
        self.calls += 1
        if self.calls == 7:
            batch["action"][0, 0, 0] = math.nan
        return batch


def test_a_loss_that_is_not_finite_stops_before_the_step_and_leaves_evidence(tmp_path):
    run = make_trainer(tmp_path, replay=PoisonedReplay())
    with pytest.raises(UserError, match=r"model/prediction is nan in update 7.*nonfinite_step_7"):
        run.run()
    folder = tmp_path / "nonfinite_step_7"
    assert math.isnan(load_file(folder / "batch.safetensors")["action"][0, 0, 0])
    weights = load_file(folder / "weights.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert weights["behaviour.cloning.updates"].item() == 6
    assert json.loads((folder / "metrics.json").read_text())["loss"] == "nan"
    assert checkpoint.load(tmp_path).step == 5


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    run = make_trainer(tmp_path)
    run.model.head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match="grad_norm is"):
        run.run()


def with_minutes(monkeypatch, out, minutes, seconds_at, full_cost_from=0):
    """Runs on a clock that shows ``seconds_at(step)``; where the length was fixed, and the result."""
    run = make_trainer(out, minutes=minutes, checkpoint_every=10_000)
    run.behaviours["cloning"].full_cost_from = full_cost_from
    clock = SimpleNamespace(now=lambda: seconds_at(run.step))
    monkeypatch.setattr(trainer, "_Clock", lambda before_s: clock)
    saves, save = [], run._save
    run._save = lambda: (saves.append(run.step), save())
    return saves, run.run()


def test_minutes_become_a_number_of_updates_once(monkeypatch, tmp_path, caplog):
    caplog.set_level("INFO")
    saves, result = with_minutes(monkeypatch, tmp_path, 2.0, lambda step: 5.0 + step)
    assert saves == [trainer.SETTLING + trainer.MEASURED, 115]  # saved when fixed, and at the end
    assert result.step == result.updates == 115
    assert "allow 115 updates" in caplog.text
    # The same command again keeps the number, whatever the speed is now.
    saves, result = with_minutes(monkeypatch, tmp_path, 2.0, lambda step: 0.01 * step)
    assert result.updates == 115 and not saves


def test_minutes_are_measured_where_the_full_cost_has_begun(monkeypatch, tmp_path):
    def seconds_at(step):
        return 0.5 * min(step, 40) + 2.0 * max(step - 40, 0)

    saves, result = with_minutes(monkeypatch, tmp_path, 200 / 60, seconds_at, full_cost_from=40)
    assert saves[0] == 40 + trainer.MEASURED
    assert seconds_at(result.updates) == 200


def test_minutes_too_few_to_measure_long_are_kept_too(monkeypatch, tmp_path):
    saves, result = with_minutes(monkeypatch, tmp_path, 10 / 60, lambda step: float(step))
    assert saves == [6, 10] and result.updates == 10


def test_minutes_are_kept_by_the_real_clock(tmp_path):
    start = time.perf_counter()
    result = make_trainer(tmp_path, minutes=0.01, slowness_s=0.01).run()
    assert 0.3 < time.perf_counter() - start < 10
    assert 5 < result.step == result.updates <= 60


def test_evaluation_is_logged_and_leaves_no_trace_in_training(tmp_path):
    calls = []

    def evaluate(step, logger):
        calls.append((step, run.model.training, torch.is_grad_enabled()))
        torch.randn(100)
        logger.table(step, "starts", ("seed", "success"), [(0, 1.0)])
        return {"evaluation/success": 0.5}

    make_trainer(tmp_path / "without").run()
    run = make_trainer(tmp_path / "with", evaluate=evaluate, evaluate_every=5)
    run.run()
    assert calls == [(5, False, False), (10, False, False), (12, False, False)]
    records = read_metrics(tmp_path / "with")
    assert [r["step"] for r in records if "evaluation/success" in r] == [5, 10, 12]
    assert [r["step"] for r in records] == [2, 4, 5, 6, 8, 10, 12]  # one object a step
    plain = {r["step"]: r["loss"] for r in records if "loss" in r}
    assert plain == {r["step"]: r["loss"] for r in read_metrics(tmp_path / "without")}
    assert run.model.training


@pytest.mark.parametrize("stop_at", [4, 9])
def test_online_keeps_the_ratio_and_resumes_exactly(tmp_path, stop_at):
    """24 replayed steps an update at 3 for each collected one: 8 a update, 20 an episode."""
    settings = {"updates": 14, "train_ratio": 3.0, "online_after": 2}
    whole = make_trainer(tmp_path / "whole", collector=ToyCollector(), **settings)
    whole.run()
    assert whole._collector.calls == 1 + (11 * 24) // (3 * 20)
    assert len(whole.replay.episodes) == 8 + whole._collector.calls
    part = make_trainer(tmp_path / "parts", collector=ToyCollector(), **settings)
    stop_after(part, stop_at)
    part.run()
    make_trainer(tmp_path / "parts", collector=ToyCollector(), **settings).run()
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


def test_a_collector_without_episodes_is_an_error_and_no_endless_loop(tmp_path):
    with pytest.raises(UserError, match="no steps"):
        make_trainer(tmp_path, collector=lambda: []).run()


def test_two_runs_do_not_share_a_folder(tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process"):
            make_trainer(tmp_path).run()
    make_trainer(tmp_path).run()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"updates": 0}, "learning.updates is 0"),
        ({"updates": None}, "neither learning.updates nor learning.minutes"),
        ({"minutes": -1.0}, "learning.minutes is -1"),
        ({"log_every": 0}, "learning.log_every"),
        ({"optimizer": "adamx"}, "unknown optimizer 'adamx': did you mean 'adam'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_settings_that_cannot_be_meant_are_said(tmp_path, settings, said):
    with pytest.raises(UserError, match=said):
        make_trainer(tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_bf16_trains_near_fp32_with_float32_weights(tmp_path):
    make_trainer(tmp_path / "fp32", updates=40, log_every=40).run()
    make_trainer(tmp_path / "bf16", updates=40, log_every=40, precision="bf16").run()
    fp32, bf16 = (read_metrics(tmp_path / name)[-1]["loss"] for name in ("fp32", "bf16"))
    assert bf16 == pytest.approx(fp32, rel=0.05) and bf16 != fp32
    weights = checkpoint.load(tmp_path / "bf16").weights
    assert {t.dtype for t in weights.values()} == {torch.float32, torch.int64}


def test_auto_takes_bf16_only_where_the_hardware_multiplies_in_it(monkeypatch):
    cpu = choose_device("cpu")
    checks = "_is_amx_tile_supported", "_is_avx512_bf16_supported"
    for check in checks:
        monkeypatch.setattr(torch.cpu, check, lambda: False, raising=False)
    assert choose_precision("auto", cpu) == "fp32"
    for check in checks:  # either pays
        with monkeypatch.context() as one:
            one.setattr(torch.cpu, check, lambda: True)
            assert choose_precision("auto", cpu) == "bf16"
    for check in checks:
        monkeypatch.delattr(torch.cpu, check)
    assert choose_precision("auto", cpu) == "fp32"
    with autocast("bf16", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.slow
def test_compiled_losses_train_the_same(tmp_path):
    make_trainer(tmp_path / "plain", updates=4).run()
    compiled = make_trainer(tmp_path / "compiled", updates=4, compile=True)
    compiled.run()
    for a, b in zip(curve(tmp_path / "plain"), curve(tmp_path / "compiled"), strict=True):
        assert a["cloning/loss"] == pytest.approx(b["cloning/loss"], rel=0.1)
    # Compiling leaves the names of the weights alone, so that plain runs read them.
    checkpoint.load(tmp_path / "compiled").restore(ToyModel(), {"cloning": ToyBehaviour()})
