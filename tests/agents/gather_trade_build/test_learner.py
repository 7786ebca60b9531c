"""The learner in its environment, in tiny sizes: episodes, curricula, hand-over, devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.ai_economist.gather_trade_build import experiment, training
from ai_econ_jax.agents.ai_economist.gather_trade_build.presets import PRESETS
from ai_econ_jax.distributions import masked_categorical

SMOKE = dataclasses.replace(PRESETS["smoke"], num_seeds=1)


def changed(**fields):
    return config_lib.replace_fields(SMOKE, fields)


def build(config, tax_model, phase=2):
    (lane,) = experiment.lanes(config, tax_model)
    learner = experiment.build_learner(config, lane, phase)
    return learner, experiment.build_params(config, learner.environment, lane, phase)


@pytest.fixture(scope="module")
def planner_run():
    """Two updates of 4 steps: one episode of 8 with two tax years, and the beginning of another."""
    learner, params = build(SMOKE, "planner")
    state = jax.jit(learner.init)(jax.random.key(0), params)
    update = jax.jit(learner.update)
    states, metrics = [state], []
    for _ in range(2):
        state, measured = update(state)
        states.append(state)
        metrics.append(measured)
    assert update._cache_size() == 1
    return learner, states, metrics


def test_episodes_end_between_runs_and_their_memory_of_curricula_goes_on(planner_run):
    _, states, metrics = planner_run
    worlds = [state.environments.state for state in states]
    assert [world.time.tolist() for world in worlds] == [[0] * 4, [4] * 4, [0] * 4]
    assert [world.meta.completions.tolist() for world in worlds] == [[0] * 4, [0] * 4, [1] * 4]
    assert [bool(state.environments.first.all()) for state in states] == [True, False, True]
    assert metrics[0]["utility"] == 0  # no episode has ended yet
    # Utility at full cost of workers who own nothing: -1/(1 - eta) - labor cost.
    labor = float(metrics[1]["labor"])
    assert float(metrics[1]["utility"]) == pytest.approx(-1.298701 - 0.21 * labor, rel=1e-4)


def test_a_planner_that_decides_once_in_a_tax_year_sets_its_rates(planner_run):
    learner, states, metrics = planner_run
    assert learner.decides
    grid = learner.environment.world.rates
    before, after = states[0].environments, states[1].environments
    chosen = after.policy_carry.planned
    assert (chosen > 0).any()
    expected = grid[np.maximum(np.asarray(chosen) - 1, 0)]
    np.testing.assert_allclose(after.state.rates, expected, atol=1e-6)
    assert (before.policy_carry.planned == 0).all()
    assert metrics[0]["planner/entropy"] > 7  # seven heads of 22 choices
    moved = jax.tree.map(
        lambda a, b: jnp.abs(a - b).max(), states[0].planner.params, states[1].planner.params
    )
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize("planner_acts", ["decisions", "every_step"])
def test_what_is_learned_from_is_what_policy_and_critic_said(planner_acts):
    fields = {
        "learning.planner_acts": planner_acts,
        "learning.workers.tower.memory": "gru",
        "learning.workers.tower.memory_width": 3,
    }
    learner, params = build(changed(**fields), "planner")
    state = jax.jit(learner.init)(jax.random.key(0), params)
    # Two rows: the second one starts from memories that are not empty.
    for key in jax.random.split(jax.random.key(1)):
        carry = state.environments.policy_carry
        state, experience = jax.jit(learner.play)(key, state)
    assert float(jnp.abs(carry.workers.value).max()) > 0
    for role, policy, own in (
        (learner.worker_role, state.workers, experience.workers),
        (learner.planner_role, state.planner, experience.planner),
    ):
        now = jax.tree.map(lambda leaf: leaf[0], own)  # of the one row
        _, logits, value = role.apply(policy.params, now.carry, now.inputs, now.first)
        distribution = masked_categorical if own is experience.workers else role.distribution
        log_prob = distribution(logits, now.inputs.action_mask).log_prob(now.action)
        np.testing.assert_allclose(now.value, value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(now.log_prob, log_prob, rtol=1e-5, atol=1e-5)
        assert float(jnp.abs(value).max()) > 1e-3


def test_phase_two_takes_over_the_workers_parameters_and_nothing_else(planner_run):
    learner, states, _ = planner_run
    trained = states[-1]
    params = trained.env_params
    fresh = jax.jit(learner.init)(jax.random.key(5), params, trained.workers.params)
    jax.tree.map(np.testing.assert_array_equal, fresh.workers.params, trained.workers.params)
    moments = jax.tree.leaves(fresh.workers.optimizer_state)
    assert all(not np.any(leaf) for leaf in moments)
    assert np.any(jax.tree.leaves(trained.workers.optimizer_state)[1])
    assert fresh.environments.state.meta.completions.tolist() == [0] * 4
    assert fresh.num_updates == 0


def test_labor_costs_warm_up_in_phase_one_and_the_cap_rises_in_phase_two():
    config = changed(**{"learning.tax_cap_warmup": -100.0, "learning.labor_warmup": 50.0})
    _, first = build(config, "free_market", phase=1)
    _, second = build(config, "us_federal", phase=2)
    assert first.warmup_constant == 50 and second.warmup_constant == 0
    assert (first.cap_warmup, second.cap_warmup) == (-1, -100)
    assert (first.fixed_rates == 0).all() and second.fixed_rates[1] == pytest.approx(0.12)
    _, unwarmed = build(
        config_lib.replace_fields(config, {"learning.use_labor_warmup": False}), "free_market", 1
    )
    assert unwarmed.warmup_constant == 0


def test_the_planners_entropy_coefficient_falls_and_ablations_keep_it_at_its_end():
    config = changed(
        **{
            "learning.planner.entropy_start": 2.0,
            "learning.planner.entropy_end": 0.125,
            "learning.planner.entropy_steps": 64.0,
        }
    )
    learner, _ = build(config, "planner")
    role = config.learning.planner
    steps = [float(learner._entropy_coefficient(role, jnp.asarray(n))) for n in (0, 2, 4, 9)]
    assert steps == pytest.approx([2.0, 1.0625, 0.125, 0.125])  # 16 steps an update
    for ablation in ({"learning.use_entropy_schedule": False}, {"learning.single_phase": True}):
        ablated, _ = build(config_lib.replace_fields(config, ablation), "planner")
        assert ablated._entropy_coefficient(role, jnp.asarray(0)) == 0.125


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_can_be_built(name):
    config = config_lib.validate(PRESETS[name])
    for tax_model in config.tax_models:
        for lane in experiment.lanes(config, tax_model):
            learner = experiment.build_learner(config, lane, 2)
            experiment.build_params(config, learner.environment, lane, 2)
            assert learner.num_updates >= 4


def test_no_remainder_of_a_phase_of_quick_is_a_program_of_its_own():
    quick = PRESETS["quick"]
    assert {quick.learning.updates(phase) % quick.updates_per_segment for phase in (1, 2)} == {0}


def test_more_environments_than_published_have_the_same_curricula_in_steps():
    published, paper = (PRESETS[name].learning for name in ("paper_full", "paper"))
    for name, power in (("labor_warmup", 1), ("tax_cap_warmup", 1), ("tax_cap_slope", -1)):
        in_steps = [
            getattr(config, name) * config.num_environments**power for config in (published, paper)
        ]
        assert in_steps[0] == pytest.approx(in_steps[1])


def test_a_single_phase_has_the_steps_of_both_and_no_curricula():
    config = changed(**{"learning.single_phase": True, "learning.tax_cap_warmup": -100.0})
    assert (config.learning.updates(1), config.learning.updates(2)) == (0, 8)
    assert training.train_phase1(config) is None
    _, params = build(config, "planner")
    assert params.warmup_constant == 0 and params.cap_warmup == -1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning.unroll": 3, "learning.steps_per_update": 6}, "unroll = 3: must divide the epi"),
        ({"learning.unroll": 2}, "unroll = 2: must be the tax period 4 where planner_acts"),
        ({"learning.steps_per_update": 6}, "steps_per_update = 6: must be a multiple of unroll"),
        ({"economy.tax_period": 3}, "tax_period = 3: must divide episode_length = 8"),
        ({"economy.skills": "1,2,3,4", "economy.fixed_four": False}, "need fixed_four = True"),
        ({"tax_models": ("poll_tax",)}, "tax_models = 'poll_tax': must be one of free_market"),
        ({"num_evaluation_episodes": 5}, r"num_evaluation_episodes = 5: must be in \[1, 4\]"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        build(changed(**fields), "planner")


def test_devices_that_cannot_share_the_environments_are_refused():
    config = changed(**{"learning.num_environments": 5, "learning.shuffle_blocks": 1})
    with pytest.raises(ValueError, match=r"num_environments = 5: must be a multiple of the 2"):
        training.train_phase1(config)


@pytest.mark.slow
@pytest.mark.parametrize("tax_model", ["planner", "searched", "saez"])
def test_ten_updates_on_two_devices_are_those_on_one(tax_model, monkeypatch):
    assert jax.device_count() == 2
    config = changed(**{"learning.phase2_steps": 160})
    (lane,) = experiment.lanes(config, tax_model)
    shared = training.train_lane(config, lane, None)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    alone = training.train_lane(config, lane, None)
    assert shared.states.num_updates.tolist() == [10]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        (shared.states.workers.params, shared.states.planner),
        (alone.states.workers.params, alone.states.planner),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"learning.planner_acts": "every_step"},
        {"learning.share_worker_policy": False},
        {"learning.workers.tower.memory": "lstm", "learning.planner.tower.memory": "gru"},
        {"learning.workers.tower.map_encoder": "conv", "learning.workers.num_epochs": 2},
    ],
    ids=["every_step", "separate_workers", "memory", "conv"],
)
def test_variants_learn_without_trouble(fields):
    config = changed(**fields, **{"learning.phase2_steps": 48})
    (lane,) = experiment.lanes(config, "planner")
    trained = training.train_lane(config, lane, None)
    assert [row["update"] for row in trained.rows] == [1, 2, 3]
    assert all(np.isfinite(list(row["seeds"].values())).all() for row in trained.rows)
    if not config.learning.share_worker_policy:
        kernels = jax.tree.leaves(trained.states.workers.params)
        assert all(leaf.shape[:2] == (1, 4) for leaf in kernels)
