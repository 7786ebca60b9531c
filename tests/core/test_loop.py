import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import checkpoint, loop, workdir

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 4


def make_state(x=0.3):
    return {"x": x * jnp.linspace(0.5, 1, 4), "step": jnp.int32(0), "key": jax.random.key(0)}


def update(state):
    """A chaotic map, so that one lost bit or update shows; cheap to compile, unlike real noise."""
    x = 3.9 * state["x"] * (1 - state["x"])
    key = jax.random.wrap_key_data(1664525 * jax.random.key_data(state["key"]) + 1013904223)
    metrics = {"loss": (x**2).mean(), "step": state["step"]}
    return {"x": x, "step": state["step"] + jnp.int32(1), "key": key}, metrics


def by_hand(state, num_updates, update=update):
    """The plain loop: one jitted update at a time, metrics kept as they come."""
    history = []
    jitted = jax.jit(update)
    for _ in range(num_updates):
        state, metrics = jitted(state)
        history.append({name: np.asarray(value) for name, value in metrics.items()})
    return state, history


def assert_same_state(state, other):
    chex.assert_trees_all_equal(checkpoint.host_arrays(state), checkpoint.host_arrays(other))


def run(path, **options):
    defaults = {"num_updates": 10, "updates_per_segment": 4, "log_every": 2}
    with workdir.open_workdir(path, Config()) as directory:
        return loop.train(update, make_state(), workdir=directory, **{**defaults, **options})


def stop_after(updates):
    """Returns an ``on_row`` that stands for a kill once that many updates are logged."""

    def on_row(row):
        if row["update"] >= updates:
            raise KeyboardInterrupt

    return on_row


@pytest.mark.parametrize("segment", [1, 4, 5, 12, 100])
def test_segments_do_not_change_the_result(segment):
    state = loop.train(update, make_state(), num_updates=12, updates_per_segment=segment)
    chex.assert_trees_all_close(state["x"], by_hand(make_state(), 12)[0]["x"], rtol=1e-6)
    assert state["step"] == 12
    assert state["key"] == by_hand(make_state(), 12)[0]["key"]


def test_rows_are_means_over_each_interval_also_over_a_shorter_last_one():
    rows = []
    loop.train(
        update,
        make_state(),
        num_updates=11,
        updates_per_segment=8,
        log_every=4,
        on_row=rows.append,
    )
    _, history = by_hand(make_state(), 11)
    assert [row["update"] for row in rows] == [4, 8, 11]
    for row, (start, end) in zip(rows, [(0, 4), (4, 8), (8, 11)], strict=True):
        for name in ("loss", "step"):
            expected = np.mean([metrics[name] for metrics in history[start:end]])
            assert row[name] == pytest.approx(expected, rel=1e-6)


def test_rows_of_seeds_hold_their_mean_and_each_of_them():
    rows = []
    states = jax.vmap(make_state)(jnp.array([0.1, 0.2, 0.3]))
    loop.train(
        jax.vmap(update),
        states,
        num_updates=4,
        updates_per_segment=4,
        log_every=2,
        on_row=rows.append,
    )
    _, history = by_hand(states, 4, jax.vmap(update))
    expected = np.mean([metrics["loss"] for metrics in history[2:4]], axis=0)
    np.testing.assert_allclose(rows[1]["seeds"]["loss"], expected, rtol=1e-6)
    assert rows[1]["loss"] == pytest.approx(expected.mean(), rel=1e-6)


def test_callers_state_stays_usable():
    state = make_state()
    loop.train(update, state, num_updates=2, updates_per_segment=2)
    assert (state["x"] < 1).all()
    assert jax.random.uniform(state["key"]) >= 0


@pytest.mark.parametrize(("num_updates", "lengths"), [(12, 1), (14, 2), (3, 1)])
def test_one_compile_for_full_segments_and_one_for_the_rest(num_updates, lengths):
    traces = []

    def counted(state):
        traces.append(None)
        return update(state)

    chex.clear_trace_counter()
    once = traces_per_compile(counted, traces)
    # A Python number in the state is weakly typed; it must not cost a compile.
    state = {**make_state(), "step": 0}
    loop.train(
        chex.assert_max_traces(counted, n=lengths * once),
        state,
        num_updates=num_updates,
        updates_per_segment=4,
    )
    assert len(traces) == lengths * once


@dataclasses.dataclass(frozen=True)
class Drift:
    """An update that is equal to another one; constants come from outside."""

    traces: ClassVar[list[None]] = []

    def __call__(self, state, rate):
        self.traces.append(None)
        return state + rate, {"loss": state.mean()}


