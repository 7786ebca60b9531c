"""Two-level learning, mostly watched from outside: an environment that records what is played."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.ai_economist.config import RoleConfig, TwoLevelConfig
from ai_econ_jax.agents.ai_economist.moments import ReturnMoments
from ai_econ_jax.agents.ai_economist.networks import budget_set
from ai_econ_jax.agents.ai_economist.two_level import TwoLevel
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy import equilibrium, make_params, reference_economy, respond
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, PerRole, one_step_params

MAX_HOURS, NUM_WORKERS, NUM_BRACKETS, NUM_ENVIRONMENTS = 20, 3, 3, 8
STEP = 0.25
ECONOMY = make_params([1.0, 1.0, 2.0], [0.0, 8.0, 20.0], labor_cost=0.04, max_hours=MAX_HOURS)
PARAMS = one_step_params(ECONOMY)

SMALL = RoleConfig(learning_rate=0.02, hidden=(4,), num_epochs=1, num_minibatches=1)
CONFIG = TwoLevelConfig(
    workers=SMALL,
    planner=SMALL,
    num_environments=NUM_ENVIRONMENTS,
    phase1_updates=2,
    phase2_updates=4,
    random_schedule_share=0.25,
)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These tests run tiny programs once; optimising them costs more than it saves."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@dataclasses.dataclass(frozen=True)
class Recorder(OneStepEconomy):
    """Records each schedule when it is set, and the hours that follow; may forbid long hours."""

    most_hours: int = MAX_HOURS
    schedules: list = dataclasses.field(default_factory=list, compare=False)
    plays: list = dataclasses.field(default_factory=list, compare=False)

    def reset(self, key, params):
        state, first = super().reset(key, params)
        return state, self.restrict(first)

    def step(self, key, state, action, params):
        before = state.time
        state, after = super().step(key, state, action, params)
        jax.debug.callback(self.record, before, state.rates, after.info.hours)
        return state, self.restrict(after)

    def record(self, before, rates, hours):
        if before == 0:
            self.schedules.append(np.asarray(rates))
        else:
            self.plays.append((np.asarray(rates), np.asarray(hours)))

    def restrict(self, step):
        allowed = jnp.arange(MAX_HOURS + 1) <= self.most_hours
        workers = step.observation.workers
        workers = workers.replace(action_mask=workers.action_mask & allowed)
        return step.replace(observation=step.observation.replace(workers=workers))


def recorded(update, state):
    """The next state, the metrics, and what the environments of this update played."""
    learner = update.learner
    learner.environment.schedules.clear()
    learner.environment.plays.clear()
    state, metrics = update(state)
    jax.effects_barrier()
    schedules = np.array(learner.environment.schedules)
    return state, metrics, schedules, list(learner.environment.plays)


def compiled(learner):
    update = functools.partial(jax.jit(chex.assert_max_traces(learner.update, n=1)))
    update.learner = learner
    return update


def at(state, num_updates):
    return dataclasses.replace(state, num_updates=jnp.int32(num_updates))


def certain(state, choice):
    """A state whose planner is sure of one choice in every bracket."""
    params = state.planner.policy.params
    last = max(params["params"]["policy"])
    num_choices = round(1 / STEP) + 2
    chosen = jnp.arange(num_choices * NUM_BRACKETS) % num_choices == choice
    bias = jnp.where(chosen, jnp.float32(40), 0)
    tower = params["params"]["policy"]
    tower = {**tower, last: {**tower[last], "bias": bias}}
    params = {"params": {**params["params"], "policy": tower}}
    policy = dataclasses.replace(state.planner.policy, params=params)
    return dataclasses.replace(state, planner=dataclasses.replace(state.planner, policy=policy))


# Exact workers. The tax cap starts at 0.5 in phase 2, and only the first episode's labor is free.


@pytest.fixture(scope="module")
def exact():
    config = dataclasses.replace(
        CONFIG,
        worker_kind="exact",
        labor_warmup_episodes=0.01,
        tax_cap_warmup=-2.0,
        tax_cap_slope=0.25,
    )
    learner = TwoLevel(config, Recorder(STEP), ECONOMY)
    return compiled(learner), jax.jit(learner.init)(jax.random.key(0), PARAMS)


CHOOSE_ONE, CHOOSE_HALF = 5, 3  # choices of rates 1 and 0.5, on a grid of quarters


def test_exact_workers_play_their_best_response(exact):
    update, state = exact
    _, metrics, _, plays = recorded(update, at(state, 1))
    assert len(plays) == NUM_ENVIRONMENTS
    best = jax.jit(lambda rates: respond(ECONOMY, rates).hours)
    for rates, hours in plays:
        np.testing.assert_array_equal(hours, best(rates))
    assert len({tuple(hours) for _, hours in plays}) > 2
    np.testing.assert_allclose(metrics["hours"], np.mean([h for _, h in plays]), rtol=1e-5)


@pytest.mark.parametrize("num_updates", [0, 1])
def test_in_phase_1_every_schedule_is_random_and_the_tax_cap_does_not_bind(exact, num_updates):
    update, state = exact
    state = at(certain(state, CHOOSE_HALF), num_updates)
    schedules = np.concatenate(
        [
            recorded(update, dataclasses.replace(state, key=key))[2]
            for key in jax.random.split(jax.random.key(1), 4)
        ]
    )
    assert schedules.shape == (4 * NUM_ENVIRONMENTS, NUM_BRACKETS)
    assert not (schedules == 0.5).all(-1).any()
    values, counts = np.unique(schedules, return_counts=True)
    np.testing.assert_allclose(values, np.arange(5) * STEP)
    assert counts.min() > 8  # of 96 draws of 5 rates


def test_in_phase_2_exactly_the_configured_share_of_schedules_is_random(exact):
    """A quarter of 8 environments; the planner is sure of rate 0.5 everywhere."""
    update, state = exact
    for seed in range(3):
        fresh = dataclasses.replace(certain(state, CHOOSE_HALF), key=jax.random.key(seed))
        after, metrics, schedules, _ = recorded(update, at(fresh, 5))
        assert (schedules == 0.5).all(-1).sum() == 6
    outcome = jax.jit(equilibrium)(ECONOMY, jnp.full(NUM_BRACKETS, 0.5))
    welfare = outcome.welfare["inverse_income_utility"]
    # The metric, and the moments that the planner's critic works in, leave out random schedules.
    np.testing.assert_allclose(metrics["welfare"], welfare, rtol=1e-5)
    np.testing.assert_allclose(after.planner.moments.mean, welfare, rtol=1e-5)
    np.testing.assert_allclose(after.planner.moments.variance, 0.0, atol=1e-6)
    assert abs(metrics["welfare_all_schedules"] - welfare) > 1e-3


def test_a_fixed_tax_model_holds_in_phase_2_only(exact):
    """Workers learn on random schedules, whatever comes after."""
    update, state = exact
    fixed = np.array([0.1, 0.3, 0.2])
    params = one_step_params(ECONOMY, fixed_rates=fixed)
    state = dataclasses.replace(state, env_params=params)
    _, _, schedules, _ = recorded(update, at(state, 5))
    np.testing.assert_allclose(schedules, [fixed] * NUM_ENVIRONMENTS, rtol=1e-6)
    _, _, schedules, _ = recorded(update, at(state, 1))
    assert len(np.unique(schedules, axis=0)) > 4
    np.testing.assert_allclose(schedules % STEP, 0)


def test_the_tax_cap_rises_in_phase_2(exact):
    update, state = exact
    state = certain(state, CHOOSE_ONE)
    for episode, cap in enumerate([0.5, 0.75, 1.0, 1.0]):
        _, _, schedules, _ = recorded(update, at(state, 2 + episode))
        assert schedules.max() <= cap
        assert (schedules == 1.0).all(-1).sum() == (6 if cap == 1.0 else 0)


def test_labor_costs_nothing_in_the_first_episode_of_a_warm_up(exact):
    update, state = exact
    _, metrics, _, plays = recorded(update, at(state, 0))
    assert all((hours == MAX_HOURS).all() for _, hours in plays)
    coin = np.mean([(hours * ECONOMY.skills).mean() for _, hours in plays])
    np.testing.assert_allclose(metrics["utility"], coin, rtol=1e-5)  # taxes come back
    _, metrics, _, _ = recorded(update, at(state, 1))
    assert metrics["hours"] < MAX_HOURS


def test_the_planner_learns_nothing_from_random_schedules(exact):
    """With every environment random, phase 2 leaves its parameters as they are."""
    config = dataclasses.replace(exact[0].learner.config, random_schedule_share=0.99)
    learner = TwoLevel(config, OneStepEconomy(STEP), ECONOMY)
    state = at(exact[1], 3)
    after, _ = jax.jit(learner.update)(state)
    chex.assert_trees_all_equal(after.planner.policy.params, state.planner.policy.params)


# Learned workers; hours above 5 are masked, and behind phase 1 they stand still.


@pytest.fixture(scope="module")
def learned():
    """All states of a run, and what was played."""
    config = dataclasses.replace(
        CONFIG, fine_tuning_rate=0.0, planner_judged_by="exploring_workers"
    )
    learner = TwoLevel(config, Recorder(STEP, most_hours=5), ECONOMY)
    update, states = compiled(learner), [jax.jit(learner.init)(jax.random.key(0), PARAMS)]
    played = []
    for _ in range(4):
        state, _, _, plays = recorded(update, states[-1])
        states.append(state)
        played += plays
    return learner, states, played


def changed(before, after):
    """Whether each leaf differs."""
    return [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ]


def test_phase_1_trains_the_workers_and_leaves_the_planner_untouched(learned):
    _, states, _ = learned
    for before, after in itertools.pairwise(states[:3]):
        chex.assert_trees_all_equal(before.planner, after.planner)  # optimiser and moments too
        assert all(changed(before.workers.policy.params, after.workers.policy.params))


def test_phase_2_trains_the_planner(learned):
    _, states, _ = learned
    for before, after in itertools.pairwise(states[2:]):
        params = before.planner.policy.params["params"], after.planner.policy.params["params"]
        # At one observation the kernels of an all-zero input row stay; biases and heads move.
        for tower in ("policy", "critic"):
            assert any(changed(params[0][tower], params[1][tower]))
        assert any(changed(before.planner.moments, after.planner.moments))


def test_fine_tuning_rate_zero_keeps_trained_workers(learned):
    _, states, _ = learned
    chex.assert_trees_all_equal(states[2].workers.policy.params, states[4].workers.policy.params)


def test_masked_hours_are_never_worked(learned):
    _, _, played = learned
    hours = np.array([hours for _, hours in played])
    assert hours.shape == (4 * NUM_ENVIRONMENTS, NUM_WORKERS)
    assert set(np.unique(hours)) == {0, 1, 2, 3, 4, 5}


def test_the_run_counts_updates_and_keys_change(learned):
    _, states, _ = learned
    assert [int(state.num_updates) for state in states] == [0, 1, 2, 3, 4]
    assert len({tuple(jax.random.key_data(state.key).tolist()) for state in states}) == 5


def test_schedule_is_the_planners_most_probable_one(learned):
    learner, states, _ = learned
    schedule = jax.jit(learner.schedule)
    rates = schedule(states[-1])
    assert rates.shape == (NUM_BRACKETS,) and rates.dtype == jnp.float32
    assert set(np.asarray(rates).tolist()) <= set((np.arange(5) * STEP).tolist())
    np.testing.assert_allclose(schedule(certain(states[-1], CHOOSE_ONE)), 1.0)
    np.testing.assert_allclose(schedule(certain(states[-1], CHOOSE_HALF)), 0.5)
    np.testing.assert_allclose(schedule(certain(states[-1], 0)), 0.0)  # keeps the rate at reset


def test_hours_have_the_range_of_the_mask_and_do_not_depend_on_the_key(learned):
    learner, states, _ = learned
    hours = jax.jit(learner.hours)
    rates = jnp.array([0.25, 0.0, 0.75])
    got = hours(states[-1], rates)
    assert got.shape == (NUM_WORKERS,) and jnp.issubdtype(got.dtype, jnp.integer)
    assert ((got >= 0) & (got <= 5)).all()
    other_key = dataclasses.replace(states[-1], key=jax.random.key(99))
    np.testing.assert_array_equal(got, hours(other_key, rates))
    assert got[0] == got[1]  # one policy, the same skill


def test_without_a_planner_the_schedule_is_the_fixed_one():
    params = one_step_params(ECONOMY, fixed_rates=[0.1, 0.3, 0.2])
    learner = TwoLevel(
        dataclasses.replace(CONFIG, worker_kind="exact"),
        OneStepEconomy(STEP),
        ECONOMY,
        has_planner=False,
    )
    state = learner.init(jax.random.key(0), params)
    assert state.planner is None and state.workers is None
    np.testing.assert_allclose(learner.schedule(state), [0.1, 0.3, 0.2])
    rates = jnp.array([0.1, 0.3, 0.2])
    np.testing.assert_array_equal(learner.hours(state, rates), respond(ECONOMY, rates).hours)


# Separate policies.


@pytest.fixture(scope="module")
def separate():
    config = dataclasses.replace(
        CONFIG, share_worker_policy=False, phase1_updates=0, fine_tuning_rate=0.0
    )
    learner = TwoLevel(config, OneStepEconomy(STEP), ECONOMY)
    state = jax.jit(learner.init)(jax.random.key(0), PARAMS)
    return learner, state, jax.jit(learner.update)(state)[0]


def test_separate_policies_start_differently_and_all_learn(separate):
    """Behind no phase 1 there is nothing to fine-tune: workers learn at the full rate."""
    _, state, after = separate
    for before, leaf in zip(
        jax.tree.leaves(state.workers.policy.params),
        jax.tree.leaves(after.workers.policy.params),
        strict=True,
    ):
        assert leaf.shape[0] == NUM_WORKERS
        if np.any(before != 0):  # not a bias
            assert len(np.unique(before.reshape(NUM_WORKERS, -1), axis=0)) == NUM_WORKERS
        assert all((before[i] != leaf[i]).any() for i in range(NUM_WORKERS))
        assert len(np.unique(leaf.reshape(NUM_WORKERS, -1), axis=0)) == NUM_WORKERS


def test_each_worker_follows_its_own_policy(separate):
    """Another network for worker 1 changes worker 1 alone, although worker 0 has the same skill."""
    learner, state, _ = separate
    rates = jnp.array([0.0, 0.0, 0.0])

    @jax.jit
    def hours(first, last):
        """Workers whose weights of hours (the last layer's biases) are first, or for 1, last."""

        def layer(path, leaf):
            if "policy" in str(path) and "Dense_1" in str(path) and "bias" in str(path):
                pushes = jnp.array([first, last, first])
                return jnp.zeros_like(leaf).at[:, 0].set(pushes)
            return leaf

        policy = state.workers.policy
        params = jax.tree_util.tree_map_with_path(layer, policy.params)
        workers = dataclasses.replace(
            state.workers, policy=dataclasses.replace(policy, params=params)
        )
        return learner.hours(dataclasses.replace(state, workers=workers), rates)

    np.testing.assert_array_equal(hours(5.0, 5.0), [MAX_HOURS] * 3)
    np.testing.assert_array_equal(hours(5.0, -5.0), [MAX_HOURS, 0, MAX_HOURS])
    np.testing.assert_array_equal(hours(-5.0, 5.0), [0, MAX_HOURS, 0])


def test_workers_are_handed_over_without_their_optimiser(separate):
    learner, _, trained = separate
    assert not learner.workers_are_trained
    assert TwoLevel(learner.config, learner.environment, ECONOMY, True, True).workers_are_trained
    init = jax.jit(learner.init)
    state = init(jax.random.key(5), PARAMS, trained.workers)
    chex.assert_trees_all_equal(state.workers.policy.params, trained.workers.policy.params)
    chex.assert_trees_all_equal(state.workers.moments, trained.workers.moments)
    fresh = init(jax.random.key(5), PARAMS, None)
    chex.assert_trees_all_equal(
        state.workers.policy.optimizer_state, fresh.workers.policy.optimizer_state
    )
    chex.assert_trees_all_equal(state.planner, fresh.planner)


# Learning.


def test_the_planner_improves_welfare_over_the_free_market():
    """Exact workers on R1, inverse-income utility: at least half of what the optimum gains."""
    economy = reference_economy("R1")
    config = TwoLevelConfig(worker_kind="exact", phase1_updates=0, phase2_updates=300)
    learner = TwoLevel(config, OneStepEconomy(), economy)

    @jax.jit
    def train(key):
        state = learner.init(key, one_step_params(economy, "inverse_income_utility"))
        state, metrics = jax.lax.scan(lambda s, _: learner.update(s), state, length=300)
        played = equilibrium(economy, learner.schedule(state))
        return played.welfare["inverse_income_utility"], metrics["welfare"]

    welfare, during = train(jax.random.key(0))
    free, optimum = 32.5120, 38.3921  # spec 6.2
    assert welfare > free + 0.5 * (optimum - free)
    assert during[-30:].mean() > during[:30].mean()


# Parts.


def test_return_moments_start_with_the_first_batch_and_then_fade():
    rng = np.random.default_rng(0)
    batches = [3.0 + 2.0 * rng.normal(size=(6, 2)) for _ in range(3)]
    moments = ReturnMoments(jnp.zeros(2), jnp.ones(2), jnp.int32(0))
    mean = variance = None
    for batch in batches:
        if mean is None:
            mean, variance = batch.mean(0), batch.var(0)
        else:
            mean = 0.99 * mean + 0.01 * batch.mean(0)
            variance = 0.99 * variance + 0.01 * batch.var(0)
        moments = moments.updated(jnp.asarray(batch, jnp.float32), None, None)
        np.testing.assert_allclose(moments.mean, mean, rtol=1e-5)
        np.testing.assert_allclose(moments.variance, variance, rtol=1e-4)
    normalized = moments.normalize(jnp.asarray(batches[0], jnp.float32))
    np.testing.assert_allclose(normalized, (batches[0] - mean) / np.sqrt(variance), rtol=1e-4)
    assert moments.num_batches == 3


def test_return_moments_ignore_masked_environments():
    returns = jnp.array([1.0, 2.0, 100.0, 6.0])
    moments = ReturnMoments(jnp.float32(0), jnp.float32(1), jnp.int32(0))
    got = moments.updated(returns, jnp.array([1.0, 1.0, 0.0, 1.0]), None)
    np.testing.assert_allclose([got.mean, got.variance], [3.0, 14 / 3], rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_return_moments_of_shards_are_those_of_the_whole(masked):
    """The shards have 3 and 1 valid returns: a mean of means would be wrong."""
    returns = jnp.asarray(np.random.default_rng(0).normal(size=8), jnp.float32)
    mask = jnp.array([1.0, 1, 1, 0, 0, 0, 1, 0]) if masked else None
    moments = ReturnMoments(jnp.float32(0), jnp.float32(1), jnp.int32(0))
    expected = moments.updated(returns, mask, None)
    shards = jax.tree.map(lambda leaf: leaf.reshape(2, 4), (returns, mask))
    got = jax.vmap(lambda r, m: moments.updated(r, m, "devices"), axis_name="devices")(*shards)
    chex.assert_trees_all_close(
        got, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), expected), rtol=1e-5
    )


