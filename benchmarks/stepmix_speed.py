"""Speed of StepMix and UCBVI on this CPU, beside the UCBVI of rlberry-scool, in one run.

The two take turns on the same random problem (S = 10, A = 3, H = 10, counts per step, the same laws
at every step because theirs knows no others); rates are episodes per CPU-second by ``os.times``,
compilation excluded, medians over rounds. Ours also scores every policy exactly, theirs does not.
rlberry-scool 0.7.3 needs older packages than ours, so it runs in a Python of its own:

    python -m venv rlberry && rlberry/bin/pip install rlberry==0.7.3 rlberry-scool==0.7.3
    python benchmarks/stepmix_speed.py --rlberry_python=rlberry/bin/python [--json=FILE]

Without ``--rlberry_python`` only ours is measured. ``--scaling`` adds rates over S, A, H and seeds
and, with ``--figure``, draws them; ``--many_seeds`` times 1,024 seeds x 10,000 episodes of cliff3.
Exit code 1 if a bar is missed that this run could measure.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import ai_econ_jax  # noqa: F401  # sizes the thread pool before JAX starts
from ai_econ_jax import plotting
from ai_econ_jax.agents.stepmix.config import RunConfig
from ai_econ_jax.agents.stepmix.run import run
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.mdp import TabularMDP

FLAGS = flags.FLAGS
STATES, ACTIONS, HORIZON = 10, 3, 10
MOST_SECONDS_OF_COMPILATION = 30
MOST_SECONDS_OF_MANY_SEEDS = 600

THEIRS = """
import os, sys
import numpy as np
import rlberry
rlberry.logger.setLevel("ERROR")
from rlberry.envs import FiniteMDP
from rlberry_scool.agents.ucbvi import UCBVIAgent
given = np.load(sys.argv[1])
law = given["P"].astype(float)
law /= law.sum(-1, keepdims=True)
env = FiniteMDP(given["R"].astype(float), law, initial_state_distribution=0)
agent = UCBVIAgent(env, horizon=int(given["H"]), stage_dependent=True)
agent.fit(budget=20)  # compiles
before = sum(os.times()[:2])
agent.fit(budget=int(sys.argv[2]))
print("RATE", int(sys.argv[2]) / (sum(os.times()[:2]) - before))
"""

# Name: algorithm, preset, seeds, replan_every, episodes, baseline's support, bar times theirs.
CASES: dict[str, tuple[str, str, int, int, int, int, float]] = {
    "UCBVI, bernstein, 64 seeds": ("ucbvi", "bernstein", 64, 1, 4000, 1, 80),
    "UCBVI, bernstein, one seed": ("ucbvi", "bernstein", 1, 1, 20_000, 1, 15),
    "StepMix, bernstein, 64 seeds": ("stepmix", "bernstein", 64, 1, 1500, 1, 15),
    "StepMix, kl, replan 10, 64 seeds": ("stepmix", "kl", 64, 10, 8000, 1, 12),
    "the same, random baseline": ("stepmix", "kl", 64, 10, 8000, ACTIONS, 12),
}


def problem(states: int, actions: int, horizon: int, support: int = 1) -> tuple[TabularMDP, Any]:
    """A random problem with one law for all steps, and a baseline that mixes `support` actions."""
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(states), (states, actions))
    reward = rng.random((states, actions))
    mdp = TabularMDP(
        transition=jnp.broadcast_to(law, (horizon, *law.shape)),
        reward=jnp.broadcast_to(reward, (horizon, *reward.shape)),
        initial=jnp.eye(states)[0],
    )
    baseline = np.zeros((horizon, states, actions))
    baseline[..., :support] = rng.dirichlet(np.ones(support), (horizon, states))
    return mdp, baseline


def prepare(
    algorithm: str,
    bonus: str,
    seeds: int,
    replan_every: int,
    episodes: int,
    sizes: tuple[int, int, int],
    support: int = 1,
) -> tuple[Callable[[], tuple[float, float]], float]:
    """Compiles a run; returns a function that measures it, and the seconds of compilation.

    The function gives seed-episodes per CPU-second and per second.
    """
    mdp, baseline = problem(*sizes, support)
    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    config = RunConfig(episodes=episodes, bonus=bonus, replan_every=replan_every, log_points=200)

    def go() -> float:
        return run(algorithm, mdp, baseline, 0.1 * sizes[2], keys, config).seconds

    started = time.perf_counter()
    seconds = go()
    compilation = time.perf_counter() - started - seconds

    def measure() -> tuple[float, float]:
        before = sum(os.times()[:2])
        seconds = go()
        return seeds * episodes / (sum(os.times()[:2]) - before), seeds * episodes / seconds

    return measure, compilation


def theirs(directory: str) -> float:
    """Episodes per CPU-second of rlberry-scool's UCBVI."""
    mdp, _ = problem(STATES, ACTIONS, HORIZON)
    path = os.path.join(directory, "problem.npz")
    np.savez(path, P=mdp.transition[0], R=mdp.reward[0], H=HORIZON)
    command = [FLAGS.rlberry_python, "-c", THEIRS, path, "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RATE"))
    return float(line.split()[1])


