"""Speed of gather-trade-build beside the official package, in one run, on this machine.

    python benchmarks/gtb_speed.py                        # the whole table, with a figure
    python benchmarks/gtb_speed.py --quick --json=FILE    # 2 minutes: N = 4 and N = 10

Both sides play random allowed actions and produce observations and masks at every step; ours adds
the choice of actions to its time, the official side's own is left out. The resets between episodes
are timed on both sides. ``speedup/n4`` is ours over official in wall time, both measured here. Ours
runs on all cores of the machine: environments are split over as many virtual CPU devices. The
official package is single-threaded Python.

Compilation and the first run are not counted; ``compile_seconds`` reports them. ``peak_bytes`` is
what the compiled rollout needs with its arguments and results, by XLA's account. ``cost_growth`` is
how much longer a step takes with 100 workers (on the large map) than with 4, divided by 25; below 1
costs grow less than linearly.
"""

import argparse
import contextlib
import io
import json
import os
import time

# One thread for each virtual device: to split the small kernels of a step among the threads of a
# pool costs more than the kernels do. Before JAX starts, hence here.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ai_econ_jax import devices
from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, PerRole, make_params

LAYOUTS = {2: "quadrant_25x25_20each_30clump", 4: "quadrant_25x25_20each_30clump"}
LARGE_LAYOUT = "quadrant_40x40_50each"
STEPS = 50  # steps of one timed call


def config_for(num_workers: int) -> Config:
    """The published setting; from 10 workers on, the large map."""
    return Config(num_workers=num_workers, layout=LAYOUTS.get(num_workers, LARGE_LAYOUT))


def random_allowed(key: jax.Array, mask: jax.Array) -> jax.Array:
    """One allowed action per row of ``mask`` bool[..., A], uniform among them."""
    count = jnp.cumsum(mask, axis=-1, dtype=jnp.int32)
    wanted = (jax.random.uniform(key, mask.shape[:-1]) * count[..., -1]).astype(jnp.int32)
    return jnp.sum(count <= wanted[..., None], axis=-1, dtype=jnp.int32)


def make_rollout(environment: GatherTradeBuild, params, num_devices: int):
    """``(reset, rollout)`` over a batch of environments, compiled, sharded over devices."""
    num_brackets = environment.world.num_brackets

    def step(carry, key):
        state, observation = carry
        worker_key, planner_key, step_key = jax.random.split(key, 3)
        planner_mask = observation.planner.action_mask.reshape(num_brackets, -1)
        action = PerRole(
            workers=random_allowed(worker_key, observation.workers.action_mask),
            planner=random_allowed(planner_key, planner_mask),
        )
        state, timestep = environment.step(step_key, state, action, params)
        return (state, timestep.observation), timestep.reward

    def rollout(carry, keys):
        def body(carry, key):
            keys = jax.random.split(key, carry[0].time.shape[0])
            return jax.vmap(step)(carry, keys)

        # Every device has its own key; keys have one row per device.
        carry, rewards = jax.lax.scan(body, carry, jax.random.split(keys[0], STEPS))
        return carry, jax.tree.map(lambda r: jnp.sum(r, axis=0), rewards)

    def reset(keys):
        state, timestep = jax.vmap(lambda key: environment.reset(key, params))(keys)
        return state, timestep.observation

    mesh = Mesh(np.array(jax.devices()[:num_devices]), ("environments",))
    split = P("environments")
    sharded = jax.shard_map(
        rollout, mesh=mesh, in_specs=(split, split), out_specs=split, check_vma=False
    )
    place = NamedSharding(mesh, split)
    return (
        jax.jit(reset, out_shardings=place),
        jax.jit(sharded, donate_argnums=0),
        lambda key: jax.device_put(jax.random.split(key, num_devices), place),
    )


def measure(num_workers: int, num_environments: int, seconds: float) -> dict[str, float]:
    """Steps per second of ours, wall time, what compiling took, and bytes."""
    environment = GatherTradeBuild(config_for(num_workers))
    params = make_params(environment.config)
    num_devices = min(len(jax.devices()), num_environments)
    reset, rollout, keys_for = make_rollout(environment, params, num_devices)
    calls_per_episode = environment.config.episode_length // STEPS
    reset_keys = jax.random.split(jax.random.key(0), num_environments)
    started = time.perf_counter()
    carry = jax.block_until_ready(reset(reset_keys))
    compiled = rollout.lower(carry, keys_for(jax.random.key(1))).compile()
    carry, _ = jax.block_until_ready(compiled(carry, keys_for(jax.random.key(1))))
    compile_seconds = time.perf_counter() - started
    # All environments are equally old, so one reset between two calls ends their episodes.
    calls, key = 0, jax.random.key(2)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or calls < 2:
        if calls % calls_per_episode == 0:
            carry = reset(reset_keys)
        key, call_key = jax.random.split(key)
        carry, _ = jax.block_until_ready(compiled(carry, keys_for(call_key)))
        calls += 1
    elapsed = time.perf_counter() - started
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(carry[0])) / num_environments
    return {
        "steps_per_second": calls * STEPS * num_environments / elapsed,
        "compile_seconds": compile_seconds,
        "state_bytes": state_bytes,
        "peak_bytes": peak_bytes(compiled, num_devices),
    }


