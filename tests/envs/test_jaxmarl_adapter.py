import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import spaces
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params
from ai_econ_jax.envs.jaxmarl_adapter import JaxMarlEnvironment
from ai_econ_jax.envs.one_step_economy import reference_economy
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params

WORKERS = [f"worker_{i}" for i in range(4)]


@pytest.fixture(scope="module")
def adapted():
    config = Config(layout="quadrant_8x8_4each_8clump", fixed_four=False, episode_length=6)
    params = make_params(config, starting_coin=15.0, tax_period=3)
    return JaxMarlEnvironment(GatherTradeBuild(config), params)


def build_or_wait(observations):
    actions = {agent: jnp.argmax(seen["action_mask"][1:]) for agent, seen in observations.items()}
    return actions | {"planner": jnp.ones(7, jnp.int32)}


def test_agents_and_spaces(adapted):
    assert adapted.agents == [*WORKERS, "planner"] and adapted.num_agents == 5
    assert adapted.action_space("worker_3") == spaces.Discrete(50)
    assert adapted.action_space("planner") == spaces.MultiDiscrete((22,) * 7)
    assert adapted.observation_space("worker_0")["flat"].shape == (136,)
    assert adapted.observation_space("worker_0")["map"].shape == (7, 11, 11)
    assert adapted.observation_space("planner")["flat"].shape == (86,)


def test_several_actions_per_worker_are_a_vector():
    config = Config(
        layout="quadrant_8x8_4each_8clump", fixed_four=False, multi_action=True, num_workers=2
    )
    adapted = JaxMarlEnvironment(GatherTradeBuild(config), make_params(config))
    assert adapted.action_space("worker_1") == spaces.MultiDiscrete((2, 12, 12, 12, 12, 5))


def test_observations_have_the_shapes_of_their_spaces(adapted):
    observations, _ = jax.eval_shape(adapted.reset, jax.random.key(0))
    for agent in adapted.agents:
        boxes = adapted.observation_space(agent)
        assert {name: box.shape for name, box in boxes.items()} == {
            name: array.shape for name, array in observations[agent].items()
        }


def test_scanned_episodes_are_the_environments_own(adapted):
    """The whole loop as JaxMARL's learners write it: scan of step, under jit and vmap."""
    environment, params = AutoReset(adapted.environment), adapted.params

    @jax.jit
    @jax.vmap
    def play(key):
        reset_key, *keys = jax.random.split(key, 8)
        first, state = adapted.reset(reset_key)

        def step(carry, key):
            observations, state = carry
            actions = build_or_wait(observations)
            observations, state, rewards, dones, infos = adapted.step(key, state, actions)
            assert infos == {}
            seen = observations["worker_2"]["index_map"]
            return (observations, state), (actions, rewards, dones, seen)

        (_, last), steps = jax.lax.scan(step, (first, state), jnp.stack(keys))
        return reset_key, jnp.stack(keys), last.time, last.meta.completions, steps

    played = play(jax.random.split(jax.random.key(1), 2))
    one = jax.tree.map(lambda array: array[1], played)
    reset_key, keys, time, completions, (actions, rewards, dones, seen) = one
    # The episode ended after 6 steps, the next one began, and curricula went on.
    assert dones["__all__"].tolist() == [False] * 5 + [True, False]
    assert int(time) == 1 and int(completions) == 1

    @jax.jit
    def play_own(reset_key, keys, actions):
        def step(state, inputs):
            state, after = environment.step(inputs[0], state, inputs[1], params)
            return state, (after.reward, after.done, after.observation.workers.index_map[2])

        state, _ = environment.reset(reset_key, params)
        return jax.lax.scan(step, state, (keys, actions))[1]

    workers = jnp.stack([actions[agent] for agent in WORKERS], axis=-1)
    own = PerRole(workers=workers, planner=actions["planner"])
    own_rewards, own_dones, own_seen = play_own(reset_key, keys, own)
    for w, agent in enumerate(WORKERS):
        np.testing.assert_allclose(rewards[agent], own_rewards.workers[:, w], atol=1e-4)
        np.testing.assert_array_equal(dones[agent], own_dones)
    np.testing.assert_allclose(rewards["planner"], own_rewards.planner, atol=1e-4)
    np.testing.assert_array_equal(seen, own_seen)


def test_step_env_does_not_start_the_next_episode():
    params = one_step_params(reference_economy("R1"))
    adapted = JaxMarlEnvironment(OneStepEconomy(), params)
    actions = dict.fromkeys(WORKERS, jnp.array(0)) | {"planner": jnp.zeros(7, jnp.int32)}
    times = []
    for step in (adapted.step_env, adapted.step):
        _, state = adapted.reset(jax.random.key(0))
        for key in jax.random.split(jax.random.key(1), 2):
            _, state, _, dones, _ = jax.jit(step)(key, state, actions)
        assert bool(dones["__all__"])
        times.append(int(state.time))
    assert times == [2, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"worker_0": 0},
        dict.fromkeys("abcde", 0),
        dict.fromkeys([*WORKERS[:3], "worker_4", "planner"], 0),
    ],
)
def test_actions_for_other_agents_are_refused(adapted, wrong):
    with pytest.raises(ValueError, match="actions are for "):
        adapted.step_env(jax.random.key(0), None, wrong)
