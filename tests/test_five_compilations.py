"""One definition of a learner, five ways to compile it, the same parameters.

For a user who wants to do the same, ``two_process_run.py`` beside this file is the example:
``on_a_mesh`` for several devices, its ``main`` for several hosts; ``vmapped`` below for seeds.
In short: ``update`` takes the name of the axis over which devices are mapped; the state is the same
on every device, but for fields with a leading axis of environments, which are cut.
"""

import functools
import os
import pathlib
import runpy
import socket
import subprocess
import sys
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

SCRIPT = pathlib.Path(__file__).with_name("two_process_run.py")
runs = types.SimpleNamespace(**runpy.run_path(str(SCRIPT)))

NUM_SEEDS = 2


@pytest.fixture(scope="module", params=runs.CASES)
def case(request):
    return runs.CASES[request.param]()


@pytest.fixture(scope="module")
def solo(case):
    """Two states of different seeds; parameters and last metrics of each, trained alone by jit."""
    init = jax.jit(case.init)
    states = [init(jax.random.key(seed)) for seed in range(NUM_SEEDS)]
    update = jax.jit(chex.assert_max_traces(case.update, n=1))
    return states, [runs.train(case, update, state) for state in states]


def assert_same(got, expected):
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)


def needs_two_devices():
    if jax.device_count() < 2:
        pytest.skip("needs two devices; on CPU, conftest.py makes two virtual ones")


def test_training_changes_all_parameters_and_seeds_differ(case, solo):
    """Without which equal parameters would say little."""
    states, trained = solo
    before = jax.tree.map(np.asarray, case.params(states[0]))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, trained[0][0])
    apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), trained[0][0], trained[1][0])
    assert min(jax.tree.leaves(moved)) > 1e-4
    assert max(jax.tree.leaves(apart)) > 1e-2


def test_vmap_over_seeds_equals_each_seed_alone(case, solo):
    states, trained = solo
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    vmapped = jax.jit(jax.vmap(chex.assert_max_traces(case.update, n=1)))
    got = runs.train(case, vmapped, state)
    for seed in range(NUM_SEEDS):
        assert_same(jax.tree.map(lambda leaf, seed=seed: leaf[seed], got), trained[seed])


def test_pmap_over_two_devices_equals_one(case, solo):
    """Every leaf gets an axis of devices; what is not cut is copied, and stays the same on both."""
    needs_two_devices()
    states, trained = solo

    def spread(is_cut, field):
        if is_cut:
            return jax.tree.map(lambda leaf: leaf.reshape(2, -1, *leaf.shape[1:]), field)
        return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), field)

    state = jax.tree.map(spread, case.per_field(states[0], True, False), states[0])
    update = functools.partial(case.update, axis_name=runs.AXIS)
    update = jax.pmap(update, axis_name=runs.AXIS, devices=jax.devices()[:2])
    got = runs.train(case, update, state)
    for device in range(2):
        assert_same(jax.tree.map(lambda leaf, d=device: leaf[d], got), trained[0])


def test_shard_map_over_a_mesh_of_two_equals_one(case, solo):
    needs_two_devices()
    mesh = jax.make_mesh((2,), (runs.AXIS,), devices=jax.devices()[:2])
    assert_same(runs.on_a_mesh(case, mesh), solo[1][0])


def test_jit_with_named_sharding_equals_one_device(case, solo):
    """The other way to use a mesh: no axis name, only a state whose environments are cut.

    The compiler decides what runs where, so the axis is of type Auto (make_mesh makes it Explicit).
    """
    needs_two_devices()
    if not case.sharded_fields:
        pytest.skip("this state is the same on every device: there is nothing to cut")
    states, trained = solo
    mesh = jax.make_mesh(
        (2,), (runs.AXIS,), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2]
    )
    specs = case.per_field(states[0], PartitionSpec(runs.AXIS), PartitionSpec())
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    update = jax.jit(case.update, out_shardings=(shardings, None))
    state = jax.device_put(states[0], shardings)
    assert not state.environments.observation.is_fully_replicated
    assert_same(runs.train(case, update, state), trained[0])


def start(port, process_id, output):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.Popen(
        [sys.executable, SCRIPT, f"localhost:{port}", str(process_id), output],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What two processes saved, joined through Gloo on the loopback device."""
    output = tmp_path_factory.mktemp("two_processes")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    processes = [start(port, i, output) for i in range(2)]
    try:
        for process in processes:
            log, _ = process.communicate(timeout=300)
            assert process.returncode == 0, log
    finally:
        for process in processes:
            process.kill()
    return output


@pytest.mark.parametrize("process_id", [0, 1])
def test_two_processes_equal_one(case, solo, two_processes, process_id):
    name = "cartpole" if case.sharded_fields else "one_step"
    saved = np.load(two_processes / f"{name}-{process_id}.npz")
    leaves, structure = jax.tree.flatten(solo[1][0][0])
    got = [saved[str(i)] for i in range(len(leaves))]
    assert len(saved.files) == len(leaves)
    assert_same(structure.unflatten(got), solo[1][0][0])
