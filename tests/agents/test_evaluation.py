"""Regret and greedy play against brute force."""

import dataclasses

import jax
import numpy as np
import pytest

from ai_econ_jax.agents.ai_economist import evaluation
from ai_econ_jax.agents.ai_economist.presets import PRESETS
from ai_econ_jax.agents.ai_economist.two_level import TwoLevel
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy import (
    equilibrium,
    make_params,
    outcome_of,
    reference_economy,
)
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params

RATES = np.asarray(brackets.US_FEDERAL_RATES, np.float32)


@pytest.mark.parametrize("utility", ["coin_minus_labor_cost", "isoelastic"])
def test_best_utility_is_that_of_the_best_deviation_of_one_worker_alone(utility):
    economy = make_params([1.0, 1.7, 3.0], labor_cost=0.016, utility=utility)
    hours = np.array([20, 60, 5])
    of_hours = jax.jit(jax.vmap(lambda h: outcome_of(economy, h, RATES).utility))
    wanted = []
    for worker in range(3):
        deviations = np.repeat(hours[None], economy.max_hours + 1, axis=0)
        deviations[:, worker] = np.arange(economy.max_hours + 1)
        wanted.append(of_hours(deviations)[:, worker].max())
    best = evaluation.best_utility(economy, jax.numpy.asarray(hours), RATES)
    np.testing.assert_allclose(best, wanted, rtol=1e-5)


def learner_and_states(worker_kind):
    economy = reference_economy("R1")
    config = dataclasses.replace(PRESETS["smoke"].learning, worker_kind=worker_kind)
    learner = TwoLevel(config, OneStepEconomy(), economy)
    keys = jax.random.split(jax.random.key(0), 2)
    states = jax.jit(jax.vmap(learner.init, (0, None)))(keys, one_step_params(economy))
    return learner, economy, states


def test_exact_workers_have_no_regret_and_play_the_equilibrium():
    learner, economy, states = learner_and_states("exact")
    losses = evaluation.regret(learner, economy, states, num_schedules=10)
    np.testing.assert_allclose(losses, np.zeros(2), atol=1e-6)
    played = evaluation.evaluate(learner, economy, states, RATES)
    wanted = equilibrium(economy, RATES)
    np.testing.assert_array_equal(played.learned.hours, np.stack([wanted.hours] * 2))
    np.testing.assert_array_equal(played.learned.hours, played.exact.hours)
    np.testing.assert_array_equal(played.rates, np.stack([RATES] * 2))


def test_regret_of_workers_who_never_work_is_all_of_utility():
    learner, economy, states = learner_and_states("learned")
    # A policy whose logits are all equal works 0 hours, the first of the most probable ones.
    idle = jax.tree.map(np.zeros_like, states.workers.policy.params)
    workers = states.workers.replace(policy=states.workers.policy.replace(params=idle))
    losses = evaluation.regret(learner, economy, states.replace(workers=workers), 10)
    np.testing.assert_allclose(losses, np.ones(2), rtol=1e-5)
