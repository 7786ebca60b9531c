"""The core's advantages and losses against exact answers on a tabular problem (bar 21)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import ppo
from ai_econ_jax.advantages import generalized_advantage_estimation
from ai_econ_jax.agents.stepmix.tabular_ppo import run_ppo, table_network, table_policy
from ai_econ_jax.distributions import masked_categorical
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.environment import TabularEnvironment
from ai_econ_jax.rollout import init_batch, rollout

NUM_ROLLOUTS = 2**16
PLAIN = ppo.Hyperparameters(value_coefficient=0.0, entropy_coefficient=0.0)


@pytest.fixture(scope="module")
def experience():
    """Rollouts of a random policy on cliff3, by the core's machinery, and the exact values."""
    mdp = suite.cliff3().mdp
    policy = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(3), (5, 3)), jnp.float32)
    logits = jnp.log(policy).reshape(-1, 3)

    def act(keys, carry, observation, first):
        chances = logits[observation.argmax(-1)]
        return carry, jax.vmap(jax.random.categorical)(keys, chances), ()

    @jax.jit
    def play(key):
        start_key, key = jax.random.split(key)
        environment = AutoReset(TabularEnvironment())
        batch = init_batch(start_key, environment, mdp, NUM_ROLLOUTS)
        return rollout(key, act, environment, mdp, batch, mdp.horizon, keep_final_observation=True)[
            1
        ]

    values, q = dp.evaluate(mdp, policy)
    return play(jax.random.key(0)), values, np.asarray(q - values[:-1, :, None])


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 1.0])
def test_the_mean_of_gae_with_exact_values_is_the_exact_advantage(experience, lambda_):
    trajectory, values, exact = experience
    table = values[:-1].reshape(-1)
    estimate, _ = jax.jit(generalized_advantage_estimation)(
        trajectory.reward,
        trajectory.observation @ table,
        trajectory.final_observation @ table,
        trajectory.terminated,
        trajectory.truncated,
        1.0,
        lambda_,
    )
    estimate = np.asarray(estimate, np.float64)
    step, state = np.divmod(np.asarray(trajectory.observation.argmax(-1)), 3)
    action = np.asarray(trajectory.action)
    checked = 0
    for h, s, a in np.ndindex(exact.shape):
        sample = estimate[(step == h) & (state == s) & (action == a)]
        if len(sample) >= 30:
            error = abs(sample.mean() - exact[h, s, a])
            # Nothing is random after the last action: there the rounding of float32 is left.
            assert error <= 5 * sample.std() / np.sqrt(len(sample)) + 2e-6, (h, s, a)
            checked += 1
    assert checked >= 38  # of 45: the first step knows one state, and one cell is rare


@pytest.mark.parametrize("name", ["cliff3", "lock", "dirichlet_sparse"])
def test_the_gradient_of_the_core_loss_is_the_exact_policy_gradient(name):
    with jax.enable_x64(True):
        mdp = suite.load(name).mdp
        horizon, num_states, num_actions = mdp.shape
        size = horizon * num_states
        network = table_network(num_actions)
        params = jax.jit(network.init)(jax.random.key(0), jnp.zeros(size))
        params = jax.tree.map(
            lambda leaf: jax.random.normal(jax.random.key(1), leaf.shape, float), params
        )
        policy = jax.jit(lambda p: table_policy(network, p, mdp.shape))(params)
        values, q = dp.evaluate(mdp, policy)
        visited = dp.occupancy(mdp, policy)

        # A batch of every step, state and action, weighed by its probability.
        every = np.indices((size, num_actions)).reshape(2, -1)
        batch = ppo.Batch(
            observation=jnp.eye(size)[every[0]],
            action=jnp.asarray(every[1]),
            log_prob=jnp.log(policy).reshape(-1),
            value=jnp.repeat(values[:-1].reshape(-1), num_actions),
            advantage=(q - values[:-1, :, None]).reshape(-1),
            target=q.reshape(-1),
            mask=visited.reshape(-1),
        )

        def apply(params, observation):
            logits, value = network.apply(params, observation)
            return masked_categorical(logits), value

        def loss(params):
            return ppo.policy_loss(params, apply, batch, PLAIN, False, None)[0]

        gradient = jax.jit(jax.grad(loss))(params)
        (layer,) = gradient["params"]["policy"].values()
        analytic = visited * (q - values[:-1, :, None])  # d V / d logit
        np.testing.assert_allclose(
            layer["kernel"].reshape(mdp.shape), -analytic / horizon, rtol=0, atol=1e-13
        )

        @jax.jit
        @jax.grad
        def of_value(params):
            return dp.value(mdp, table_policy(network, params, mdp.shape))

        (value_layer,) = of_value(params)["params"]["policy"].values()
        np.testing.assert_allclose(value_layer["kernel"], analytic.reshape(size, -1), atol=1e-13)
        np.testing.assert_allclose(layer["bias"], -value_layer["bias"] / horizon, atol=1e-13)


def test_ppo_learns_the_optimum_and_its_violations_are_counted():
    problem = suite.cliff3()
    gamma = 0.9 * 2.353846875
    keys = jax.random.split(jax.random.key(0), 4)
    trace = run_ppo(problem.mdp, gamma, keys, 20_000)
    value = 3.1254 - trace.curves["gap"]
    assert (value[-1] >= 0.98 * 3.1254).all()
    assert trace.episode[-1] == 20_000
    length = np.array([64] * 312 + [32])[:, None]  # the last update reaches beyond
    below = (length * (value < gamma - 5e-6)).sum(0)
    np.testing.assert_array_equal(trace.violations, below)
    assert (below > 0).all()
    np.testing.assert_allclose(trace.shortfall, gamma - value.min(0), atol=1e-5)
    np.testing.assert_allclose(trace.regret, (length * trace.curves["gap"]).sum(0), rtol=1e-6)
    # It starts near the uniform policy.
    uniform = float(dp.value(problem.mdp, jnp.full((5, 3, 3), 1 / 3)))
    np.testing.assert_allclose(value[0], uniform, atol=0.02)
    assert np.ptp(value[-1]) > 0  # seeds differ
