import warnings

import jax
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params
from ai_econ_jax.envs.one_step_economy import reference_economy
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params
from ai_econ_jax.envs.pettingzoo_adapter import PettingZooEnvironment

WORKERS = [f"worker_{i}" for i in range(4)]
AGENTS = [*WORKERS, "planner"]


def make(**changes):
    config = Config(
        layout="quadrant_8x8_4each_8clump", fixed_four=False, episode_length=12, **changes
    )
    params = make_params(config, starting_coin=15.0, tax_period=4, cap_schedule=(-1.0, 0.1))
    environment = GatherTradeBuild(config)
    return environment, params, PettingZooEnvironment(environment, params)


@pytest.fixture(scope="module")
def single():
    return make()


@pytest.fixture(scope="module")
def several():
    return make(multi_action=True, num_workers=3)


def check_api(adapted, cycles):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(adapted, num_cycles=cycles)


def test_it_passes_pettingzoos_own_test(single):
    check_api(single[2], 30)


def test_actions_of_several_parts_pass_too(several):
    check_api(several[2], 30)


def test_the_one_step_economy_passes_too():
    params = one_step_params(reference_economy("R1"))
    check_api(PettingZooEnvironment(OneStepEconomy(), params, "one_step_economy_v1"), 5)


def test_a_seed_makes_it_reproducible(single):
    parallel_seed_test(lambda: make()[2], num_cycles=5)
    first, _ = single[2].reset(seed=1)
    other, _ = single[2].reset(seed=2)
    again, _ = single[2].reset(seed=1)
    assert np.array_equal(first["worker_0"]["flat"], again["worker_0"]["flat"])
    assert not np.array_equal(first["worker_0"]["flat"], other["worker_0"]["flat"])


def masks_of(started):
    observation = started[1].observation
    return observation.workers.action_mask, observation.planner.action_mask


@pytest.mark.parametrize("kind", ["single", "several"])
def test_observations_lie_in_their_spaces_and_masks_are_the_environments(kind, request):
    environment, params, adapted = request.getfixturevalue(kind)
    seen, _ = adapted.reset(seed=3)
    _, reset_key = jax.random.split(jax.random.key(3))
    worker_mask, planner_mask = jax.jit(lambda key: masks_of(environment.reset(key, params)))(
        reset_key
    )
    for agent in adapted.agents:
        assert adapted.observation_space(agent).contains(seen[agent])
    mask = seen["worker_1"]["action_mask"]
    mask = np.concatenate(mask) if kind == "several" else mask
    np.testing.assert_array_equal(mask, worker_mask[1])
    np.testing.assert_array_equal(np.concatenate(seen["planner"]["action_mask"]), planner_mask)


def test_an_episode_is_the_environments_own(single):
    environment, params, adapted = single
    rng = np.random.default_rng(0)
    adapted.reset(seed=7)
    key, reset_key = jax.random.split(jax.random.key(7))
    state = jax.jit(lambda key: environment.reset(key, params)[0])(reset_key)

    @jax.jit
    def step(key, state, action):
        state, after = environment.step(key, state, action, params)
        return state, after.reward, after.observation.workers.flat

    for t in range(12):
        actions = {agent: adapted.action_space(agent).sample() for agent in WORKERS}
        actions["planner"] = rng.integers(0, 22, 7)
        seen, rewards, terminated, truncated, _ = adapted.step(actions)
        key, step_key = jax.random.split(key)
        workers = np.array([actions[agent] for agent in WORKERS])
        action = PerRole(workers=workers, planner=actions["planner"])
        state, reward, own_flat = step(step_key, state, action)
        earned = [rewards[agent] for agent in WORKERS]
        np.testing.assert_allclose(earned, reward.workers, atol=1e-4)
        assert rewards["planner"] == pytest.approx(float(reward.planner), abs=1e-4)
        flat = np.stack([seen[agent]["flat"] for agent in WORKERS])
        np.testing.assert_allclose(flat, own_flat, atol=1e-5)
        assert set(terminated.values()) == {t == 11} and set(truncated.values()) == {False}
    assert adapted.agents == []


def test_curricula_go_on_over_episodes_until_a_seed_starts_anew(single):
    adapted = single[2]

    def allowed_rates(**seed):
        observations, _ = adapted.reset(**seed)
        while adapted.agents:
            adapted.step(dict.fromkeys(WORKERS, 0) | {"planner": np.zeros(7, int)})
        return int(observations["planner"]["action_mask"][0].sum()) - 1

    # The cap rises by 0.1 with each episode: rates 0, 0.05, 0.1 and so on.
    assert [allowed_rates(seed=0), allowed_rates(), allowed_rates()] == [3, 5, 7]
    assert allowed_rates(seed=0) == 3


def test_actions_for_other_agents_are_refused(single):
    adapted = single[2]
    adapted.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions are for \['worker_0'\], must be for"):
        adapted.step({"worker_0": 0})


def test_spaces_are_told_by_agent(single, several):
    assert single[2].possible_agents == AGENTS
    assert single[2].action_space("worker_2").n == 50
    assert several[2].action_space("worker_2").nvec.tolist() == [2, 12, 12, 12, 12, 5]
    assert single[2].action_space("planner").nvec.tolist() == [22] * 7
    assert single[2].observation_space("worker_0")["index_map"].dtype.kind == "i"
