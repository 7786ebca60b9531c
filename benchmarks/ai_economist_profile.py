"""Speed of two-level learning in gather-trade-build, and what takes the time, from XLA's own trace.

    python benchmarks/ai_economist_profile.py                        # both kinds of networks
    python benchmarks/ai_economist_profile.py --networks=light --json=FILE --no-official

A train step is what the launcher compiles: a rollout and the update of the workers' policy in the
free market, one seed. ``light`` is preset quick with one epoch, the batch, map and episodes of that
preset; ``paper`` is the published networks, hyper-parameters and batch (30 environments, 200 steps,
25 x 25 cells). ``speedup`` is environment steps per second over those of the official environment's
bare ``step`` in the same run, random actions, no learning there.

Shares are of the summed time of XLA's operations in a trace of whole train steps; an operation
belongs to the innermost named part of the program that it was compiled from. All cores are used:
environments are split over as many virtual CPU devices, one thread each.
"""

import argparse
import collections
import dataclasses
import glob
import gzip
import json
import os
import re
import tempfile
import time

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"

import gtb_speed
import jax

from ai_econ_jax import config as config_lib
from ai_econ_jax import devices, sharding
from ai_econ_jax.agents.ai_economist.gather_trade_build import experiment, training
from ai_econ_jax.agents.ai_economist.gather_trade_build.presets import PRESETS

PARTS = ("environment", "act", "shuffle", "gradient")
_INSTRUCTION = re.compile(r"%?([\w.-]+) = .*metadata=\{[^}]*op_name=\"([^\"]*)\"")


def config_of(networks: str) -> experiment.ExperimentConfig:
    """What is timed, for one seed."""
    name = {"light": "quick", "paper": "paper_full"}[networks]
    config = config_lib.replace_fields(PRESETS[name], {"num_seeds": 1})
    if networks == "light":
        return config_lib.replace_fields(config, {"learning.workers.num_epochs": 1})
    # Rows of 30 environments and 4 workers: minibatches of 1,500 samples are 60 rows of 25 steps.
    return config_lib.replace_fields(config, {"learning.shuffle_blocks": 2})


def measure(config: experiment.ExperimentConfig, seconds: float) -> dict[str, float]:
    """Environment steps per second, seconds of compiling, and each part's share of the time."""
    lane = training.free_market(config)
    learner = experiment.build_learner(config, lane, 1)
    params = experiment.build_params(config, learner.environment, lane, 1)
    states = experiment.init_states(config, learner, params, 1)
    update, states = sharding.over_devices(
        lambda states, axis: jax.vmap(lambda state: learner.update(state, axis))(states),
        states,
        training.state_specs(),
    )
    started = time.perf_counter()
    compiled = jax.jit(update, donate_argnums=0).lower(states).compile()
    compile_seconds = time.perf_counter() - started
    states, _ = jax.block_until_ready(compiled(states))
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or calls < 2:
        states, _ = jax.block_until_ready(compiled(states))
        calls += 1
    elapsed = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory, create_perfetto_trace=True):
            for _ in range(2):
                states, _ = jax.block_until_ready(compiled(states))
        shares = shares_of(directory, compiled.as_text() or "")
    return {
        "steps_per_second": calls * config.learning.steps_of_update / elapsed,
        "compile_seconds": compile_seconds,
        **{f"share/{part}": share for part, share in shares.items()},
    }


def shares_of(directory: str, program: str) -> dict[str, float]:
    """Each part's share of the traced time of operations."""
    part_of = {}
    for name, path in _INSTRUCTION.findall(program):
        named = [part for part in re.split(r"[/()]", path) if part in PARTS]
        part_of[name] = named[-1] if named else "rest"
    (file,) = glob.glob(f"{directory}/**/perfetto_trace.json.gz", recursive=True)
    with gzip.open(file, "rt", encoding="utf-8") as trace:
        events = json.load(trace)["traceEvents"]
    total: collections.Counter[str] = collections.Counter()
    for event in events:
        # Loops and calls contain others, whose time must not count twice.
        name = event.get("name", "")
        if name in part_of and not name.startswith(("while", "call", "conditional")):
            total[part_of[name]] += event.get("dur", 0.0)
    everything = sum(total.values()) or float("nan")
    return {part: total[part] / everything for part in (*PARTS, "rest")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", choices=["light", "paper"], help="only these")
    parser.add_argument("--seconds", type=float, default=10.0, help="timed seconds of each")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--no-official", action="store_true", help="time ours only")
    arguments = parser.parse_args()
    devices.virtual_cpu_devices(os.cpu_count() or 1)
    devices.enable_compilation_cache()
    summary: dict[str, float] = {}
    if not arguments.no_official:
        official = gtb_speed.measure_official(4, arguments.seconds)
        summary["official_steps_per_second"] = official["steps_per_second"]
    for networks in [arguments.networks] if arguments.networks else ["light", "paper"]:
        config = config_of(networks)
        learning = config.learning
        num_devices = jax.device_count()
        if learning.num_environments % num_devices:
            raise SystemExit(f"{learning.num_environments} environments, {num_devices} cores")
        if learning.shuffle_blocks % num_devices:
            learning = dataclasses.replace(learning, shuffle_blocks=num_devices)
            config = dataclasses.replace(config, learning=learning)
        measured = measure(config, arguments.seconds)
        summary |= {f"{name}/{networks}": value for name, value in measured.items()}
        print(
            f"{networks}: {measured['steps_per_second']:.0f} environment steps/s, compiled in "
            f"{measured['compile_seconds']:.0f} s;",
            ", ".join(f"{part} {measured[f'share/{part}']:.0%}" for part in (*PARTS, "rest")),
            flush=True,
        )
        if "official_steps_per_second" in summary:
            theirs = summary["official_steps_per_second"]
            summary[f"speedup/{networks}"] = measured["steps_per_second"] / theirs
            print(f"official environment {theirs:.0f} steps/s, ratio", end=" ")
            print(f"{summary[f'speedup/{networks}']:.1f}", flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
