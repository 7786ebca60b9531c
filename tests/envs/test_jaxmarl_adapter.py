import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import spaces
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params
from ai_econ_jax.envs.jaxmarl_adapter import JaxMarlEnvironment

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


def test_a_scanned_episode_is_the_environments_own(adapted):
    """The whole loop as JaxMARL's learners write it: scan of step, under jit and vmap."""
    environment, params = adapted.environment, adapted.params

    @jax.jit
    @jax.vmap
    def play(key):
        reset_key, *keys = jax.random.split(key, 6)
        first, state = adapted.reset(reset_key)

        def step(carry, key):
            observations, state = carry
            actions = build_or_wait(observations)
            observations, state, rewards, dones, infos = adapted.step_env(key, state, actions)
            assert infos == {}
            return (observations, state), (actions, rewards, dones)

        (last, _), steps = jax.lax.scan(step, (first, state), jnp.stack(keys))
        return keys, last, steps

    keys, last, (actions, rewards, dones) = play(jax.random.split(jax.random.key(1), 2))
    i = 1
    one = jax.tree.map(lambda array: array[i], (actions, rewards, dones, last))
    actions, rewards, dones, last = one
    workers = jnp.stack([actions[agent] for agent in WORKERS], axis=-1)

    @jax.jit
    def play_own(reset_key, keys, actions):
        def step(state, inputs):
            state, after = environment.step(inputs[0], state, inputs[1], params)
            index_map = after.observation.workers.index_map[2]
            return state, (after.reward, after.done, index_map)

        state, _ = environment.reset(reset_key, params)
        return jax.lax.scan(step, state, (keys, actions))[1]

    reset_key = jax.random.split(jax.random.split(jax.random.key(1), 2)[i], 6)[0]
    step_keys = jnp.stack([key[i] for key in keys])
    own = play_own(reset_key, step_keys, PerRole(workers=workers, planner=actions["planner"]))
    own_rewards, own_done, index_map = own
    for w, agent in enumerate(WORKERS):
        np.testing.assert_allclose(rewards[agent], own_rewards.workers[:, w], atol=1e-4)
    np.testing.assert_allclose(rewards["planner"], own_rewards.planner, atol=1e-4)
    np.testing.assert_array_equal(dones["__all__"], own_done)
    np.testing.assert_array_equal(last["worker_2"]["index_map"], index_map[-1])


def test_step_starts_the_next_episode_where_one_ends(adapted):
    reset, step = jax.jit(adapted.reset), jax.jit(adapted.step)
    observations, state = reset(jax.random.key(0))
    ended = []
    for t in range(7):
        result = step(jax.random.key(t), state, build_or_wait(observations))
        observations, state, _, dones, _ = result
        ended.append(bool(dones["__all__"]))
    assert ended == [False] * 5 + [True, False]
    assert int(state.time) == 1
    assert int(state.meta.completions) == 1  # curricula go on


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
