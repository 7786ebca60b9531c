"""The log against the books: what a step changed must follow from the events that it logged."""

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params, recorder
from ai_econ_jax.envs.gather_trade_build.episode_log import ASK, BID, EpisodeLog


def per_step(log, steps, workers, values):
    """Sums of ``values`` by step and worker, f[T, N]."""
    totals = np.zeros((log.num_steps + 1, log.num_workers))
    np.add.at(totals, (steps, workers), values)
    return totals[1:]


def built_by(log):
    """Houses built by step and worker."""
    flat = log.house_owner.reshape(log.num_steps + 1, -1)
    step, cell = np.nonzero(flat[1:] != flat[:-1])
    return per_step(log, step + 1, flat[step + 1, cell], 1)


def test_coin_changes_by_houses_trades_and_taxes_only(episode):
    log = episode
    sold = per_step(log, log.trade_step, log.trade_seller, log.trade_price)
    bought = per_step(log, log.trade_step, log.trade_buyer, log.trade_price)
    expected = built_by(log) * log.build_payment + sold - bought
    expected[log.year_step - 1] += log.year_lump_sum[:, None] - log.year_paid
    np.testing.assert_allclose(np.diff(log.total_coin, axis=0), expected, atol=1e-3)


def test_units_change_by_gathering_houses_and_trades_only(episode):
    log = episode
    owned = np.diff(log.inventory + log.escrow, axis=0)
    for kind in range(2):
        of_kind = log.trade_resource == kind
        step, buyer, seller = (
            array[of_kind] for array in (log.trade_step, log.trade_buyer, log.trade_seller)
        )
        traded = per_step(log, step, buyer, 1) - per_step(log, step, seller, 1)
        gathered = owned[..., kind] - traded + built_by(log)
        assert set(np.unique(gathered)) <= {0, 1, 2}  # the bonus doubles a unit
        row, column = np.moveaxis(log.location[1:], -1, 0)
        before = log.resources[np.arange(log.num_steps)[:, None], kind, row, column]
        np.testing.assert_array_equal(gathered > 0, before > 0)


def test_escrow_is_what_open_orders_hold(episode):
    bids = np.where(episode.order_side == BID, episode.order_price, 0).sum((1, 3))
    np.testing.assert_allclose(episode.escrow_coin, bids, atol=1e-4)
    asks = (episode.order_side == ASK).sum(3)
    np.testing.assert_array_equal(episode.escrow, np.moveaxis(asks, 1, -1))


def test_tax_years_end_on_tax_days_and_give_back_what_they_take(episode, small_world):
    _, params = small_world
    log = episode
    np.testing.assert_array_equal(log.year_step, [30, 60, 90])
    np.testing.assert_allclose(log.year_paid.sum(1), 4 * log.year_lump_sum, rtol=1e-5)
    widths = np.append(np.diff(params.cutoffs), np.inf)
    inside = np.clip(log.year_income[..., None] - params.cutoffs, 0, widths)
    due = (log.year_rates[:, None] * inside).sum(-1)
    assert (log.year_paid <= due + 1e-4).all()
    starts = np.concatenate([[0], log.year_step[:-1]])
    gained = built_by(log) * log.build_payment
    trades = per_step(log, log.trade_step, log.trade_seller, log.trade_price)
    trades -= per_step(log, log.trade_step, log.trade_buyer, log.trade_price)
    for year, (start, end) in enumerate(zip(starts, log.year_step, strict=True)):
        np.testing.assert_allclose(
            log.year_income[year], (gained + trades)[start:end].sum(0), atol=1e-3
        )


def test_actions_give_the_logged_states_again(episode, small_world):
    """The masks are obeyed, so each action of kind "ask Wood" and so on leaves its trace."""
    log = episode
    is_build = log.worker_actions[..., 0] == 1
    np.testing.assert_array_equal(is_build, built_by(log) > 0)
    created = (log.worker_actions[..., 0] >= 2) & (log.worker_actions[..., 0] < 46)
    step = np.arange(1, log.num_steps + 1)[:, None, None, None]
    still_open = ((log.order_birth[1:] == step) & (log.order_side[1:] > 0)).sum((1, 3))
    assert (still_open <= created).all()


