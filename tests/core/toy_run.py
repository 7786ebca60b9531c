"""A toy launcher for the tests: a noisy linear regression, long enough to be killed."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import optax
from absl import flags
from flax import struct

from ai_econ_jax import cli, loop, workdir

WORKDIR = flags.DEFINE_string("workdir", None, "Where to write.", required=True)


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    num_updates: int = 200
    updates_per_segment: int = 5
    learning_rate: float = 0.01

    def validate(self) -> None:
        from ai_econ_jax import config

        config.check_positive("learning_rate", self.learning_rate)


@struct.dataclass
class ToyState:
    key: jax.Array  # key[], typed
    weights: jax.Array  # f32[8]
    moments: optax.OptState
    step: jax.Array  # i32[]


def init(key: jax.Array, learning_rate: float) -> ToyState:
    weights = jnp.zeros(8)
    return ToyState(key, weights, optax.adam(learning_rate).init(weights), jnp.int32(0))


def update(state: ToyState, learning_rate: float) -> tuple[ToyState, dict[str, jax.Array]]:
    key, data_key = jax.random.split(state.key)
    x = jax.random.normal(data_key, (16, 8))

    def loss(weights):
        return jnp.mean((x @ (weights - 1.0)) ** 2)

    value, gradient = jax.value_and_grad(loss)(state.weights)
    change, moments = optax.adam(learning_rate).update(gradient, state.moments)
    weights = optax.apply_updates(state.weights, change)
    return ToyState(key, weights, moments, state.step + 1), {"loss": value, "step": state.step}


def main(config: ToyConfig) -> None:
    toy_update = update
    if os.environ.get("TOY_FORGETS_ITS_KEY"):  # what a learner with state outside its state does
        fresh = jax.random.key(int.from_bytes(os.urandom(3)))

        def toy_update(state, rate):
            new, metrics = update(state.replace(key=jax.random.fold_in(fresh, state.step)), rate)
            return new, metrics

    with workdir.open_workdir(WORKDIR.value, config) as directory:
        state = loop.train(
            lambda state: toy_update(state, config.learning_rate),
            init(jax.random.key(0), config.learning_rate),
            num_updates=config.num_updates,
            updates_per_segment=config.updates_per_segment,
            workdir=directory,
        )
        workdir.write_summary(directory, {"final_step": state.step})


if __name__ == "__main__":
    cli.run_app(main, {"default": ToyConfig()})
