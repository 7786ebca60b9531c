"""Episodes of trained policies, nobody learning: what workers did, earned, paid and owned.

Axes: S seeds, E episodes, T steps, N workers, Y tax years, K brackets.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ai_econ_jax.agents.ai_economist.gather_trade_build.learner import TwoLevel
from ai_econ_jax.agents.ai_economist.gather_trade_build.planners import Search
from ai_econ_jax.agents.ai_economist.gather_trade_build.state import State
from ai_econ_jax.agents.ai_economist.gather_trade_build.training import Trained
from ai_econ_jax.envs.economy import welfare
from ai_econ_jax.envs.gather_trade_build import State as WorldState
from ai_econ_jax.envs.gather_trade_build import recorder
from ai_econ_jax.envs.gather_trade_build.episode_log import EpisodeLog
from ai_econ_jax.envs.gather_trade_build.rewards import evaluate as evaluate_state

# Of the draws of evaluation episodes; every tax model meets the same.
_KEY = 4332


@struct.dataclass
class Episodes:
    """Finished episodes, leaves [S, E, ...]; workers ascend by what a house pays them."""

    payment: Any  # [N], coin per house
    coin: Any  # [N], at the end, after tax
    labor: Any  # [N]
    utility: Any  # [N], at full labor cost
    houses: Any  # [N]
    gathered: Any  # [N, 2]
    sold: Any  # [N, 2], units
    bought: Any  # [N, 2], units
    tax_paid: Any  # [N], coin
    lump_sum: Any  # [], coin that each got back
    rates: Any  # [Y, K], marginal rates of each tax year

    @property
    def income(self) -> Any:
        """[N], coin before taxes and lump sums."""
        return self.coin + self.tax_paid - self.lump_sum[..., None]

    def welfare(self, gini_mode: str) -> dict[str, np.ndarray]:
        """Every welfare function, f64[S, E]; both coin and income are the endowment (spec 2.1)."""
        functions = welfare.all_welfare(self.coin, self.coin, self.utility, gini_mode)
        return {name: np.asarray(value, np.float64) for name, value in functions.items()}

    def equality(self, gini_mode: str) -> np.ndarray:
        """One minus the Gini index of coin, f64[S, E]."""
        return np.asarray(welfare.equality(jnp.asarray(self.coin), gini_mode), np.float64)


class Evaluation(NamedTuple):
    """What one stage came to."""

    episodes: Episodes  # NumPy leaves [S, E, ...]
    log: EpisodeLog  # of the first episode of the first seed


def evaluate(trained: Trained, num_episodes: int, tax_period: int) -> Evaluation:
    """Plays ``num_episodes`` for each seed, with actions drawn from the policies as in training.

    Saez' samples and the progress of curricula are taken over from training, the searched schedule
    is the mean of its law, and labor has its full cost.
    """
    play = functools.partial(_play, trained.learner, num_episodes, tax_period)
    played, first, frames, actions = jax.device_get(jax.jit(jax.vmap(play))(trained.states))
    of_seed = jax.tree.map(lambda leaf: leaf[0], (first, frames, actions))
    params = jax.tree.map(lambda leaf: leaf[0], trained.states).env_params
    log = recorder.make_log(
        trained.learner.environment, params, *of_seed, about={"tax": trained.lane.name}
    )
    return Evaluation(played, log)


def _play(learner: TwoLevel, num_episodes: int, tax_period: int, state: State) -> Any:
    """One seed: episodes [E, ...]; the first state, frames and actions of the first episode."""
    environment = learner.environment
    params = dataclasses.replace(state.env_params, warmup_constant=jnp.zeros(()))
    reset_key, key = jax.random.split(jax.random.key(_KEY))
    batch = jax.tree.map(lambda leaf: leaf[:num_episodes], state.environments)
    restart = jax.vmap(environment.restart, (0, 0, None))
    reset_keys = jax.random.split(reset_key, num_episodes)
    world_states, begin = restart(reset_keys, batch.state, params)
    carries = jax.tree.map(jnp.zeros_like, batch.policy_carry)
    batch = dataclasses.replace(
        batch,
        state=world_states,
        observation=begin.observation,
        first=jnp.ones(num_episodes, bool),
        policy_carry=carries,
    )
    if isinstance(state.planner, Search):
        settled = dataclasses.replace(
            state.planner, deviation=jnp.zeros_like(state.planner.deviation)
        )
        state = dataclasses.replace(state, planner=settled)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, Any]:
        batch, totals = carry
        policy_key, step_key = jax.random.split(key)
        policy_keys = jax.random.split(policy_key, num_episodes)
        carries, action, _ = learner.act(
            state, policy_keys, batch.policy_carry, batch.observation, batch.first
        )
        step_keys = jax.random.split(step_key, num_episodes)
        world_states, after = jax.vmap(environment.step, (0, 0, 0, None))(
            step_keys, batch.state, action, params
        )
        totals = jax.tree.map(jnp.add, totals, jax.vmap(_events)(world_states))
        batch = dataclasses.replace(
            batch,
            state=world_states,
            observation=after.observation,
            first=jnp.zeros_like(batch.first),
            policy_carry=carries,
        )
        first_episode = jax.tree.map(lambda leaf: leaf[0], (world_states, action))
        frame = recorder.capture(first_episode[0])
        return (batch, totals), (frame, first_episode[1], world_states.rates)

    def run(carry: tuple, key: jax.Array) -> tuple[tuple, Any]:
        batch, totals = carry
        plan_key, key = jax.random.split(key)
        plan_keys = jax.random.split(plan_key, num_episodes)
        batch, _ = learner.plan(plan_keys, dataclasses.replace(state, environments=batch))
        return jax.lax.scan(step, (batch, totals), jax.random.split(key, learner.config.unroll))

    num_runs = environment.config.episode_length // learner.config.unroll
    totals = jax.tree.map(jnp.zeros_like, jax.vmap(_events)(world_states))
    (batch, totals), (frames, actions, rates) = jax.lax.scan(
        run, (batch, totals), jax.random.split(key, num_runs)
    )
    frames, actions, rates = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (frames, actions, rates)
    )
    final = batch.state
    utility = jax.vmap(lambda state: evaluate_state(state, params, environment.world)[0])(final)
    owner = jax.nn.one_hot(final.house_owner, learner.num_workers, dtype=jnp.float32)
    episodes = Episodes(
        payment=final.build_payment,
        coin=final.total_coin,
        labor=final.labor,
        utility=utility,
        houses=jnp.sum(owner, axis=(1, 2)),
        rates=rates[::tax_period].swapaxes(0, 1),
        **totals,
    )
    order = jnp.argsort(final.build_payment, axis=-1)
    per_worker = {
        field.name: jax.vmap(lambda leaf, order: leaf[order])(getattr(episodes, field.name), order)
        for field in dataclasses.fields(Episodes)
        if field.name not in ("rates", "lump_sum")
    }
    first = jax.tree.map(lambda leaf: leaf[0], world_states)
    return dataclasses.replace(episodes, **per_worker), first, frames, actions


def _events(state: WorldState) -> dict[str, jax.Array]:
    """What the last step adds to an episode's totals."""
    events = state.events
    num_workers = state.coin.shape[0]
    filled = events.trade_price >= 0  # [2, N, slots], of the buyers
    seller = jax.nn.one_hot(jnp.where(filled, events.trade_seller, -1), num_workers)
    return {
        "gathered": events.gathered.astype(jnp.float32),
        "sold": jnp.sum(seller, axis=(1, 2)).T,
        "bought": jnp.sum(filled, axis=2, dtype=jnp.float32).T,
        "tax_paid": events.tax_paid,
        "lump_sum": events.lump_sum,
    }


def most_skilled_builds_most(episodes: Episodes) -> np.ndarray:
    """Share of episodes in which the most skilled worker builds more than any other, f64[S]."""
    houses = np.asarray(episodes.houses)
    return (houses[..., -1] > houses[..., :-1].max(-1)).astype(np.float64).mean(-1)


def mean_utility(episodes: Episodes) -> np.ndarray:
    """Over workers and episodes, f64[S]."""
    return np.asarray(episodes.utility, np.float64).mean((1, 2))
