"""Policies of the two roles as functions: what they read, how they act, how they are trained on.

Axes: T time, B environments, N workers, H heads of the planner.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.agents.ai_economist.gather_trade_build.networks import (
    Inputs,
    RoleCarry,
    RoleNetwork,
    TowerConfig,
)
from ai_econ_jax.distributions import (
    MultiHeadCategorical,
    masked_categorical,
    sample_by_inverse_cdf,
)
from ai_econ_jax.envs.gather_trade_build import (
    GatherTradeBuild,
    PlannerObservation,
    WorkerObservation,
)
from ai_econ_jax.envs.gather_trade_build.actions import planner_sizes, worker_sizes
from ai_econ_jax.envs.gather_trade_build.observation import (
    planner_feature_names,
    worker_feature_names,
)


@struct.dataclass
class Judgement:
    """What the policy and the critic thought when an action was drawn, ``[B, ...]``."""

    log_prob: jax.Array  # of the action
    value: jax.Array  # of the observation


@struct.dataclass
class Sequences:
    """What a role is trained on: runs of steps, leaves ``[R, L, ...]`` and a carry ``[R, ...]``."""

    inputs: Inputs
    first: jax.Array  # bool[R, L]
    carry: RoleCarry  # before the first step


@dataclasses.dataclass(frozen=True)
class WorkerRole:
    """The workers' side. With ``shared`` one policy plays all, else parameters are [N, ...]."""

    environment: GatherTradeBuild
    tower: TowerConfig
    shared: bool

    @property
    def network(self) -> RoleNetwork:
        """The network of one worker."""
        config = self.environment.config
        return RoleNetwork(self.tower, worker_sizes(config)[0], config.num_workers + 2)

    def inputs(self, observation: WorkerObservation) -> Inputs:
        """What the network reads, ``[..., N, ...]``."""
        time = worker_feature_names(self.environment.world).index("time")
        flat = observation.flat
        return Inputs(
            map=observation.map,
            index_map=observation.index_map,
            flat=jnp.concatenate([flat, flat[..., time : time + 1]], axis=-1),
            action_mask=observation.action_mask,
        )

    def init(self, key: jax.Array, observation: WorkerObservation) -> Any:
        """Parameters; ``observation`` is that of one environment."""
        first = jax.tree.map(lambda leaf: leaf[:1, None], self.inputs(observation))  # one worker

        def init(key: jax.Array) -> Any:
            return self.network.init(key, self.init_carry((1,)), first, jnp.zeros((1, 1), bool))

        if self.shared:
            return init(key)
        return jax.vmap(init)(jax.random.split(key, self.environment.config.num_workers))

    def init_carry(self, shape: tuple[int, ...]) -> RoleCarry:
        """Empty memories."""
        empty = jnp.zeros((*shape, self.tower.carry_width))
        return RoleCarry(policy=empty, value=empty)

    def apply(
        self, params: Any, carry: RoleCarry, inputs: Inputs, first: jax.Array
    ) -> tuple[RoleCarry, jax.Array, jax.Array]:
        """Carry, logits [T, B, N, A] and values [T, B, N] of all workers.

        Args:
          params: Parameters.
          carry: f32[B, N, carry width] each.
          inputs: Leaves [T, B, N, ...].
          first: bool[T, B].
        """
        first = jnp.broadcast_to(first[..., None], (*first.shape, carry.policy.shape[1]))
        apply: Any = self.network.apply
        if not self.shared:
            apply = jax.vmap(apply, in_axes=(0, 1, 2, 2), out_axes=(1, 2, 2))
        outputs: Any = apply(params, carry, inputs, first)
        return outputs

    def act(
        self, params: Any, keys: jax.Array, carry: RoleCarry, inputs: Inputs, first: jax.Array
    ) -> tuple[RoleCarry, jax.Array, Judgement]:
        """Draw actions i32[B, N]; inputs [B, N, ...], first bool[B].

        The critic speaks here too: a pass of its own over stored maps costs more than acting does.

        Returns:
          The carry, the actions, and what is to be remembered of them, f32[B, N].
        """
        now = jax.tree.map(lambda leaf: leaf[None], inputs)
        carry, logits, value = self.apply(params, carry, now, first[None])
        distribution = masked_categorical(logits[0], inputs.action_mask)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, inputs.flat.shape[1:2]))(keys)
        action = sample_by_inverse_cdf(uniform, distribution.logits)
        return carry, action, Judgement(distribution.log_prob(action), value[0])

    def value_now(
        self, params: Any, carry: RoleCarry, observation: Any, first: jax.Array
    ) -> jax.Array:
        """Values f32[B, ...] of one observation [B, ...]; first bool[B]."""
        return _value_now(self, params, carry, observation, first)

    def train_apply(self, params: Any, sequences: Sequences) -> tuple[Any, jax.Array]:
        """Distribution [R, L] and value f32[R, L] of rows of one worker each, for ``ppo``."""
        return train_apply(self.network, params, sequences, masked_categorical)


