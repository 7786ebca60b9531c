"""Proximal policy optimisation on the core: one policy's update, and a single-actor learner.

Schulman et al. 2017 (arXiv 1707.06347). :func:`update_policy` improves one policy from one batch
and is what multi-policy systems call once per policy; :func:`make_ppo` closes the loop over one
environment. Axes: T time, B environments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ai_econ_jax import advantages, losses, optimizers
from ai_econ_jax.environment import Environment
from ai_econ_jax.rollout import (
    EnvironmentBatch,
    Trajectory,
    global_indices,
    init_batch,
    rollout,
)

Metrics = dict[str, jax.Array]

# apply(params, observation [..., ...]) -> (distribution over actions [...], value f32[...])
Apply = Callable[[Any, Any], tuple[Any, jax.Array]]


@struct.dataclass
class Hyperparameters:
    """What a researcher sweeps; leaves are traced, so that one program is vmapped over them."""

    learning_rate: Any = 2.5e-4
    gamma: Any = 0.99  # discount per step
    lambda_: Any = 0.95  # GAE
    clip: Any = 0.2  # of the probability ratio
    value_coefficient: Any = 0.5  # on (1/2)(V - R)^2
    value_clip: Any = 0.2  # of the value's change, in units of return; inf switches it off
    entropy_coefficient: Any = 0.01
    max_gradient_norm: Any = 0.5


@dataclasses.dataclass(frozen=True)
class BatchConfig:
    """The static shape of learning."""

    num_environments: int = 4  # B, over all devices
    num_steps: int = 128  # T, per environment and update
    num_epochs: int = 4
    num_minibatches: int = 4  # per epoch
    shuffle_blocks: int = 4  # B is cut into this many blocks, each shuffled by itself
    schedule: str = "linear"  # of the learning rate: constant or linear (to 0)
    normalize_advantages: bool = True  # in each minibatch


@struct.dataclass
class PolicyState:
    """What an optimiser step changes."""

    params: Any
    optimizer_state: Any


@struct.dataclass
class Batch:
    """What a policy learns from; leaves are ``[T, B, ...]``."""

    observation: Any
    action: Any
    log_prob: jax.Array  # f32, under the policy that acted
    value: jax.Array  # f32, under the critic that acted
    advantage: jax.Array  # f32
    target: jax.Array  # f32, of the value
    mask: jax.Array | None = None  # f32, 1 where the sample counts; None: everywhere


def make_optimizer(
    hyperparameters: Hyperparameters, config: BatchConfig, num_updates: int
) -> optax.GradientTransformation:
    """Adam with the configured schedule over ``num_updates`` updates."""
    steps = num_updates * config.num_epochs * config.num_minibatches
    rate = optimizers.learning_rate_schedule(config.schedule, hyperparameters.learning_rate, steps)
    return optimizers.adam(rate, hyperparameters.max_gradient_norm)


def shuffle_into_minibatches(
    key: jax.Array, batch: Any, config: BatchConfig, axis_name: str | None = None
) -> Any:
    """Cut leaves ``[T, B, ...]`` into ``[num_minibatches, T * B / num_minibatches, ...]``.

    The environments are cut into blocks of fixed size, and every minibatch takes an equal share of
    each block, drawn without replacement. A block never crosses devices, so any number of devices
    that divides ``shuffle_blocks`` builds the same minibatches.
    """
    num_steps, num_environments = jax.tree.leaves(batch)[0].shape[:2]
    if config.num_minibatches == 1:  # the order within a minibatch does not matter
        return jax.tree.map(
            lambda leaf: leaf.reshape(1, num_steps * num_environments, *leaf.shape[2:]), batch
        )
    num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    if config.shuffle_blocks % num_devices:
        raise ValueError(
            f"field shuffle_blocks = {config.shuffle_blocks}: must be a multiple of the "
            f"{num_devices} devices"
        )
    num_blocks = config.shuffle_blocks // num_devices
    block_size = num_steps * num_environments // num_blocks
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, global_indices(num_blocks, axis_name))
    order = jax.vmap(_random_order, (0, None))(keys, block_size)
    share = block_size // config.num_minibatches

    # Row b * T + t of the flattened batch is step t of environment b: a block is a run of rows.
    rows = order + block_size * jnp.arange(num_blocks)[:, None]
    rows = rows.reshape(num_blocks, config.num_minibatches, share)
    rows = rows.swapaxes(0, 1).reshape(config.num_minibatches, num_blocks * share)

    def take(leaf: jax.Array) -> jax.Array:
        flat = leaf.swapaxes(0, 1).reshape(num_steps * num_environments, *leaf.shape[2:])
        return flat[rows]

    return jax.tree.map(take, batch)


def _random_order(key: jax.Array, size: int) -> jax.Array:
    """A random permutation of ``arange(size)``.

    Small ones sort one array of random numbers whose lowest bits are the index: a quarter of the
    cost of ``jax.random.permutation``, which carries the indices beside the numbers. At least 22
    bits are random; two numbers that agree in them (in one order of 128 out of 4000) keep their
    order.
    """
    index_bits = (size - 1).bit_length()
    if index_bits > 10:
        return jax.random.permutation(key, size)
    high_bits = jax.random.bits(key, (size,), jnp.uint32) >> index_bits << index_bits
    packed = jnp.sort(high_bits | jnp.arange(size, dtype=jnp.uint32))
    return (packed & ((1 << index_bits) - 1)).astype(jnp.int32)


def policy_loss(
    params: Any,
    apply: Apply,
    batch: Batch,
    hyperparameters: Hyperparameters,
    normalize_advantages: bool,
    axis_name: str | None,
) -> tuple[jax.Array, Metrics]:
    """PPO's loss on one minibatch, and its metrics; the same on every device of ``axis_name``."""
    distribution, value = apply(params, batch.observation)
    log_prob = distribution.log_prob(batch.action)
    advantage = batch.advantage
    if normalize_advantages:
        advantage = advantages.standardize(advantage, batch.mask, axis_name)
    surrogate = losses.ppo_clip_loss(log_prob, batch.log_prob, advantage, hyperparameters.clip)
    value_error = losses.value_loss(value, batch.target, batch.value, hyperparameters.value_clip)
    entropy = distribution.entropy()
    total = (
        surrogate
        + 0.5 * hyperparameters.value_coefficient * value_error
        - hyperparameters.entropy_coefficient * entropy
    )
    metrics = {
        "policy_loss": surrogate,
        "value_loss": value_error,
        "entropy": entropy,
        "approximate_kl": losses.kl_k3(batch.log_prob, log_prob),
        "clip_fraction": losses.outside_clip(log_prob, batch.log_prob, hyperparameters.clip),
    }

    def mean(x: jax.Array) -> jax.Array:
        return losses.masked_mean(x, batch.mask, axis_name)

    return mean(total), jax.tree.map(mean, metrics)


