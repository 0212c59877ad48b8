"""The contract of every planner in the registry, on a model whose optimum is known."""

import dataclasses
import pathlib

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from robowm.errors import UserError
from robowm.models.protocol import gather_state, map_state
from robowm.planning import PLANNERS
from robowm.planning.cem import CEMConfig
from robowm.planning.gate import GateConfig, ThresholdGate
from robowm.planning.imagine import rollout, score, unroll
from robowm.planning.mppi import MPPIConfig
from robowm.planning.protocol import Planner
from robowm.planning.sampling import SamplingPlanner

CONFIGS = {"mppi": MPPIConfig, "cem": CEMConfig}
# This model is right about everything, so that nothing need hold the search back.
FREE = {"init_std": 0.5, "policy_prior": 0.0, "trust_margin": 0.0}
SMALL = FREE | {"samples": 128, "elites": 16, "policy_samples": 16, "discount": 1.0}

pytestmark = pytest.mark.parametrize("kind", list(PLANNERS))


@pytest.fixture
def make(kind, model, spec):
    def build(policy=None, critic=None, objective=None, seed=0, gate=None, on=model, **settings):
        config = CONFIGS[kind](**SMALL | settings)
        policies = [policy] if callable(policy) else policy or []
        arguments = (config, on, spec.action, policies, critic, objective, seed)
        return PLANNERS[kind](*arguments, **{"gate": gate} if gate else {})

    return build


def total(model, state, sequences, objective=None):
    """Undiscounted score [B, N] of sequences [B, N, H, A]."""
    return score(rollout(model, state, sequences, objective), discount=1.0)


def policy_mode(model, state, policy, horizon=6):
    """The policy's own sequence in imagination: [B, H, A]."""
    imagined = unroll(model, state, lambda t, feat: policy(feat).mode(), 1, horizon)
    return imagined.actions[:, 0]


@pytest.mark.parametrize("policy", [None, "fair", "bad"])
def test_shapes_and_fields(make, model, state, policies, policy):
    planner = make(policies.get(policy), horizon=5)
    plan = planner.plan(state)
    assert isinstance(planner, Planner) and planner.horizon == 5
    assert plan.sequence.shape == (16, 5, 3) and plan.sequence.dtype == torch.float32
    assert torch.equal(plan.action, plan.sequence[:, 0])
    assert plan.sequence.abs().max() <= 1
    assert set(plan.sequence[..., 2].unique().tolist()) <= {-1.0, 1.0}
    assert plan.success.shape == (16,) and plan.success.isnan().all()
    assert torch.equal(plan.epistemic, torch.zeros(16, 5))
    assert plan.trusted_steps.tolist() == [5] * 16
    assert plan.planning_time_ms > 0
    imagined = rollout(model, state, plan.sequence[:, None], keep_states=True)
    torch.testing.assert_close(plan.value, score(imagined, discount=1.0)[:, 0])
    assert len(plan.states) == 5
    for got, expected in zip(plan.states, imagined.states, strict=True):
        torch.testing.assert_close(got["x"], expected["x"])


def test_same_seed_same_plans(make, state, policies):
    torch.manual_seed(1)
    first, other = make(policies["fair"], seed=3), make(policies["fair"], seed=4)
    plans = [first.plan(state)]
    plans.append(first.plan(state, plans[0]))
    global_draw = torch.rand(1)
    torch.manual_seed(2)
    second = make(policies["fair"], seed=3)
    for expected in plans:
        plan = second.plan(state, None if expected is plans[0] else plans[0])
        assert torch.equal(plan.sequence, expected.sequence)
        assert torch.equal(plan.value, expected.value)
    second.seed(3)
    assert torch.equal(second.plan(state).sequence, plans[0].sequence)
    assert not torch.equal(other.plan(state).sequence, plans[0].sequence)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), global_draw), "planning must not move torch's generator"


