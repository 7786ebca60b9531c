"""Speed of gather-trade-build beside the official package, in one run, on this machine.

    python benchmarks/gtb_speed.py --json=FILE --figure=PNG    # the whole table: 15 minutes
    python benchmarks/gtb_speed.py --quick --json=FILE         # 2 minutes: N = 4 and N = 10
    python benchmarks/gtb_speed.py --workers 30 --json=FILE --add    # more rows for that file

Both sides play random allowed actions and produce observations and masks at every step; ours adds
the choice of actions to its time, the official side's own is left out. The resets between episodes
are timed on both sides. ``speedup/n4`` is ours over official in wall time, both measured here. Ours
runs on all cores of the machine: environments are split over as many virtual CPU devices. The
official package is single-threaded Python.

Compilation and the first run are not counted; ``compile_seconds`` reports them. ``peak_bytes`` is
what the compiled rollout needs with its arguments and results, by XLA's account.

``steps_per_cpu_second`` is the same speed by the time of the processor instead of the clock:
that of one core, and little disturbed by what else runs. The figure and ``cost_growth`` go by it:
how many times more a step costs with N workers (from 10 on the large map) than with 4, divided by
N / 4, for the N for which that is most; below 1 costs grow less than linearly.
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
SIZES = (1, 4, 16, 64, 256, 1024, 4096)
Official = dict[int, dict[str, float]]  # by number of workers
MANY = 64  # from so many environments on a size counts for the headline figures


def config_for(num_workers: int) -> Config:
    """The published setting; from 10 workers on, the large map."""
    return Config(num_workers=num_workers, layout=LAYOUTS.get(num_workers, LARGE_LAYOUT))


def random_allowed(key: jax.Array, mask: jax.Array) -> jax.Array:
    """One allowed action per row of ``mask`` bool[..., A], uniform among them."""
    count = jnp.cumsum(mask, axis=-1, dtype=jnp.int32)
    wanted = (jax.random.uniform(key, mask.shape[:-1]) * count[..., -1]).astype(jnp.int32)
    return jnp.sum(count <= wanted[..., None], axis=-1, dtype=jnp.int32)


def steps_per_call(num_workers: int, num_environments: int) -> int:
    """Steps of one timed call: fewer where they take long. Divides the length of an episode."""
    return 50 if num_workers * num_environments <= 50_000 else 10


def make_rollout(environment: GatherTradeBuild, params, num_devices: int, num_steps: int):
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
        carry, rewards = jax.lax.scan(body, carry, jax.random.split(keys[0], num_steps))
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
    num_steps = steps_per_call(num_workers, num_environments)
    reset, rollout, keys_for = make_rollout(environment, params, num_devices, num_steps)
    calls_per_episode = environment.config.episode_length // num_steps
    reset_keys = jax.random.split(jax.random.key(0), num_environments)
    started = time.perf_counter()
    carry = jax.block_until_ready(reset(reset_keys))
    compiled = rollout.lower(carry, keys_for(jax.random.key(1))).compile()
    carry, _ = jax.block_until_ready(compiled(carry, keys_for(jax.random.key(1))))
    compile_seconds = time.perf_counter() - started
    # All environments are equally old, so one reset between two calls ends their episodes.
    calls, key = 0, jax.random.key(2)
    started, cpu_started = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds or calls < 2:
        if calls % calls_per_episode == 0:
            carry = reset(reset_keys)
        key, call_key = jax.random.split(key)
        carry, _ = jax.block_until_ready(compiled(carry, keys_for(call_key)))
        calls += 1
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    steps = calls * num_steps * num_environments
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(carry[0])) / num_environments
    return {
        "workers": num_workers,
        "environments": num_environments,
        "steps_per_second": steps / elapsed,
        "steps_per_cpu_second": steps / cpu,
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


def measure_official(num_workers: int, seconds: float) -> dict[str, float]:
    """Speed of the official package: time of its ``step`` and ``reset``."""
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
    elapsed, cpu, steps = 0.0, 0.0, 0
    while elapsed < seconds:
        actions: dict[str, object] = {
            str(i): int(rng.choice(np.flatnonzero(observed[str(i)]["action_mask"])))
            for i in range(num_workers)
        }
        mask = observed["p"]["action_mask"].reshape(7, -1)
        actions["p"] = [int(rng.choice(np.flatnonzero(row))) for row in mask]
        started, cpu_started = time.perf_counter(), time.process_time()
        observed, _, done, _ = environment.step(actions)
        if done["__all__"]:
            observed = environment.reset()
        elapsed += time.perf_counter() - started
        cpu += time.process_time() - cpu_started
        steps += 1
    return {"steps_per_second": steps / elapsed, "steps_per_cpu_second": steps / cpu}


def summarize(rows: list[dict[str, float]], official: Official) -> dict[str, float]:
    """Headline figures, by name and number of workers.

    Speed is that of the best size of at least ``MANY`` environments (of all sizes where none is
    that large), bytes are those of the largest size.

    Args:
      rows: Results of ``measure``.
      official: Results of ``measure_official``, by number of workers.
    """
    summary: dict[str, float] = {}
    cheapest = {}
    for num_workers in sorted({int(row["workers"]) for row in rows}):
        own = [row for row in rows if row["workers"] == num_workers]
        large = [row for row in own if row["environments"] >= MANY] or own
        largest = max(own, key=lambda row: row["environments"])
        cheapest[num_workers] = max(row["steps_per_cpu_second"] for row in large)
        name = f"n{num_workers}"
        summary[f"steps_per_second/{name}"] = max(row["steps_per_second"] for row in large)
        summary[f"steps_per_cpu_second/{name}"] = cheapest[num_workers]
        summary[f"compile_seconds/{name}"] = max(row["compile_seconds"] for row in own)
        summary[f"state_bytes/{name}"] = largest["state_bytes"]
        summary[f"peak_bytes/{name}"] = largest["peak_bytes"]
        if num_workers in official:
            theirs = official[num_workers]
            summary |= {f"official_{what}/{name}": speed for what, speed in theirs.items()}
            ours = summary[f"steps_per_second/{name}"]
            summary[f"speedup/{name}"] = ours / theirs["steps_per_second"]
    growth = [cheapest[4] / cheapest[n] / (n / 4) for n in cheapest if 4 in cheapest and n > 4]
    if growth:
        summary["cost_growth"] = max(growth)
    return summary


def draw_figure(rows: list[dict[str, float]], official: Official, path: str) -> None:
    """Scaling curves: speed of a core over environments, a line for each number of workers."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for num_workers in sorted({int(row["workers"]) for row in rows}):
        own = [row for row in rows if row["workers"] == num_workers]
        (line,) = axes.loglog(
            [row["environments"] for row in own],
            [row["steps_per_cpu_second"] for row in own],
            marker="o",
            label=f"{num_workers} workers",
        )
        if num_workers in official:
            theirs = official[num_workers]["steps_per_cpu_second"]
            axes.axhline(theirs, color=line.get_color(), linestyle=":", linewidth=1)
    axes.set_xlabel("environments")
    axes.set_ylabel("steps per second of one core")
    axes.plot([], [], color="gray", linestyle=":", label="official package")
    figure.legend(loc="outside right center", frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def read(path: str) -> tuple[list[dict[str, float]], Official]:
    """Rows, and results of the official package, of a file of an earlier run."""
    with open(path, encoding="utf-8") as file:
        earlier = json.load(file)
    official: Official = {}
    for name, speed in earlier.items():
        if name.startswith("official_"):
            what, workers = name.removeprefix("official_").split("/n")
            official.setdefault(int(workers), {})[what] = speed
    return earlier["rows"], official


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="N = 4 and 10 only, 2 minutes")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 10, 30, 100])
    parser.add_argument("--environments", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seconds", type=float, default=5.0, help="timed seconds of each cell")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--add", action="store_true", help="keep what FILE holds of other cells")
    parser.add_argument("--figure", metavar="FILE", help="draw the scaling curves there (PNG)")
    parser.add_argument("--no-official", action="store_true", help="time ours only")
    arguments = parser.parse_args()
    if arguments.add and not arguments.json:
        parser.error("--add needs --json, the file to add to")

    devices.virtual_cpu_devices(os.cpu_count() or 1)
    workers, sizes = arguments.workers, arguments.environments
    if arguments.quick:
        workers, sizes = [4, 10], [256]
    rows, official = read(arguments.json) if arguments.add else ([], {})
    for num_workers in workers:
        times = []
        if not arguments.no_official:
            times.append(measure_official(num_workers, arguments.seconds))
        for size in sizes:
            row = measure(num_workers, size, arguments.seconds)
            rows = [r for r in rows if (r["workers"], r["environments"]) != (num_workers, size)]
            rows.append(row)
            print(
                f"N={num_workers:4d} environments={size:5d} "
                f"{row['steps_per_second']:12.0f} steps/s"
                f" {row['steps_per_cpu_second']:12.0f} per core"
                f"  compile {row['compile_seconds']:5.1f} s"
                f"  state {row['state_bytes']:7.0f} B  peak {row['peak_bytes'] / 2**20:6.0f} MiB",
                flush=True,
            )
        if not arguments.no_official:
            # Before and after, so that a machine that got busy in between shows in both halves.
            times.append(measure_official(num_workers, arguments.seconds))
            official[num_workers] = {
                what: sum(each[what] for each in times) / len(times) for what in times[0]
            }
            print(
                f"N={num_workers:4d} official {official[num_workers]['steps_per_second']:.0f} "
                f"steps/s, speedup {summarize(rows, official)[f'speedup/n{num_workers}']:.1f}",
                flush=True,
            )
    rows.sort(key=lambda row: (row["workers"], row["environments"]))
    summary = summarize(rows, official)
    if arguments.figure:
        draw_figure(rows, official, arguments.figure)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({**summary, "rows": rows}, file, indent=2)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
