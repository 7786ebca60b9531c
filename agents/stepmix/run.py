"""One algorithm on one problem, over many seeds at once: plan, select, score exactly, act, count.

The whole run is one compiled program, called in segments so that the host can show progress. Every
executed policy is scored by dynamic programming under the true transitions, inside the program;
totals are exact, whatever the curves leave out. Spec sections 2.8 and 2.9.

Axes: T points of the curves, H steps, X next states, S states, A actions, B seeds, always last.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix import compiler, confidence
from ai_econ_jax.agents.stepmix import world as world_lib
from ai_econ_jax.agents.stepmix.confidence import Sizes
from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.plan import KnownProblem, known_problem, plan
from ai_econ_jax.agents.stepmix.select import ALGORITHMS, Limits, credited
from ai_econ_jax.agents.stepmix.world import World
from ai_econ_jax.envs.tabular.mdp import TabularMDP
from ai_econ_jax.envs.tabular.problem import ProblemError

# Replanned after every episode, whatever the config says: this is when most is learned.
FIRST_EPISODES = 200
LAST_EPISODES = 1000  # over which the final gap is averaged
_SEGMENTS = 100
TOLERANCE = 1e-6  # of a value, per step: a violation is V(pi) < gamma - tolerance


@struct.dataclass
class Score:
    """What is known exactly of the episodes so far. All fields are [B].

    Attributes:
      regret: f, sum of V* - V(pi_k).
      second_half: f, the same over the second half of the episodes.
      last: f, the same over the last thousand.
      lost: f[3, B], what rounding has kept out of those three sums (Kahan).
      violations: i32, episodes with V(pi_k) < gamma.
      drawn_violations: i32, likewise, where an episode's policy is drawn, of the policy drawn.
      broken_certificates: i32, episodes in which V* - V(pi_k) exceeds what the algorithm's own
        bounds allow.
      worst_gap: f, the largest V* - V(pi_k).
      leave: i32, first episode whose policy was not the baseline, or -1.
      full: i32, first episode whose policy was the optimistic one, or -1.
      gap: f, V* - V(pi_k) of the latest episode, as are the next three.
      level: f, steps given to the baseline.
      upper: f, upper bound of V*.
      guaranteed: f, the algorithm's lower bound of V(pi_k).
    """

    regret: jax.Array
    second_half: jax.Array
    last: jax.Array
    lost: jax.Array
    violations: jax.Array
    drawn_violations: jax.Array
    broken_certificates: jax.Array
    worst_gap: jax.Array
    leave: jax.Array
    full: jax.Array
    gap: jax.Array
    level: jax.Array
    upper: jax.Array
    guaranteed: jax.Array


@struct.dataclass
class State:
    """A run between two blocks of episodes.

    Attributes:
      episode: i32[], how many have been played.
      transitions: f[H or 1, X, S, A, B], counts; one step where they are pooled over steps.
      slack: f[B], see `select.Limits`.
      score: The score so far.
      policy: f[H, S, A, B], of the latest episode.
      share: f[B], chance with which that policy is played instead of the baseline.
    """

    episode: jax.Array
    transitions: jax.Array
    slack: jax.Array
    score: Score
    policy: jax.Array
    share: jax.Array


@dataclasses.dataclass(frozen=True)
class Trace:
    """Result of a run, per seed. Episodes count from 0, values are in rewards of [0, 1].

    Attributes:
      episode: i64[T], episodes played by each point of the curves.
      curves: Name to f32[T, B]: cumulative ``regret`` and ``violations``, and of the policy being
        played ``gap``, ``level``, ``upper``, ``guaranteed``.
      regret: f64[B].
      second_half_regret: f64[B], of the second half of the episodes.
      last_gap: f64[B], mean V* - V(pi_k) over the last 1,000 episodes.
      violations: i64[B], episodes whose policy was worth less than gamma.
      drawn_violations: i64[B], the same of the policy drawn, where one is drawn per episode.
      broken_certificates: i64[B], see `Score`.
      shortfall: f64[B], the largest gamma - V(pi_k); negative is the smallest margin.
      leave: i64[B], first episode away from the baseline, -1 for never.
      full: i64[B], first fully optimistic episode, -1 for never.
      transitions: f[H or 1, X, S, A, B], final counts; None of a learner that keeps none.
      seconds: Wall-clock seconds without compilation.
      policies: f[T, H, S, A, B] and
      shares: f[T, B], the policies played at each point, if they were asked for.
    """

    episode: np.ndarray
    curves: dict[str, np.ndarray]
    regret: np.ndarray
    second_half_regret: np.ndarray
    last_gap: np.ndarray
    violations: np.ndarray
    drawn_violations: np.ndarray
    broken_certificates: np.ndarray
    shortfall: np.ndarray
    leave: np.ndarray
    full: np.ndarray
    transitions: jax.Array | np.ndarray | None
    seconds: float
    policies: np.ndarray | None = None
    shares: np.ndarray | None = None


CURVES = ("regret", "violations", "gap", "level", "upper", "guaranteed")


@struct.dataclass
class _Limits:
    """Constants of a run that do not change the program: scalars, float64 on the host."""

    gamma: np.float64 | jax.Array
    baseline_value: np.float64 | jax.Array
    allowed_gap: np.float64 | jax.Array
    tolerance: np.float64 | jax.Array
    episodes: np.int32 | jax.Array


@dataclasses.dataclass(frozen=True)
class _Program:
    """What the program is compiled for."""

    algorithm: str
    bonus: str
    sizes: Sizes
    block: int
    baseline_value_known: bool
    log_policies: bool


def run(
    algorithm: str,
    mdp: TabularMDP,
    baseline: np.ndarray | jax.Array,
    gamma: float,
    keys: jax.Array,
    config: RunConfig,
    *,
    initial_transitions: np.ndarray | None = None,
    log_policies: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Trace:
    """Runs an algorithm.

    Args:
      algorithm: A name of `select.ALGORITHMS`.
      mdp: The problem. Constants such as V* are computed in float64 from its arrays, so load it in
        64-bit mode for the last digits; the run itself is in JAX's default precision.
      baseline: f[H, S, A], the policy that is known to be worth gamma.
      gamma: What every episode must be worth, in rewards of [0, 1].
      keys: key[B], one per seed.
      config: How to run.
      initial_transitions: f[H or 1, X, S, A], counts to begin with; none by default.
      log_policies: Whether to keep the policies played at the points of the curves.
      on_progress: Called with the number of episodes played, after each segment.

    Returns:
      The trace. Each seed's is what it would be alone, up to rounding.

    Raises:
      ConfigError: An unknown algorithm, or a field of the config that is not what it must be.
      ProblemError: The baseline is worth less than gamma.
    """
    config_lib.check_one_of("algorithm", algorithm, tuple(ALGORITHMS))
    config_lib.validate(config)
    transition, reward, initial, baseline = (
        np.asarray(x, np.float64) for x in (mdp.transition, mdp.reward, mdp.initial, baseline)
    )
    world = world_lib.make_world(transition, reward, initial, baseline)
    known = known_problem(reward, initial, baseline)
    limits = _limits(world, gamma, reward.shape[0], config.episodes)
    kappa = float(limits.baseline_value) - gamma
    if kappa < -limits.tolerance:
        raise ProblemError(f"kappa = {kappa:.6g}: baseline does not satisfy gamma = {gamma:.6g}")
    if initial_transitions is None:
        steps = 1 if config.stationary else reward.shape[0]
        initial_transitions = np.zeros((steps, reward.shape[1], *reward.shape[1:]))
    state = _initial_state(reward.shape, initial_transitions, len(keys))
    episodes, logs, seconds, advance = [0], [], 0.0, _compiled_advance()
    for block, blocks in _phases(config.episodes, config.replan_every, config.log_points):
        program = _program(algorithm, config, reward.shape, block, log_policies)
        fixed = world, known, limits, keys
        parts = _segments(blocks)
        state, _ = advance(program, state, *fixed, np.zeros_like(parts[0]))  # compiles, plays none
        for part in parts:
            started = time.perf_counter()
            state, log = jax.block_until_ready(advance(program, state, *fixed, part))
            seconds += time.perf_counter() - started
            filled = part > 0
            logs.append(jax.tree.map(lambda x, filled=filled: np.asarray(x)[filled], log))
            episodes += list(episodes[-1] + block * np.cumsum(part[filled]))
            if on_progress is not None:
                on_progress(min(episodes[-1], config.episodes))
    points = jax.tree.map(lambda *parts: np.concatenate(parts), *logs)
    return _trace(state, limits, np.minimum(episodes[1:], config.episodes), points, seconds)


def _limits(world: World, gamma: float, horizon: int, episodes: int) -> _Limits:
    tolerance = TOLERANCE * horizon
    return _Limits(
        gamma=np.float64(gamma),
        baseline_value=world.optimal_value - world.baseline_gap,
        allowed_gap=world.optimal_value - gamma + tolerance,
        tolerance=np.float64(tolerance),
        episodes=np.int32(episodes),
    )


def _phases(episodes: int, replan_every: int, log_points: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (episodes per block, i32[T] blocks up to each point of the curves) of each phase."""
    first = min(FIRST_EPISODES, episodes) if replan_every > 1 else 0
    spacing = -(-episodes // log_points)
    for block, length in ((1, first), (replan_every, episodes - first)):
        if length:
            total, every = -(-length // block), -(-spacing // block)
            ends = np.append(np.arange(every, total, every), total)
            yield block, np.diff(ends, prepend=0).astype(np.int32)


def _segments(blocks: np.ndarray) -> list[np.ndarray]:
    """Cuts i32[T] into parts of one length, so that one program serves all; zeros fill the last."""
    length = -(-len(blocks) // _SEGMENTS)
    padded = np.pad(blocks, (0, -len(blocks) % length))
    return list(padded.reshape(-1, length))


def _program(
    algorithm: str, config: RunConfig, shape: tuple[int, ...], block: int, log_policies: bool
) -> _Program:
    horizon, num_states, num_actions = shape
    cells = num_states * num_actions * (1 if config.stationary else horizon)
    return _Program(
        algorithm=algorithm,
        bonus=ALGORITHMS[algorithm].bonus or config.bonus,
        sizes=Sizes(cells, num_states, horizon, config.delta, config.bonus_scale),
        block=block,
        baseline_value_known=config.baseline_value_known,
        log_policies=log_policies,
    )


def _initial_state(shape: tuple[int, ...], transitions: np.ndarray, seeds: int) -> State:
    zeros, none = jnp.zeros(seeds), jnp.zeros(seeds, jnp.int32)
    counts = np.broadcast_to(np.asarray(transitions)[..., None], (*transitions.shape, seeds))
    # One buffer each: the program that takes the state reuses its memory.
    score = Score(
        **{name: zeros.copy() for name in ("regret", "second_half", "last", "gap", "level")},
        **{name: zeros.copy() for name in ("upper", "guaranteed")},
        **{name: none.copy() for name in ("violations", "drawn_violations", "broken_certificates")},
        **{name: none - 1 for name in ("leave", "full")},
        lost=jnp.zeros((3, seeds)),
        worst_gap=zeros - jnp.inf,
    )
    return State(
        episode=jnp.zeros((), jnp.int32),
        transitions=jnp.array(counts, zeros.dtype),
        slack=zeros.copy(),
        score=score,
        policy=jnp.zeros((*shape, seeds)),
        share=zeros.copy(),
    )


@functools.cache
def _compiled_advance() -> Callable:
    options = compiler.options()
    return jax.jit(_advance, static_argnums=0, donate_argnums=1, compiler_options=options)


def _advance(
    program: _Program,
    state: State,
    world: World,
    known: KnownProblem,
    limits: _Limits,
    keys: jax.Array,
    blocks: jax.Array,
) -> tuple[State, dict[str, jax.Array]]:
    """Plays ``blocks`` i32[T] blocks up to each of T points; returns what is logged there."""
    bonus = confidence.PRESETS[program.bonus](program.sizes)
    limits = jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(state.slack.dtype), limits
    )

    def play(_, state):
        return _block(program, bonus, state, world, known, limits, keys)

    def to_point(state, count):
        state = jax.lax.fori_loop(0, count, play, state)
        log = {name: getattr(state.score, name) for name in CURVES}
        if program.log_policies:
            log |= {"policies": state.policy, "shares": state.share}
        return state, log

    return jax.lax.scan(to_point, state, blocks)


def _block(
    program: _Program,
    bonus: confidence.ConfidenceSet,
    state: State,
    world: World,
    known: KnownProblem,
    limits: _Limits,
    keys: jax.Array,
) -> State:
    """Plans once and plays a block of episodes."""
    algorithm = ALGORITHMS[program.algorithm]
    horizon = program.sizes.horizon
    live = jnp.clip(limits.episodes - state.episode, 0, program.block)
    select_limits = Limits(
        gamma=jnp.asarray(limits.gamma),
        baseline_value=jnp.asarray(limits.baseline_value),
        slack=state.slack,
        episodes=live.astype(state.slack.dtype),
    )
    policy, upper = known.baseline[..., None], jnp.full_like(state.slack, horizon)
    lowers = jnp.zeros((0, *state.slack.shape))
    if algorithm.plans:
        rungs = algorithm.rungs(horizon)
        policy, upper, lowers = plan(bonus, known, state.transitions, rungs)
        if program.baseline_value_known and horizon in rungs:
            lowers = lowers.at[-1].set(limits.baseline_value)
    choice = algorithm.select(lowers, select_limits, horizon)
    weight = choice.baseline_weight[:, None, None]
    policy = weight * known.baseline[..., None] + (1 - weight) * policy

    noise = world_lib.draw(keys, state.episode, program.block, horizon)
    share = choice.share if algorithm.mixes_episodes else None
    counted = jnp.arange(program.block) < live
    transitions, played = world_lib.roll_out(
        world, policy, share, noise, counted, state.transitions
    )
    own_gap = world_lib.gap_of(world, known.initial, policy)
    drawn = (played & counted[:, None]).sum(0)
    slack = state.slack
    if program.algorithm == "budget":
        slack += live * (credited(lowers, choice, select_limits) - limits.gamma)
    return State(
        episode=state.episode + live,
        transitions=transitions,
        slack=slack,
        score=_score(
            state.score, state.episode, live, drawn, own_gap, choice, upper, world, limits
        ),
        policy=policy,
        share=choice.share,
    )


def _score(score, episode, live, drawn, own_gap, choice, upper, world, limits) -> Score:
    """Adds a block of ``live`` episodes from ``episode`` on, ``drawn`` of them by the policy."""
    horizon = len(choice.baseline_weight)
    gap = choice.share * own_gap + (1 - choice.share) * world.baseline_gap.astype(own_gap.dtype)
    end, total = episode + live, limits.episodes
    counts = [live] + [
        jnp.clip(end - jnp.maximum(episode, start), 0)
        for start in (total // 2, jnp.maximum(total - LAST_EPISODES, 0))
    ]
    sums = jnp.stack([score.regret, score.second_half, score.last])
    sums, lost = _add(sums, score.lost, jnp.stack([count * gap for count in counts]))

    def first(known, now):
        return jnp.where((known < 0) & now & (live > 0), episode, known)

    certificate = upper - choice.guaranteed + limits.tolerance
    return Score(
        regret=sums[0],
        second_half=sums[1],
        last=sums[2],
        lost=lost,
        violations=score.violations + live * (gap > limits.allowed_gap),
        drawn_violations=score.drawn_violations + drawn * (own_gap > limits.allowed_gap),
        broken_certificates=score.broken_certificates + live * (gap > certificate),
        worst_gap=jnp.where(live > 0, jnp.maximum(score.worst_gap, gap), score.worst_gap),
        leave=first(score.leave, choice.level < horizon),
        full=first(score.full, choice.level == 0),
        gap=gap,
        level=choice.level,
        upper=upper,
        guaranteed=choice.guaranteed,
    )


def _add(total: jax.Array, lost: jax.Array, term: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kahan's sum: float32 would drop digits of a term once the total is a million times it."""
    term = term - lost
    larger = total + term
    return larger, (larger - total) - term


def _trace(state: State, limits: _Limits, episode, points, seconds: float) -> Trace:
    score = jax.tree.map(
        lambda x: np.asarray(x, np.float64 if x.dtype.kind == "f" else np.int64), state.score
    )
    sums = np.stack([score.regret, score.second_half, score.last]) - score.lost
    total = int(limits.episodes)
    return Trace(
        episode=np.asarray(episode),
        curves={name: points[name] for name in CURVES},
        regret=sums[0],
        second_half_regret=sums[1],
        last_gap=sums[2] / min(total, LAST_EPISODES),
        violations=score.violations,
        drawn_violations=score.drawn_violations,
        broken_certificates=score.broken_certificates,
        shortfall=score.worst_gap - (float(limits.allowed_gap) - float(limits.tolerance)),
        leave=score.leave,
        full=score.full,
        transitions=state.transitions,
        seconds=seconds,
        policies=points.get("policies"),
        shares=points.get("shares"),
    )
