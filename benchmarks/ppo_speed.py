"""Training throughput of our PPO against rejax's, side by side in one run.

gymnax CartPole-v1 at the field's configuration: 4 environments x 128 steps, 4 minibatches x 4
epochs, separate 64-64 tanh networks, clip 0.2, GAE(0.99, 0.95). Compilation is excluded; for each
number of seeds the two take turns and the median of ``--repeats`` rounds counts.

rejax 0.1.3 differs where its interface leaves no choice: it holds the learning rate constant and
clips gradients element-wise; both cost it no more than our schedule and global norm cost us.

    python benchmarks/ppo_speed.py [--seeds=1,8,64] [--repeats=3] [--json=FILE]
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

# First of all: it sizes the thread pool of JAX, and importing gymnax starts JAX.
import ai_econ_jax  # isort: skip  # noqa: F401
import gymnax
import jax
import rejax
from absl import app, flags
from gymnax.environments.classic_control.cartpole import CartPole

from ai_econ_jax import ppo
from ai_econ_jax.distributions import masked_categorical
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment
from ai_econ_jax.networks import ActorCritic

FLAGS = flags.FLAGS
STEPS_PER_UPDATE = 4 * 128


class FiveValueCartPole(CartPole):
    """gymnax 1.0 returns six values from ``step``; rejax 0.1.3 unpacks five."""

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any = None) -> Any:
        observation, state, reward, terminated, truncated, info = super().step(
            key, state, action, params
        )
        return observation, state, reward, terminated | truncated, info


def ours(num_updates: int) -> Any:
    environment, params = gymnax.make("CartPole-v1")
    learner = ppo.make_ppo(
        AutoReset(GymnaxEnvironment(environment)),
        ActorCritic(num_logits=2),
        lambda logits, observation: masked_categorical(logits),
        ppo.BatchConfig(),
        num_updates,
    )

    def train(key: jax.Array) -> Any:
        state = learner.init(key, ppo.Hyperparameters(), params)
        return jax.lax.scan(lambda s, _: learner.update(s), state, None, num_updates)

    return train


def theirs(num_updates: int) -> Any:
    environment = FiveValueCartPole()
    total = num_updates * STEPS_PER_UPDATE
    algorithm = rejax.get_algo("ppo").create(
        env=environment,
        env_params=environment.default_params,
        total_timesteps=total,
        eval_freq=total,
        skip_initial_evaluation=True,
        num_envs=4,
        num_steps=128,
        num_epochs=4,
        num_minibatches=4,
        learning_rate=2.5e-4,
        max_grad_norm=0.5,
        gamma=0.99,
        gae_lambda=0.95,
        clip_eps=0.2,
        ent_coef=0.01,
        vf_coef=0.5,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
    )
    # No evaluation inside the timed run.
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
    return algorithm.train


def compiled(train: Any, seeds: int) -> Any:
    keys = jax.random.split(jax.random.key(0), seeds)
    program = jax.jit(jax.vmap(train)).lower(keys).compile()
    return lambda: jax.block_until_ready(program(keys))


def measure(run: Any) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(argv: list[str]) -> None:
    del argv
    results: dict[str, float] = {}
    print(f"{'seeds':>5} {'ours steps/s':>14} {'rejax steps/s':>14} {'ratio':>6}")
    for seeds in map(int, FLAGS.seeds):
        num_updates = max(20, FLAGS.updates // seeds)
        runs = {"ours": compiled(ours(num_updates), seeds)}
        runs["rejax"] = compiled(theirs(num_updates), seeds)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run()
        for _ in range(FLAGS.repeats):
            for name, run in runs.items():
                times[name].append(measure(run))
        steps = seeds * num_updates * STEPS_PER_UPDATE
        rate = {name: steps / statistics.median(t) for name, t in times.items()}
        ratios = [b / a for a, b in zip(times["ours"], times["rejax"], strict=True)]
        ratio = statistics.median(ratios)
        print(f"{seeds:5d} {rate['ours']:14,.0f} {rate['rejax']:14,.0f} {ratio:6.2f}", flush=True)
        results |= {
            f"ours_steps_per_second/seeds{seeds}": rate["ours"],
            f"rejax_steps_per_second/seeds{seeds}": rate["rejax"],
            f"speed_ratio/seeds{seeds}": ratio,
        }
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    flags.DEFINE_list("seeds", ["1", "8", "64"], "Numbers of vmapped seeds.")
    flags.DEFINE_integer(
        "updates", 977, "PPO updates at one seed; fewer at more (977: 500k steps)."
    )
    flags.DEFINE_integer("repeats", 3, "Timed rounds.")
    flags.DEFINE_string("json", None, "Write the figures to this file.")
    app.run(main)
