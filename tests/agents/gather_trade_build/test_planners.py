"""Planners without a gradient, and the joint buffer of Saez samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.ai_economist.gather_trade_build import planners
from ai_econ_jax.agents.ai_economist.gather_trade_build.saez_pool import pool
from ai_econ_jax.envs.economy import saez

GRID = jnp.linspace(0.0, 1.0, 21)


def keys(number, seed=0):
    return jax.random.split(jax.random.key(seed), number)


def test_rates_become_the_nearest_allowed_actions():
    rates = jnp.asarray([[0.0, 0.52, 0.98, 1.7, -3.0]])
    actions = planners.rates_to_actions(rates, GRID, jnp.asarray([[1.0]]))
    assert actions.tolist() == [[1, 11, 21, 21, 1]]  # 0 would keep the rate
    capped = planners.rates_to_actions(rates, GRID, jnp.asarray([[0.3]]))
    assert capped.tolist() == [[1, 7, 7, 7, 1]]


def test_random_rates_are_uniform_among_the_allowed_and_nothing_on_other_days():
    allowed = jnp.arange(22) <= 5  # nothing, and five rates
    first_day = jnp.tile(allowed, (4000, 7))
    drawn = planners.draw_uniform(keys(4000), first_day, 7)
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=22)
    assert counts[0] == 0 and (counts[6:] == 0).all()
    np.testing.assert_allclose(counts[1:6] / counts.sum(), 0.2, atol=0.01)
    other_day = jnp.tile(jnp.arange(22) == 0, (3, 7))
    assert (planners.draw_uniform(keys(3), other_day, 7) == 0).all()


def test_a_search_finds_the_schedule_that_is_best():
    best = jnp.asarray([0.1, 0.4, 0.9])
    search = planners.init_search(3)
    for generation in range(25):
        actions = planners.draw_schedules(keys(64, generation), search, GRID, jnp.ones(64))
        rates = GRID[actions - 1]
        search = planners.refit(search, rates, -jnp.sum((rates - best) ** 2, axis=1), None)
    np.testing.assert_allclose(search.mean, best, atol=0.05)
    assert search.num_fits == 25
    np.testing.assert_allclose(search.deviation, 0.05, atol=0.02)  # it never stops looking


def test_a_search_over_devices_is_one_over_all_environments():
    rng = np.random.default_rng(0)
    rates, goal = rng.uniform(size=(8, 3)), rng.normal(size=8)
    search = planners.init_search(3)
    expected = planners.refit(search, jnp.asarray(rates), jnp.asarray(goal), None)
    halves = jnp.asarray(rates.reshape(2, 4, 3)), jnp.asarray(goal.reshape(2, 4))
    found = jax.vmap(lambda r, g: planners.refit(search, r, g, "d"), axis_name="d")(*halves)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-6), found, expected)


class Replicas:
    """The joint buffer as lists: newest last, every sample once."""

    def __init__(self, number, size):
        self.shared, self.own = [], [[] for _ in range(number)]
        self.size = size

    def record(self, samples):
        for own, sample in zip(self.own, samples, strict=True):
            own.append(sample)

    def pool(self):
        # Of equal age, what the first environment saw counts as newer.
        newest = max(map(len, self.own))
        joint = [own[t] for t in range(newest) for own in reversed(self.own)]
        self.shared = (self.shared + joint)[-self.size :]
        self.own = [[] for _ in self.own]


@pytest.mark.parametrize("size", [6, 20])
def test_environments_share_the_newest_samples_of_all(size):
    num, rng = 3, np.random.default_rng(0)
    memory = jax.vmap(lambda _: saez.init(7, size))(jnp.arange(num))
    shared, model = jnp.zeros((), jnp.int32), Replicas(num, size)
    record = jax.vmap(lambda state, income: saez.record(state, income, income / 1000))
    for episode in range(4):
        for _ in range(1 + episode % 2):
            incomes = rng.normal(size=(num, 1)).astype(np.float32)
            memory = record(memory, jnp.asarray(incomes))
            model.record(incomes[:, 0].tolist())
        memory, shared = pool(memory, shared)
        model.pool()
        count = int(shared)
        assert count == len(model.shared)
        assert memory.count.tolist() == [count] * num
        for incomes, rates in zip(memory.incomes, memory.marginal_rates, strict=True):
            np.testing.assert_allclose(incomes[:count], model.shared, rtol=1e-6)
            np.testing.assert_allclose(rates[:count], np.array(model.shared) / 1000, rtol=1e-5)