def test_budget_sets_are_income_and_tax_of_every_choice_of_hours():
    """Read off the official features; in units of the income of an average worker's most hours."""
    rates = np.array([0.25, 0.75, 0.5])
    params = one_step_params(ECONOMY, fixed_rates=rates)
    environment = OneStepEconomy(STEP)
    state, _ = environment.reset(jax.random.key(0), params)
    idle = PerRole(jnp.zeros(NUM_WORKERS, jnp.int32), jnp.zeros(NUM_BRACKETS, jnp.int32))
    _, taxed = environment.step(jax.random.key(0), state, idle, params)
    got = jax.jit(budget_set)(taxed.observation.workers.features, ECONOMY)
    income = np.asarray(ECONOMY.skills)[:, None] * np.arange(MAX_HOURS + 1)
    unit = np.mean(ECONOMY.skills) * MAX_HOURS
    np.testing.assert_allclose(got.income, income / unit, rtol=1e-5)
    tax = brackets.tax_due(income, rates, ECONOMY.cutoffs)
    np.testing.assert_allclose(got.tax, tax / unit, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("worker_network", ["budget_set", "mlp"])
def test_every_worker_network_has_the_shapes_of_the_contract(worker_network, share):
    config = dataclasses.replace(CONFIG, worker_network=worker_network, share_worker_policy=share)
    learner = TwoLevel(config, OneStepEconomy(STEP), ECONOMY)

    def twice(key):
        state = learner.init(key, PARAMS)
        after, metrics = learner.update(state)
        return state, after, metrics, learner.hours(state, jnp.zeros(NUM_BRACKETS))

    before, after, metrics, hours = jax.eval_shape(twice, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    assert hours.shape == (NUM_WORKERS,)
    assert all(metric.shape == () for metric in metrics.values())


def test_sizes_that_do_not_divide_are_refused():
    config = dataclasses.replace(CONFIG, num_environments=6, shuffle_blocks=4)
    with pytest.raises(ValueError, match="num_environments = 6: must be a multiple of"):
        TwoLevel(config, OneStepEconomy(STEP), ECONOMY)
