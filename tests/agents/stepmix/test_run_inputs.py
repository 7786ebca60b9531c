"""What `run` refuses, and the one algorithm that brings a bonus of its own."""

import jax
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.constrained_run import run_constrained
from ai_econ_jax.agents.stepmix.run import run
from ai_econ_jax.config import ConfigError
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.constrained import from_value_constraint
from ai_econ_jax.envs.tabular.problem import ProblemError

CLIFF_VALUE = 2.353846875


def play(algorithm="stepmix", gamma=2.1, counts=None, **fields):
    problem = suite.cliff3()
    keys = jax.random.split(jax.random.key(0), 2)
    config = RunConfig(**{"episodes": 3, "log_points": 1} | fields)
    arguments = problem.mdp, problem.baseline, gamma, keys, config
    return run(algorithm, *arguments, initial_transitions=counts)


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(ConfigError, match=r"algorithm = 'sarsa': must be one of .*stepmix.*epsmix"):
        play("sarsa")
    with pytest.raises(ConfigError, match="bonus = 'hoeffding': must be one of kl, kl_closed"):
        play(bonus="hoeffding")
    with pytest.raises(ConfigError, match="episodes = 0"):
        play(episodes=0)
    problem = from_value_constraint(suite.cliff3().mdp, 2.1)
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(ConfigError, match="algorithm = 'ucbvi': must be one of optpess_lp, dope"):
        run_constrained("ucbvi", problem, suite.cliff3().baseline, keys, RunConfig())


def test_a_baseline_below_gamma_is_refused_and_one_at_gamma_is_not():
    with pytest.raises(
        ProblemError, match=r"kappa = -0\.046153\d: baseline does not satisfy gamma = 2\.4"
    ):
        play(gamma=2.4)
    for gamma in (CLIFF_VALUE, (1 - 1e-9) * CLIFF_VALUE, 0.0, -1.0):
        assert play("baseline", gamma).violations.sum() == 0


def test_ucbvi_simple_has_its_own_bonus_whatever_the_config_says():
    horizon, num_states, num_actions = 5, 3, 3
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, (horizon, num_states, num_states, num_actions))
    mdp = suite.cliff3().mdp
    value = np.zeros(num_states)
    for h in reversed(range(horizon)):
        n = counts[h].sum(0)
        bonus = 1 / np.sqrt(n) + (horizon - h) / n
        mean = np.einsum("xsa,x->sa", counts[h] / n, value)
        q = np.asarray(mdp.reward[h]) + np.clip(mean + bonus, value.min(), value.max())
        value = q.max(-1)
    upper = float(np.asarray(mdp.initial) @ value)
    for bonus in ("kl", "zero"):
        trace = play("ucbvi_simple", counts=counts, episodes=1, bonus=bonus)
        np.testing.assert_allclose(trace.curves["upper"], upper, rtol=1e-5)
        np.testing.assert_array_equal(trace.full, 0)
    assert play("ucbvi", counts=counts, episodes=1).curves["upper"][0, 0] > upper + 0.1