@pytest.mark.parametrize("policy", [None, "fair"])
def test_permuting_the_batch_permutes_the_plans(make, state, policies, policy):
    # Proposals drawn by the policy itself come in the order of the batch: leave them out.
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    settings = {"policy": policies.get(policy), "policy_samples": 0}
    plan = make(**settings).plan(state)
    permuted = make(**settings).plan(gather_state(state, order))
    torch.testing.assert_close(permuted.sequence, plan.sequence[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(permuted.value, plan.value[order], atol=1e-5, rtol=0)
    alone = make(**settings).plan(gather_state(state, order[:1]))
    torch.testing.assert_close(alone.sequence, plan.sequence[order[:1]], atol=1e-5, rtol=0)


def test_beats_random_shooting_and_nears_the_optimum(make, model, state):
    plan = make(samples=256, iterations=4, noise_persistence=0.0).plan(state)
    draws = torch.rand(1, 4 * 256, 6, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws[..., 2] = draws[..., 2].sign()
    shooting = total(model, state, draws.expand(16, -1, -1, -1)).amax(1)
    assert (plan.value > shooting).all()
    optimum = -((state["x"] @ model.riccati(6)[0][0]) * state["x"]).sum(1)
    assert (plan.value <= optimum + 1e-5).all()
    lost, lost_by_shooting = (optimum - plan.value).mean(), (optimum - shooting).mean()
    assert lost < 0.25 * lost_by_shooting


def test_more_iterations_come_closer_to_the_regulator(make, model, state):
    plan = make(samples=256, iterations=16, noise_persistence=0.0).plan(state)
    expected = -state["x"] @ model.riccati(6)[1][0].T
    assert (plan.action[:, :2] - expected).abs().mean() < 0.04
    assert torch.equal(plan.action[:, 2], state["goal"][:, 0])


def test_critic_extends_a_short_horizon(make, model, state):
    to_go, gains = model.riccati(40)

    def critic(feat):
        x = feat[:, :4]
        value = -((x @ to_go[0]) * x).sum(1)
        return torch.stack([value, value + 1.0])

    settings = {"horizon": 1, "samples": 256, "iterations": 8, "min_std": 0.01}
    expected = -state["x"] @ gains[0].T
    far = make(critic=critic, **settings).plan(state)
    near = make(**settings).plan(state)
    assert (far.action[:, :2] - expected).abs().mean() < 0.02
    assert (near.action[:, :2] - expected).abs().mean() > 0.1
    optimistic = make(critic=critic, value="mean_std", value_std_penalty=0.0, **settings).plan(
        state
    )
    torch.testing.assert_close(optimistic.value, far.value + 0.5, atol=1e-3, rtol=0)


def test_warm_start_helps(make, model, state):
    settings = {"iterations": 1, "samples": 64}
    warm, cold = make(**settings), make(**settings)
    plan, gain = None, 0.0
    for _ in range(8):
        plan = warm.plan(state, plan)
        without = cold.plan(state)
        gain += float((plan.value - without.value).mean()) / 8
        state = model.step(state, plan.action)
    assert gain > 0.02
    last = make().plan(state)
    again = make(samples=20, iterations=1).plan(state, last)
    shifted = torch.cat([last.sequence[:, 1:], last.sequence[:, -1:]], 1)
    assert (again.value >= total(model, state, shifted[:, None])[:, 0] - 1e-5).all()


def test_search_starts_from_the_better_of_policy_and_warm_start(make, model, state, policies):
    rough = make(samples=32, iterations=2, policy_samples=0).plan(state)
    settings = {"iterations": 1, "init_std": 0.1, "policy_samples": 0}
    plan = make(policies["bad"], **settings).plan(state, rough)
    shifted = torch.cat([rough.sequence[:, 1:], rough.sequence[:, -1:]], 1)
    states = rollout(model, state, shifted[:, None], keep_states=True).states
    shifted[:, -1] = policies["bad"](model.feat(states[-2])).mode()
    kept = total(model, state, shifted[:, None])[:, 0]
    assert (plan.value >= kept - 1e-5).all()
    # Draws around this policy's mode never come near; around the warm start they improve it.
    assert (plan.value - kept).mean() > 0.02


def test_a_warm_start_of_another_horizon_is_refused(make, state):
    with pytest.raises(ValueError, match="another planner"):
        make(horizon=4).plan(state, make(horizon=5).plan(state))


@pytest.mark.parametrize("policy", ["fair", "bad"])
@pytest.mark.parametrize("select", ["argmax", "mean", "best"])
def test_never_below_the_policy(make, model, state, policies, policy, select):
    policy = policies[policy]
    floor = total(model, state, policy_mode(model, state, policy)[:, None])[:, 0]
    # One round of wide noise: the mean alone would often be worse than the policy.
    settings = {"iterations": 1, "samples": 24, "init_std": 1.0, "select": select}
    plan = make(policy, **settings).plan(state)
    assert (plan.value >= floor - 1e-5).all()

    # Proposals that help nothing: a model for which every deviation costs.
    def costs(before, action, step):
        return -(action - policy(model.feat(before)).mode()).abs().sum(1)

    plan = make(policy, objective=costs, **settings).plan(state)
    torch.testing.assert_close(plan.sequence, policy_mode(model, state, policy))


def test_never_below_holding_still_without_a_policy(make, model):
    state = {"x": torch.zeros(4, 4), "goal": -torch.ones(4, 1)}  # nothing is left to do
    plan = make(iterations=1).plan(state)
    assert torch.equal(plan.sequence, torch.tensor([0.0, 0, -1]).expand(4, 6, 3))
    assert torch.equal(plan.value, torch.zeros(4))


def test_trust_margin_keeps_the_policy(make, model, state, policies):
    expected = policy_mode(model, state, policies["bad"])
    plan = make(policies["bad"], trust_margin=1e3).plan(state)
    torch.testing.assert_close(plan.sequence, expected)
    free = make(policies["bad"]).plan(state)
    gain = free.value - total(model, state, expected[:, None])[:, 0]
    middle = float(gain.sort().values[7:9].mean())
    some = make(policies["bad"], trust_margin=middle).plan(state)
    kept = (some.sequence - expected).abs().amax((1, 2)) < 1e-5
    assert torch.equal(kept, gain <= middle)


def test_policy_prior_keeps_near_the_policy(make, model, state, policies):
    policy = policies["fair"]
    distances = []
    for weight in (0.0, 1e-2, 1e2):
        plan = make(policy, policy_prior=weight).plan(state)
        own = unroll(model, state, lambda t, feat: policy(feat).mode(), 1, 6).actions[:, 0]
        distances.append(float((plan.sequence - own).abs().mean()))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-5


def test_policy_proposals_guide_the_search(make, model, state, policies):
    settings = {"samples": 32, "iterations": 1}
    guided = make(policies["fair"], **settings).plan(state)
    alone = make(**settings).plan(state)
    assert guided.value.mean() > alone.value.mean() + 0.1


def test_the_model_judges_between_proposals(make, model, state, policies):
    settings = {"samples": 40, "iterations": 1, "policy_prior": 0.2, "trust_margin": 0.3}
    alone = make(policies["fair"], **settings).plan(state)
    for pair in (["fair", "bad"], ["bad", "fair"]):
        both = make([policies[name] for name in pair], **settings).plan(state)
        assert (both.value > alone.value - 0.4).all()  # whichever of the two is fallen back on


def test_two_policies_that_agree_are_one(make, state, policies):
    settings = {"policy_prior": 50.0, "policy_samples": 0}
    one = make(policies["fair"], **settings).plan(state)
    two = make([policies["fair"], policies["fair"]], **settings).plan(state)
    torch.testing.assert_close(one.sequence, two.sequence)


def test_the_switch_is_found_against_the_policy(make, state, policies):
    plan = make(policies["bad"], samples=256, iterations=16).plan(state)
    assert (plan.sequence[..., 2] == state["goal"]).float().mean() > 0.95


def test_an_objective_changes_the_path(make, model, policies):
    # The way from (1, 0) to the origin passes a forbidden disc at (0.6, 0); nobody trained for it.
    state = {"x": torch.tensor([[1.0, 0.0, 0.0, 0.0]]), "goal": torch.ones(1, 1)}

    def inside(x):
        return (x[:, :2] - torch.tensor([0.6, 0.02])).norm(dim=1) < 0.25

    def keep_out(before, action, step):
        return step.reward - 10.0 * inside(step.state["x"])

    settings = {"policy": policies["fair"], "samples": 256, "iterations": 6, "horizon": 6}
    plain = make(**settings).plan(state)
    careful = make(objective=keep_out, **settings).plan(state)
    assert any(inside(s["x"]).any() for s in plain.states)
    assert not any(inside(s["x"]).any() for s in careful.states)
    assert careful.states[-1]["x"][0, :2].norm() < 0.8  # goes on, past or round the disc
    torch.testing.assert_close(
        careful.value, total(model, state, careful.sequence[:, None], keep_out)[:, 0]
    )


def test_optional_heads_and_the_gate(make, model, state):
    class Doubting(type(model)):
        def epistemic(self, state, action):
            return state["x"][:, :2].norm(dim=1) + action[:, :2].norm(dim=1)

        def predict_success(self, state):
            return torch.exp(-state["x"].norm(dim=1))

    plan = make(on=Doubting(), gate=ThresholdGate(GateConfig(1.0))).plan(state)
    before = [state, *plan.states[:-1]]
    expected = [Doubting().epistemic(s, plan.sequence[:, t]) for t, s in enumerate(before)]
    torch.testing.assert_close(plan.epistemic, torch.stack(expected, 1))
    torch.testing.assert_close(plan.success, torch.exp(-plan.states[-1]["x"].norm(dim=1)))
    assert torch.equal(plan.trusted_steps, (plan.epistemic.cumsum(1) <= 1.0).sum(1))
    assert plan.trusted_steps.unique().numel() > 1


def test_sequences_on_which_the_model_diverges_are_not_chosen(make, model, state, policies):
    def broken(before, action, step):
        return torch.where(action[:, 0] > 0.1, torch.nan, step.reward)

    plan = make(policies["fair"], objective=broken, samples=512).plan(state)
    assert plan.value.isfinite().all()
    assert (plan.sequence[..., 0] <= 0.1).float().mean() > 0.9


def test_half_precision_agrees(make, model, state):
    exact, half = make(precision="fp32").plan(state), make(precision="bf16").plan(state)
    assert half.sequence.dtype == half.value.dtype == torch.float32
    torch.testing.assert_close(half.value, exact.value, atol=0.2, rtol=0)


def test_config_file_names_every_field(kind):
    path = pathlib.Path(__file__).parents[2] / "configs" / "planner" / f"{kind}.yaml"
    written = OmegaConf.load(path)
    written.pop("defaults", None)  # how Hydra finds the dataclass
    schema = OmegaConf.structured(CONFIGS[kind])
    assert OmegaConf.to_object(OmegaConf.merge(schema, written)) == CONFIGS[kind]()
    assert set(written) == {field.name for field in dataclasses.fields(CONFIGS[kind])}
    with pytest.raises(ConfigKeyError):
        OmegaConf.merge(schema, {"sampels": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 10, "policy_samples": 20},
        {"horizon": 0},
        {"select": "worst"},
        {"discount": 1.5},
        {"min_std": 2.0},
        {"precision": "fp16"},
        {"switch_flip": 0.5},
    ],
)
def test_wrong_settings_are_named(make, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        make(**wrong)


def test_noise_scale(make, state):
    with pytest.raises(UserError, match="dx_m, dy_m, gripper"):
        make(noise_scale=[1.0, 1.0])
    still = make(noise_scale=[1.0, 1e-6, 1.0]).plan(state)
    assert still.sequence[..., 1].abs().max() < 1e-3 < still.sequence[..., 0].abs().max()


def test_the_state_is_not_changed(make, state, policies):
    kept = map_state(state, torch.clone)
    make(policies["fair"]).plan(state)
    assert all(torch.equal(kept[name], state[name]) for name in state)


@pytest.mark.parametrize("samples", [48, 300])
def test_asking_the_policies_of_contenders_alone_changes_nothing(
    make, model, state, policies, samples, monkeypatch
):
    """Elites are the same as when every sequence is charged."""
    settings = {"samples": samples, "elites": 12, "policy_prior": 0.2, "iterations": 3}
    asked = []
    fair = policies["fair"]

    def policy(feat):
        asked.append(feat.numel() // feat.shape[-1])
        return fair(feat)

    quick = make([policy, policies["bad"]], **settings).plan(state)
    rows = sum(asked)
    asked.clear()
    monkeypatch.setattr(SamplingPlanner, "_contenders", lambda self, it, known: self._score(it))
    slow = make([policy, policies["bad"]], **settings).plan(state)
    torch.testing.assert_close(quick.sequence, slow.sequence)
    torch.testing.assert_close(quick.value, slow.value)
    if samples == 300:
        assert rows < 0.8 * sum(asked)


def test_a_deadline_leaves_rounds_out_and_never_the_proposals(make, model, state, policies):
    hasty = make(policies["fair"], iterations=4, deadline_ms=1e-3).plan(state)
    assert hasty.rounds == 0
    floor = total(model, state, policy_mode(model, state, policies["fair"])[:, None])[:, 0]
    assert (hasty.value >= floor - 1e-5).all()
    assert make(policies["fair"], iterations=4, deadline_ms=1e6).plan(state).rounds == 4
