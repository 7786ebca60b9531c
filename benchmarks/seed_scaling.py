"""Wall time of one-step training for many vmapped seeds against one, in one run.

Compilation is excluded; the two take turns, and the median of the ratios counts. The bar: 64 seeds
cost at most 16 times one seed.

    python benchmarks/seed_scaling.py [--seeds=64] [--updates=300] [--repeats=3] [--json=FILE]
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags

import ai_econ_jax  # noqa: F401  # sets NPROC before jax starts
from ai_econ_jax.agents.ai_economist.experiment import build_economy
from ai_econ_jax.agents.ai_economist.presets import PRESETS
from ai_econ_jax.agents.ai_economist.two_level import TwoLevel
from ai_econ_jax.envs.one_step_economy.environment import OneStepEconomy, one_step_params

FLAGS = flags.FLAGS


def training(seeds: int, updates: int) -> Callable[[], Any]:
    """Compile ``updates`` updates of the default preset over ``seeds`` seeds."""
    config = PRESETS["quick"]
    economy = build_economy(config.economy)
    learner = TwoLevel(config.learning, OneStepEconomy(config.rate_step), economy)
    params = one_step_params(economy)
    keys = jax.random.split(jax.random.key(0), seeds)
    states = jax.jit(jax.vmap(learner.init, (0, None)))(keys, params)

    def run(states: Any) -> Any:
        return jax.lax.scan(
            lambda s, _: (jax.vmap(learner.update)(s)[0], None), states, None, updates
        )[0]

    program = jax.jit(run).lower(states).compile()
    return lambda: jax.block_until_ready(program(states))


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(argv: list[str]) -> None:
    del argv
    one, many = (training(seeds, FLAGS.updates) for seeds in (1, FLAGS.seeds))
    for run in (one, many):
        run()
    pairs = [(seconds(one), seconds(many)) for _ in range(FLAGS.repeats)]
    ratio = statistics.median(b / a for a, b in pairs)
    per_update = [
        1e3 * statistics.median(column) / FLAGS.updates for column in zip(*pairs, strict=True)
    ]
    print(f"1 seed: {per_update[0]:.2f} ms per update; {FLAGS.seeds}: {per_update[1]:.2f} ms")
    print(f"{FLAGS.seeds} seeds cost {ratio:.1f} times one seed")
    if FLAGS.json:
        figures = {
            "milliseconds_per_update/seeds1": per_update[0],
            f"milliseconds_per_update/seeds{FLAGS.seeds}": per_update[1],
            f"cost_ratio/seeds{FLAGS.seeds}": ratio,
        }
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    flags.DEFINE_integer("seeds", 64, "Number of vmapped seeds.", lower_bound=2)
    flags.DEFINE_integer("updates", 300, "Updates in one timed run.", lower_bound=1)
    flags.DEFINE_integer("repeats", 3, "Timed rounds.", lower_bound=1)
    flags.DEFINE_string("json", None, "Write the figures to this file.")
    app.run(main)