@dataclasses.dataclass(frozen=True)
class PlannerRole:
    """The planner's side."""

    environment: GatherTradeBuild
    tower: TowerConfig

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """Choices of each head."""
        return planner_sizes(self.environment.world)

    @property
    def network(self) -> RoleNetwork:
        """The network."""
        num_codes = self.environment.config.num_workers + 2
        return RoleNetwork(self.tower, sum(self.head_sizes), num_codes)

    def inputs(self, observation: PlannerObservation) -> Inputs:
        """What the network reads, ``[...]``."""
        time = planner_feature_names(self.environment.world).index("time")
        flat, each = observation.flat, observation.per_worker
        parts = [flat, each.reshape(*each.shape[:-2], -1), flat[..., time : time + 1]]
        return Inputs(
            map=observation.map,
            index_map=observation.index_map,
            flat=jnp.concatenate(parts, axis=-1),
            action_mask=observation.action_mask,
        )

    def init(self, key: jax.Array, observation: PlannerObservation) -> Any:
        """Parameters; ``observation`` is that of one environment."""
        first = jax.tree.map(lambda leaf: leaf[None, None], self.inputs(observation))
        return self.network.init(key, self.init_carry((1,)), first, jnp.zeros((1, 1), bool))

    def init_carry(self, shape: tuple[int, ...]) -> RoleCarry:
        """Empty memories."""
        empty = jnp.zeros((*shape, self.tower.carry_width))
        return RoleCarry(policy=empty, value=empty)

    def apply(
        self, params: Any, carry: RoleCarry, inputs: Inputs, first: jax.Array
    ) -> tuple[RoleCarry, jax.Array, jax.Array]:
        """Carry f32[B, ...] each, logits [T, B, ...], values [T, B]; first bool[T, B]."""
        outputs: Any = self.network.apply(params, carry, inputs, first)
        return outputs

    def act(
        self, params: Any, keys: jax.Array, carry: RoleCarry, inputs: Inputs, first: jax.Array
    ) -> tuple[RoleCarry, jax.Array, Judgement]:
        """Draw actions i32[B, H]; as ``WorkerRole.act``."""
        now = jax.tree.map(lambda leaf: leaf[None], inputs)
        carry, logits, value = self.apply(params, carry, now, first[None])
        heads = self.distribution(logits[0], inputs.action_mask)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (len(self.head_sizes),)))(keys)
        action = sample_by_inverse_cdf(uniform, heads.distribution.logits)
        return carry, action, Judgement(heads.log_prob(action), value[0])

    def distribution(self, logits: jax.Array, mask: jax.Array) -> MultiHeadCategorical:
        """Independent heads; log-probability and entropy are sums over them."""
        return MultiHeadCategorical(logits, self.head_sizes, mask)

    def value_now(
        self, params: Any, carry: RoleCarry, observation: Any, first: jax.Array
    ) -> jax.Array:
        """Values f32[B, ...] of one observation [B, ...]; first bool[B]."""
        return _value_now(self, params, carry, observation, first)

    def train_apply(self, params: Any, sequences: Sequences) -> tuple[Any, jax.Array]:
        """Distribution [R, L] and value f32[R, L], for ``ppo``."""
        return train_apply(self.network, params, sequences, self.distribution)


def _value_now(
    role: Any, params: Any, carry: RoleCarry, observation: Any, first: jax.Array
) -> jax.Array:
    now = jax.tree.map(lambda leaf: leaf[None], (role.inputs(observation), first))
    return role.apply(params, carry, *now)[2][0]


def train_apply(
    network: RoleNetwork, params: Any, sequences: Sequences, distribution: Any
) -> tuple[Any, jax.Array]:
    """What ``ppo`` trains on: the distribution [R, L] over actions, and values f32[R, L].

    Args:
      network: The role's network.
      params: Its parameters.
      sequences: Rows of steps.
      distribution: ``(logits, action_mask) -> distrax distribution``.
    """
    carry, inputs, first = sequences.carry, sequences.inputs, sequences.first
    outputs: Any = network.apply(params, carry, inputs, first, time_axis=1)
    _, logits, value = outputs
    return distribution(logits, inputs.action_mask), value