def peak_bytes(compiled: jax.stages.Compiled, num_devices: int) -> float:
    """Bytes that a compiled function needs on all devices: arguments, results, and between."""
    memory = compiled.memory_analysis()
    assert memory is not None
    return num_devices * (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def cost_growth(steps_per_second: dict[int, float]) -> float | None:
    """Step time with 100 workers over that with 4, relative to linear; None where one is absent."""
    if not {4, 100} <= steps_per_second.keys():
        return None
    return steps_per_second[4] / steps_per_second[100] / (100 / 4)


def measure_official(num_workers: int, seconds: float) -> float:
    """Steps per second of the official package, wall time of its ``step`` and ``reset``."""
    setattr(np, "int", int)  # an alias that numpy dropped and the package uses  # noqa: B010
    config = config_for(num_workers)
    with contextlib.redirect_stdout(io.StringIO()):
        from ai_economist import foundation

        environment = foundation.make_env_instance(
            scenario_name="layout_from_file/simple_wood_and_stone",
            components=[
                ("Build", {"skill_dist": "pareto", "payment_max_skill_multiplier": 3}),
                ("ContinuousDoubleAuction", {"max_num_orders": 5}),
                ("Gather", {"skill_dist": "pareto"}),
                ("PeriodicBracketTax", {}),
            ],
            n_agents=num_workers,
            world_size=list(GatherTradeBuild(config).world.water.shape),
            env_layout_file=f"{config.layout}.txt",
            episode_length=1000,
            fixed_four_skill_and_loc=True,
            planner_gets_spatial_info=False,
            multi_action_mode_planner=True,
            flatten_observations=True,
            flatten_masks=True,
        )
    rng = np.random.default_rng(0)
    observed = environment.reset()
    elapsed, steps, timestep = 0.0, 0, 0
    while elapsed < seconds:
        actions: dict[str, object] = {
            str(i): int(rng.choice(np.flatnonzero(observed[str(i)]["action_mask"])))
            for i in range(num_workers)
        }
        mask = observed["p"]["action_mask"].reshape(7, -1)
        actions["p"] = [int(rng.choice(np.flatnonzero(row))) for row in mask]
        started = time.perf_counter()
        observed, _, done, _ = environment.step(actions)
        if done["__all__"]:
            observed = environment.reset()
        elapsed += time.perf_counter() - started
        steps, timestep = steps + 1, timestep + 1
    return steps / elapsed


def draw_figure(rows: list[dict[str, float]], official: dict[int, float], path: str) -> None:
    """Scaling curves: steps per second over environments, a line for each number of workers."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for num_workers in sorted({int(row["workers"]) for row in rows}):
        own = [row for row in rows if row["workers"] == num_workers]
        (line,) = axes.loglog(
            [row["environments"] for row in own],
            [row["steps_per_second"] for row in own],
            marker="o",
            label=f"{num_workers} workers",
        )
        if num_workers in official:
            axes.axhline(official[num_workers], color=line.get_color(), linestyle=":", linewidth=1)
    axes.set_xlabel("environments")
    axes.set_ylabel("environment steps per second (dotted: official package)")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="N = 4 and 10 only, 2 minutes")
    parser.add_argument("--environments", type=int, help="number of environments, one only")
    parser.add_argument("--workers", type=int, help="number of workers, one only")
    parser.add_argument("--seconds", type=float, default=5.0, help="timed seconds of each cell")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--figure", metavar="FILE", help="draw the scaling curves there (PNG)")
    parser.add_argument("--no-official", action="store_true", help="time ours only")
    arguments = parser.parse_args()

    devices.virtual_cpu_devices(os.cpu_count() or 1)
    quick = arguments.quick
    workers = (
        [arguments.workers] if arguments.workers else [4, 10] if quick else [2, 4, 10, 30, 100]
    )
    sizes = [256] if quick else [1, 4, 16, 64, 256, 1024, 4096]
    if arguments.environments:
        sizes = [arguments.environments]
    summary: dict[str, float] = {}
    rows, official, fastest = [], {}, {}
    for num_workers in workers:
        before = None
        if not arguments.no_official:
            before = measure_official(num_workers, arguments.seconds)
        best = 0.0
        for size in sizes:
            row = measure(num_workers, size, arguments.seconds)
            rows.append({"workers": num_workers, "environments": size, **row})
            print(
                f"N={num_workers:4d} environments={size:5d} "
                f"{row['steps_per_second']:12.0f} steps/s  compile {row['compile_seconds']:5.1f} s"
                f"  state {row['state_bytes']:7.0f} B  peak {row['peak_bytes'] / 2**20:6.0f} MiB",
                flush=True,
            )
            if size >= 64 or len(sizes) == 1:
                best = max(best, row["steps_per_second"])
        name = f"n{num_workers}"
        summary[f"steps_per_second/{name}"] = fastest[num_workers] = best
        summary[f"compile_seconds/{name}"] = max(
            row["compile_seconds"] for row in rows if row["workers"] == num_workers
        )
        summary[f"state_bytes/{name}"] = rows[-1]["state_bytes"]
        summary[f"peak_bytes/{name}"] = rows[-1]["peak_bytes"]
        if before is not None:
            # Before and after, so that a machine that got busy in between shows in both halves.
            official[num_workers] = (before + measure_official(num_workers, arguments.seconds)) / 2
            summary[f"official_steps_per_second/{name}"] = official[num_workers]
            summary[f"speedup/{name}"] = best / official[num_workers]
            print(
                f"N={num_workers:4d} official {official[num_workers]:.0f} steps/s, "
                f"speedup {summary[f'speedup/{name}']:.1f}",
                flush=True,
            )
    if (growth := cost_growth(fastest)) is not None:
        summary["cost_growth"] = growth
    if arguments.figure:
        draw_figure(rows, official, arguments.figure)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({**summary, "rows": rows}, file, indent=2)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