def update_policy(
    key: jax.Array,
    state: PolicyState,
    batch: Batch,
    apply: Apply,
    optimizer: optax.GradientTransformation,
    hyperparameters: Hyperparameters,
    config: BatchConfig,
    axis_name: str | None = None,
) -> tuple[PolicyState, Metrics]:
    """Improve one policy: ``num_epochs`` passes over ``batch`` in shuffled minibatches.

    Returns the new state and the metrics of :func:`policy_loss`, averaged over minibatches.
    """
    gradient = jax.grad(policy_loss, has_aux=True)

    def minibatch_step(state: PolicyState, minibatch: Batch) -> tuple[PolicyState, Metrics]:
        with jax.named_scope("gradient"):  # names for profiles
            grads, metrics = gradient(
                state.params,
                apply,
                minibatch,
                hyperparameters,
                config.normalize_advantages,
                axis_name,
            )
        if axis_name is not None:
            # The loss is that of the whole minibatch, so its gradient is the mean of the shards'.
            grads = jax.lax.pmean(grads, axis_name)
        updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return PolicyState(params=params, optimizer_state=optimizer_state), metrics

    def epoch(state: PolicyState, key: jax.Array) -> tuple[PolicyState, Metrics]:
        with jax.named_scope("shuffle"):
            minibatches = shuffle_into_minibatches(key, batch, config, axis_name)
        return jax.lax.scan(minibatch_step, state, minibatches)

    state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, config.num_epochs))
    return state, jax.tree.map(jnp.mean, metrics)


@struct.dataclass
class PPOState:
    """All that the next update reads. ``environments`` is sharded over devices, the rest is not."""

    policy: PolicyState
    environments: EnvironmentBatch
    hyperparameters: Hyperparameters
    env_params: Any
    key: jax.Array
    num_updates: jax.Array  # i32[], done so far