def test_static_fields_are_those_of_the_world(episode, small_world):
    environment, params = small_world
    np.testing.assert_array_equal(episode.water, environment.world.water)
    np.testing.assert_array_equal(episode.sources, environment.world.source > 0)
    np.testing.assert_allclose(episode.cutoffs, params.cutoffs)
    assert episode.worker_names.tolist() == [f"worker {i}" for i in range(4)]
    assert episode.resource_names.tolist() == ["Stone", "Wood"]
    assert episode.configuration["layout"] == "quadrant_8x8_4each_8clump"
    assert episode.configuration["policy"] == "uniform over unmasked actions"


def test_the_same_key_gives_the_same_log_and_another_one_another(episode, small_world):
    environment, params = small_world
    again = recorder.record_episode(jax.random.key(11), environment, params)
    other = recorder.record_episode(jax.random.key(5), environment, params)
    np.testing.assert_array_equal(again.location, episode.location)
    assert not np.array_equal(other.location, episode.location)


def test_episodes_of_a_vmapped_scan_become_logs(small_world):
    """A learner's rollout: capture under vmap and scan, one log for each environment."""
    environment, params = small_world
    keys = jax.random.split(jax.random.key(8), 2)
    down = PerRole(workers=jnp.full((2, 4), 49), planner=jnp.zeros((2, 7), jnp.int32))

    @jax.jit
    def play(keys):
        first, _ = jax.vmap(environment.reset, (0, None))(keys, params)

        def step(states, keys):
            states, _ = jax.vmap(environment.step, (0, 0, 0, None))(keys, states, down, params)
            return states, (jax.vmap(recorder.capture)(states), down)

        steps = jax.vmap(jax.random.split, (0, None), 1)(keys, 5)
        return first, *jax.lax.scan(step, first, steps)[1]

    first, frames, actions = play(keys)
    for i in range(2):
        one = jax.tree.map(lambda array, i=i: array[i], first)
        many, acts = jax.tree.map(lambda array, i=i: array[:, i], (frames, actions))
        names = ["Ada", "Béla", "Chen", "Dee"]
        log = recorder.make_log(environment, params, one, many, acts, worker_names=names)
        assert isinstance(log, EpisodeLog) and log.num_steps == 5
        assert log.worker_names.tolist() == names
        np.testing.assert_array_equal(log.location[0], first.location[i])
        np.testing.assert_array_equal(log.location[-1], frames.location[-1, i])
        assert not np.array_equal(log.location[-1], log.location[0])


def test_a_policy_of_ones_own_and_six_actions_per_worker_and_no_tax_are_recorded():
    config = Config(
        layout="quadrant_8x8_4each_8clump",
        num_workers=2,
        fixed_four=False,
        episode_length=20,
        multi_action=True,
        components=("build", "trade", "gather"),
    )
    environment = GatherTradeBuild(config)
    params = make_params(config, tax_period=10, starting_coin=20.0)

    def second_idles(key, observation):
        drawn = recorder.uniform_policy(environment)(key, observation)
        return PerRole(workers=drawn.workers.at[1].set(0), planner=drawn.planner)

    log = recorder.record_episode(
        jax.random.key(1), environment, params, second_idles, about={"policy": "second idles"}
    )
    assert log.worker_actions.shape == (20, 2, 6)
    assert (log.worker_actions[:, 0, [1, 3, 5]].max(0) > 0).all()  # bids and moves
    assert not log.worker_actions[:, 1].any()
    moved = np.diff(log.location, axis=0).any((0, 2))
    assert moved.tolist() == [True, False]
    assert log.year_step.size == log.year_paid.size == 0
    assert log.configuration["policy"] == "second idles"