def side_by_side(directory: str) -> dict[str, Any]:
    compiled = {
        name: (*prepare(*case[:5], (STATES, ACTIONS, HORIZON), case[5]), case[6])
        for name, case in CASES.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in compiled}
    reference = []
    for _ in range(FLAGS.rounds):
        if FLAGS.rlberry_python:
            reference.append(theirs(directory))
        for name, (measure, _, _) in compiled.items():
            rates[name].append(measure()[0])
    result: dict[str, Any] = {}
    base = statistics.median(reference) if reference else float("nan")
    if reference:
        result["rlberry-scool UCBVI"] = base
        print(f"rlberry-scool UCBVI: {base:,.0f} episodes per CPU-second {np.round(reference)}")
    for name, (_, compilation, bar) in compiled.items():
        rate = statistics.median(rates[name])
        # Without theirs the ratio is nan, which misses nothing.
        met = not rate / base < bar and compilation <= MOST_SECONDS_OF_COMPILATION
        result[name] = {"rate": rate, "ratio": rate / base, "bar": bar, "compile": compilation}
        result[name]["met"] = met
        print(
            f"{'ok  ' if met else 'MISS'} {name}: {rate:,.0f} episodes per CPU-second, "
            f"{rate / base:.0f}x (bar {bar:g}x), compiled in {compilation:.1f} s "
            f"(bar {MOST_SECONDS_OF_COMPILATION} s)",
            flush=True,
        )
    return result


def many_seeds() -> dict[str, Any]:
    """1,024 seeds x 10,000 episodes of StepMix on cliff3, replanning every episode."""
    given = suite.load("cliff3")
    assert given.baseline is not None
    keys = jax.vmap(jax.random.key)(np.arange(1024))
    before, started = sum(os.times()[:2]), time.perf_counter()
    config = RunConfig(episodes=10_000, log_points=200)
    trace = run("stepmix", given.mdp, given.baseline, 0.9 * 2.353846875, keys, config)
    seconds, cpu = time.perf_counter() - started, sum(os.times()[:2]) - before
    violations = int(trace.violations.sum())
    met = seconds <= MOST_SECONDS_OF_MANY_SEEDS and violations == 0
    print(
        f"{'ok  ' if met else 'MISS'} 1,024 seeds x 10,000 episodes of StepMix on cliff3: "
        f"{seconds:.0f} s (bar {MOST_SECONDS_OF_MANY_SEEDS} s), {cpu:.0f} CPU-s, compilation "
        f"included; violating episodes: {violations} (bar 0)",
        flush=True,
    )
    return {"seconds": seconds, "cpu_seconds": cpu, "violations": violations, "met": met}


def scaling() -> dict[str, dict[str, dict[int, float]]]:
    """Microseconds of CPU per episode over each size, the others held."""
    axes = {"S": (3, 5, 10, 20, 40), "A": (2, 3, 6, 12), "H": (2, 5, 10, 20, 40)}
    results: dict[str, dict[str, dict[int, float]]] = {}
    for name, (algorithm, bonus, every) in {
        "UCBVI, bernstein": ("ucbvi", "bernstein", 1),
        "StepMix, kl, replan 10": ("stepmix", "kl", 10),
    }.items():
        results[name] = {}
        for axis, sizes in {**axes, "seeds": (1, 8, 64, 512)}.items():
            results[name][axis] = {}
            for size in sizes:
                shape = {"S": STATES, "A": ACTIONS, "H": HORIZON} | {axis: size}
                seeds = size if axis == "seeds" else 64
                dims = shape["S"], shape["A"], shape["H"]
                episodes = 800 if seeds > 8 else 2000
                measure, _ = prepare(algorithm, bonus, seeds, every, episodes, dims)
                results[name][axis][size] = 1e6 / measure()[0]
                print(f"{name}, {axis} = {size}: {results[name][axis][size]:.2f} us", flush=True)
    return results


def draw(results: dict[str, dict[str, dict[int, float]]], path: str) -> None:
    with plotting.figure(path, columns=4, panel=(2.9, 2.8)) as (_, axes):
        for panel, axis in zip(axes[0], ("S", "A", "H", "seeds"), strict=True):
            for name, rows in results.items():
                panel.plot(list(rows[axis]), list(rows[axis].values()), "o-", label=name)
            panel.set(xscale="log", yscale="log", xlabel=axis)
            panel.set_xticks(list(rows[axis]), [str(size) for size in rows[axis]])
            panel.minorticks_off()
        axes[0, 0].set_ylabel("CPU time per episode [µs]")
        axes[0, 0].legend(fontsize=8)


def main(argv: list[str]) -> None:
    del argv
    result: dict[str, Any] = {}
    met = []
    if FLAGS.compare:
        with tempfile.TemporaryDirectory() as directory:
            rows = result["episodes per CPU-second"] = side_by_side(directory)
        met += [row["met"] for row in rows.values() if isinstance(row, dict)]
    if FLAGS.many_seeds:
        row = result["1,024 seeds of cliff3"] = many_seeds()
        met.append(row["met"])
    if FLAGS.scaling:
        result["microseconds of CPU per episode"] = scaling()
        if FLAGS.figure:
            draw(result["microseconds of CPU per episode"], FLAGS.figure)
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
    sys.exit(not all(met))


if __name__ == "__main__":
    flags.DEFINE_string("rlberry_python", None, "A Python that has rlberry-scool.")
    flags.DEFINE_integer("rounds", 3, "Turns of each.", lower_bound=1)
    flags.DEFINE_bool("compare", True, "Measure the cases of the bars.")
    flags.DEFINE_bool("many_seeds", False, "Time 1,024 seeds of cliff3.")
    flags.DEFINE_bool("scaling", False, "Measure over S, A, H and seeds.")
    flags.DEFINE_string("figure", None, "PNG of the scaling.")
    flags.DEFINE_string("json", None, "Write the figures to this file.")
    app.run(main)