def test_constants_reach_the_update_and_an_equal_update_is_compiled_once():
    for rate in (0.5, 2.0):
        options = {"num_updates": 3, "updates_per_segment": 3, "constants": (jnp.float32(rate),)}
        end = loop.train(Drift(), jnp.zeros(2), **options)
        np.testing.assert_allclose(end, 3 * rate)
        if rate == 0.5:
            first = len(Drift.traces)
    assert len(Drift.traces) == first


def traces_per_compile(counted, traces):
    jax.make_jaxpr(lambda state: jax.lax.scan(lambda s, _: counted(s), state, length=2))(
        make_state()
    )
    count = len(traces)
    traces.clear()
    return count


@pytest.mark.parametrize("finished", [2, 4, 6, 8])
@pytest.mark.parametrize("every", [1, 2])
def test_resumed_run_has_the_same_bits_and_the_same_bytes(tmp_path, finished, every):
    whole = run(tmp_path / "whole", checkpoint_every_segments=every)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", checkpoint_every_segments=every, on_row=stop_after(finished))
    resumed = run(tmp_path / "cut", checkpoint_every_segments=every)
    assert_same_state(whole, resumed)
    files = [tmp_path / name / "metrics.jsonl" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(workdir.read_rows(files[0])) == 5


def test_rows_beyond_the_checkpoint_are_written_again_not_twice(tmp_path):
    run(tmp_path, num_updates=4)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    for name in ("metrics", "timing"):
        workdir.append_rows(tmp_path / f"{name}.jsonl", [{"update": 6, "loss": 1e9}])
    run(tmp_path, num_updates=10)
    rows = workdir.read_rows(tmp_path / "metrics.jsonl")
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    assert [row["update"] for row in rows] == [2, 4, 6, 8, 10]
    assert rows[2]["loss"] < 1e3
    timing = workdir.read_rows(tmp_path / "timing.jsonl")
    assert [row["update"] for row in timing] == [4, 8, 10]


def test_resume_runs_only_what_is_left(tmp_path):
    run(tmp_path, num_updates=8)
    rows = []
    run(tmp_path, num_updates=12, on_row=rows.append)
    assert [row["update"] for row in rows] == [10, 12]


def test_damaged_checkpoint_costs_a_segment_and_nothing_else(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "hurt", num_updates=8)
    for file in (tmp_path / "hurt" / "checkpoints" / "8").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-1])
    assert_same_state(run(tmp_path / "hurt"), whole)
    files = [tmp_path / name / "metrics.jsonl" for name in ("whole", "hurt")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_finished_run_does_nothing_and_returns_its_state(tmp_path):
    state = run(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}

    def never(state):
        raise AssertionError("a finished run must not be traced")

    with workdir.open_workdir(tmp_path, Config()) as directory:
        again = loop.train(
            never, make_state(), num_updates=10, updates_per_segment=4, workdir=directory
        )
    assert_same_state(state, again)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_checkpoints_come_at_every_nth_segment_and_at_the_end(tmp_path):
    run(tmp_path, num_updates=18, checkpoint_every_segments=2, keep_checkpoints=10)
    assert checkpoint.steps(tmp_path / "checkpoints") == [8, 16, 18]


def test_half_checkpoint_left_by_a_kill_is_swept(tmp_path):
    (tmp_path / "checkpoints" / ".half-6" / "state").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps({"config": {"size": 4}}))
    run(tmp_path, num_updates=8)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["4", "8"]


def test_segment_takes_over_the_memory_of_its_state():
    state = make_state()
    loop._compiled_segment(update, 1)(state, 2)
    assert state["x"].is_deleted()


def test_old_checkpoints_go(tmp_path):
    run(tmp_path, num_updates=24)
    assert checkpoint.steps(tmp_path / "checkpoints") == [16, 20, 24]


def test_checkpoint_beyond_the_end_is_an_error(tmp_path):
    run(tmp_path, num_updates=8)
    with pytest.raises(ValueError, match="checkpoint is at update 8, beyond num_updates = 4"):
        run(tmp_path, num_updates=4)