class Learner(NamedTuple):
    """The learner contract: two pure functions.

    ``init(key, ...) -> state`` and ``update(state, axis_name=None) -> (state, metrics)``.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Metrics]]


def make_ppo(
    environment: Environment,
    network: Any,
    distribution: Callable[[Any, Any], Any],
    config: BatchConfig,
    num_updates: int,
) -> Learner:
    """PPO for one actor with a feed-forward policy.

    Args:
      environment: auto-resetting.
      network: a Flax module; ``apply(params, observation) -> (logits, value)``, and methods
        ``logits`` and ``value`` that return one of the two.
      distribution: ``(logits, observation) -> distrax distribution`` over actions.
      config: static shape of learning.
      num_updates: after which the learning-rate schedule ends.

    Returns:
      ``init(key, hyperparameters, env_params)`` and ``update(state, axis_name=None)``.
    """
    validate_batch(config)

    def apply(params: Any, observation: Any) -> tuple[Any, jax.Array]:
        logits, value = network.apply(params, observation)
        return distribution(logits, observation), value

    def init(key: jax.Array, hyperparameters: Hyperparameters, env_params: Any) -> PPOState:
        network_key, reset_key, key = jax.random.split(key, 3)
        environments = init_batch(reset_key, environment, env_params, config.num_environments)
        params = network.init(network_key, environments.observation)
        optimizer = make_optimizer(hyperparameters, config, num_updates)
        return PPOState(
            policy=PolicyState(params=params, optimizer_state=optimizer.init(params)),
            environments=environments,
            hyperparameters=hyperparameters,
            env_params=env_params,
            key=key,
            num_updates=jnp.zeros((), jnp.int32),
        )

    def update(state: PPOState, axis_name: str | None = None) -> tuple[PPOState, Metrics]:
        hyperparameters = state.hyperparameters
        params = state.policy.params
        key, rollout_key, shuffle_key = jax.random.split(state.key, 3)

        def act(keys: jax.Array, carry: Any, observation: Any, first: jax.Array) -> Any:
            logits = network.apply(params, observation, method="logits")
            choice = distribution(logits, observation)
            action, log_prob = jax.vmap(lambda d, k: d.sample_and_log_prob(seed=k))(choice, keys)
            return carry, action, log_prob

        environments, trajectory = rollout(
            rollout_key,
            act,
            environment,
            state.env_params,
            state.environments,
            config.num_steps,
            keep_final_observation=True,
            axis_name=axis_name,
        )
        # The critic is not needed to act: two large batches are faster than T small ones.
        value = network.apply(params, trajectory.observation, method="value")
        next_value = network.apply(params, trajectory.final_observation, method="value")
        advantage, target = advantages.generalized_advantage_estimation(
            trajectory.reward,
            value,
            next_value,
            trajectory.terminated,
            trajectory.truncated,
            hyperparameters.gamma,
            hyperparameters.lambda_,
        )
        batch = Batch(
            observation=trajectory.observation,
            action=trajectory.action,
            log_prob=trajectory.extras,
            value=value,
            advantage=advantage,
            target=target,
        )
        policy, metrics = update_policy(
            shuffle_key,
            state.policy,
            batch,
            apply,
            make_optimizer(hyperparameters, config, num_updates),
            hyperparameters,
            config,
            axis_name,
        )
        metrics |= episode_metrics(trajectory, axis_name)
        state = dataclasses.replace(
            state,
            policy=policy,
            environments=environments,
            key=key,
            num_updates=state.num_updates + 1,
        )
        return state, metrics

    return Learner(init, update)


def episode_metrics(trajectory: Trajectory, axis_name: str | None = None) -> Metrics:
    """Mean return and length of the episodes that ended in ``trajectory``, and how many did.

    The means are 0 where none ended; weigh them by ``episodes``.
    """
    done = trajectory.terminated | trajectory.truncated
    sums = {
        "episodes": jnp.sum(done),
        "episode_return": jnp.sum(jnp.where(done, trajectory.episode_return, 0.0)),
        "episode_length": jnp.sum(jnp.where(done, trajectory.episode_length, 0)),
    }
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    count = jnp.maximum(sums["episodes"], 1)
    return {
        "episodes": sums["episodes"].astype(jnp.float32),
        "episode_return": sums["episode_return"] / count,
        "episode_length": sums["episode_length"] / count,
    }


def validate_batch(config: BatchConfig) -> None:
    """Check that environments, blocks and minibatches divide.

    Raises:
      ValueError: naming the field, its value and what is allowed.
    """
    if config.num_environments % config.shuffle_blocks:
        raise ValueError(
            f"field num_environments = {config.num_environments}: must be a multiple of "
            f"shuffle_blocks = {config.shuffle_blocks}"
        )
    block_size = config.num_steps * config.num_environments // config.shuffle_blocks
    if block_size % config.num_minibatches:
        raise ValueError(
            f"field num_minibatches = {config.num_minibatches}: must divide the "
            f"{block_size} samples of a shuffle block"
        )