def test_tensorboard_has_every_row_and_timing_every_segment(tmp_path):
    from tensorboardX.proto import event_pb2

    run(tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    data, values, purged_from = events.read_bytes(), {}, None
    while data:  # u64 length, u32 crc, the event, u32 crc
        length = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        if event.HasField("session_log"):  # tells TensorBoard to drop what a killed start left
            purged_from = event.step
        for value in event.summary.value:
            values[value.tag, event.step] = value.simple_value
    rows = workdir.read_rows(tmp_path / "metrics.jsonl")
    assert values == {
        (name, row["update"]): pytest.approx(row[name]) for row in rows for name in ("loss", "step")
    }
    assert purged_from == 1
    timing = workdir.read_rows(tmp_path / "timing.jsonl")
    assert [row["update"] for row in timing] == [4, 8, 10]
    assert all(row["segment_seconds"] > 0 and row["host_seconds"] > 0 for row in timing)


def poison(at, leaf="x"):
    """Returns ``update`` with a NaN in ``leaf`` (of the state or the metrics) at one update."""

    def poisoned(state):
        bad = jnp.where(state["step"] + 1 == at, jnp.nan, 0.0)
        new, metrics = update(state)
        if leaf in metrics:
            return new, {**metrics, leaf: metrics[leaf] + bad}
        return {**new, leaf: new[leaf] + bad}, {"step": metrics["step"]}

    return poisoned


def test_metric_that_is_not_finite_stops_the_run_and_is_named_with_its_update():
    message = "metric loss is not finite at update 7; no leaf of the state holds NaN"
    with pytest.raises(loop.NonFiniteError, match=message):
        loop.train(poison(7, "loss"), make_state(), num_updates=12, updates_per_segment=4)


def test_infinite_metric_stops_the_run():
    def infinite(state):
        state, metrics = update(state)
        return state, {"loss": jnp.where(metrics["step"] == 4, jnp.inf, 0.0)}

    with pytest.raises(loop.NonFiniteError, match="metric loss is not finite at update 5"):
        loop.train(infinite, make_state(), num_updates=12, updates_per_segment=4)


def test_nan_in_the_state_stops_the_run_even_if_no_metric_shows_it():
    with pytest.raises(loop.NonFiniteError, match=r"state leaf x holds NaN after update 8$"):
        loop.train(poison(7), make_state(), num_updates=12, updates_per_segment=4)


def test_infinity_in_the_state_is_allowed():
    state = {**make_state(), "mask": jnp.array([-jnp.inf, 0.0])}

    def masked(state):
        new, metrics = update(state)
        return {**new, "mask": state["mask"]}, metrics

    loop.train(masked, state, num_updates=4, updates_per_segment=4)


@pytest.mark.parametrize("leaf", ["loss", "x"])
def test_bad_seed_is_named(leaf):
    steps = jnp.array([0, 100, 100], jnp.int32)
    states = jax.vmap(lambda step: {**make_state(), "step": step})(steps)

    def with_metrics(state):
        new, metrics = poison(103, leaf)(state)
        return new, {"loss": metrics.get("loss", 0.0), "step": metrics["step"]}

    at = "at update 3, seed 1" if leaf == "loss" else "after update 4, seed 1"
    with pytest.raises(loop.NonFiniteError, match=f"{leaf} .*{at}"):
        loop.train(jax.vmap(with_metrics), states, num_updates=4, updates_per_segment=4)


def test_diverged_state_is_dumped_beside_and_the_last_checkpoint_is_good(tmp_path):
    for _ in range(2):  # the second start resumes from the good checkpoint and stops again
        with workdir.open_workdir(tmp_path, Config()) as directory:
            with pytest.raises(loop.NonFiniteError) as caught:
                loop.train(
                    poison(7),
                    make_state(),
                    num_updates=12,
                    updates_per_segment=4,
                    workdir=directory,
                )
        assert str(tmp_path / "nonfinite_state.npz") in str(caught.value)
        assert checkpoint.steps(tmp_path / "checkpoints") == [4]
    assert np.isfinite(checkpoint.load_arrays(tmp_path / "checkpoints")["x"]).all()
    dump = np.load(tmp_path / "nonfinite_state.npz")
    assert np.isnan(dump["x"]).all()
    assert dump["step"] == 8
    assert [row["update"] for row in workdir.read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_metric_of_a_wrong_shape_or_name_is_an_error():
    for metrics, message in [
        ({"loss": jnp.ones((2, 3))}, r"metric loss has shape \(2, 3\)"),
        ({"update": 1.0}, "metric update: that name is taken"),
        ({"seeds": 1.0}, "metric seeds: that name is taken"),
    ]:
        with pytest.raises(ValueError, match=message):
            loop.train(
                lambda state, metrics=metrics: (state, metrics),
                make_state(),
                num_updates=1,
                updates_per_segment=1,
            )


def test_update_without_metrics_still_counts():
    rows = []
    loop.train(
        lambda state: (update(state)[0], {}),
        make_state(),
        num_updates=2,
        updates_per_segment=2,
        on_row=rows.append,
    )
    assert rows == [{"update": 1}, {"update": 2}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_updates": 0}, "num_updates = 0: must be at least 1"),
        ({"updates_per_segment": 0}, "updates_per_segment = 0"),
        ({"log_every": 0}, "log_every = 0"),
        ({"checkpoint_every_segments": 0}, "checkpoint_every_segments = 0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints = 0"),
        ({"log_every": 3}, "log_every = 3: must divide updates_per_segment = 4"),
    ],
)
def test_impossible_size_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        loop.train(update, make_state(), **{"num_updates": 8, "updates_per_segment": 4, **options})


def test_progress_off_a_terminal_is_a_plain_line_with_rate_time_left_and_metric(capsys):
    loop.train(update, make_state(), num_updates=8, updates_per_segment=4, progress_metric="step")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("update 8/8, ")
    assert "updates/s, 00:00 left, step=7" in line


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    loop.train(update, make_state(), num_updates=8, updates_per_segment=4, progress_metric="step")
    bar = capsys.readouterr().err
    assert "8/8" in bar
    assert "step=7" in bar


def test_kill_9_and_restart_ends_with_the_same_bits(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "kill_resume.py",
            "--kills=3",
            f"--scratch={tmp_path}",
            "--",
            sys.executable,
            HERE / "toy_run.py",
            "--workdir={workdir}",
            "--config.num_updates=100",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK: 3 kills" in done.stdout


TWO_PROCESSES = """
import sys
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from ai_econ_jax import devices, loop, workdir
sys.path.insert(0, sys.argv[1])
from test_loop import Config

processes, process, port, path, updates = *map(int, sys.argv[2:5]), sys.argv[5], int(sys.argv[6])
devices.virtual_cpu_devices(4 // processes)
if processes > 1:
    assert devices.initialize_distributed(f"127.0.0.1:{port}", processes, process)
assert jax.device_count() == 4
mesh = jax.make_mesh((4,), ("d",))
split, same = NamedSharding(mesh, P("d")), NamedSharding(mesh, P())
state = {
    "x": jax.jit(lambda: jnp.arange(8.0), out_shardings=split)(),
    "key": jax.jit(lambda: jax.random.key(3), out_shardings=same)(),
}

@jax.shard_map(mesh=mesh, in_specs=({"x": P("d"), "key": P()},),
               out_specs=({"x": P("d"), "key": P()}, P()))
def update(state):
    key, noise = jax.random.split(state["key"])
    x = 0.5 * state["x"] + jax.random.normal(noise, ())
    return {"x": x, "key": key}, {"mean": devices.mean_over(x.mean(), "d"),
                                  "sum": jax.lax.psum(x.sum(), "d")}

with workdir.open_workdir(path, Config()) as directory:
    end = loop.train(update, state, num_updates=updates, updates_per_segment=4, workdir=directory)
assert end["x"].sharding.is_equivalent_to(split, 1), end["x"].sharding
"""


def test_two_processes_write_one_run_resume_it_and_are_both_refused_a_strange_directory(tmp_path):
    script = tmp_path / "sharded.py"
    script.write_text(TWO_PROCESSES)

    def start(processes, process, name, updates, port=0):
        arguments = [HERE, processes, process, port, tmp_path / name, updates]
        command = [sys.executable, script, *arguments]
        return subprocess.Popen(
            list(map(str, command)), stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )

    def start_two(name, updates):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return [start(2, process, name, updates, port) for process in range(2)]

    for updates in (8, 12):
        for run_of_two in start_two("two", updates):
            _, errors = run_of_two.communicate(timeout=120)
            assert run_of_two.returncode == 0, errors
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("somebody's")
    runs = start_two("other", 4)
    errors = [run_of_two.communicate(timeout=120)[1] for run_of_two in runs]
    assert [run_of_two.returncode for run_of_two in runs] == [1, 1], errors
    assert "holds 'notes.txt' but no config.json" in errors[0]
    assert f"workdir {other}: refused by process 0, which says why" in errors[1]
    alone = start(1, 0, "one", 12)
    _, errors = alone.communicate(timeout=120)
    assert alone.returncode == 0, errors
    one, two = (checkpoint.load_arrays(tmp_path / name / "checkpoints") for name in ("one", "two"))
    assert one["x"].shape == (8,)
    chex.assert_trees_all_close(one, two, rtol=1e-6)
    rows = [workdir.read_rows(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    assert [row["update"] for row in rows[1]] == list(range(1, 13))
    for row, twin in zip(*rows, strict=True):
        assert row == pytest.approx(twin, rel=1e-5)
        assert row["sum"] == pytest.approx(8 * row["mean"], rel=1e-5)
