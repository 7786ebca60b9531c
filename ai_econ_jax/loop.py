"""The training loop: ``update`` scanned in compiled segments, bookkeeping on the host in between.

A learner hands over a pure ``update(state) -> (state, metrics)``. Everything it reads is in the
state, so a run that is killed at any moment and started again with the same work directory ends
with the same bits in the state and the same bytes in ``metrics.jsonl`` as one that was left alone.
"""

import contextlib
import functools
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from ai_econ_jax import checkpoint
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.progress import progress
from ai_econ_jax.workdir import Workdir

State = TypeVar("State")
Metrics = Mapping[str, jax.Array]
Row = dict[str, Any]


class NonFiniteError(FloatingPointError):
    """A metric is not finite, or the state holds NaN; the message names which, when, which seed."""


def train(
    update: Callable[..., tuple[State, Metrics]],
    state: State,
    *,
    constants: tuple[Any, ...] = (),
    num_updates: int,
    updates_per_segment: int,
    workdir: Workdir | None = None,
    log_every: int = 1,
    checkpoint_every_segments: int = 1,
    keep_checkpoints: int = 3,
    progress_metric: str | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> State:
    """Runs ``update`` until it has been applied ``num_updates`` times, resuming if it can.

    Args:
        update: Pure, ``update(state, *constants)``; returns the next state and a flat dictionary
            of metrics, each a scalar or, when the learner is vmapped over seeds, f[S]. Called under
            ``jit`` and ``lax.scan``. An equal one that was trained before is not compiled again.
        state: The state to begin with, any pytree of arrays; also the template of a checkpoint.
            It is copied, so the caller's stays usable.
        constants: What ``update`` reads and never changes, such as the weights of a frozen model:
            pytrees of arrays, in no checkpoint.
        num_updates: Total over all starts of the run.
        updates_per_segment: Compiled together; the host looks in between segments.
        workdir: Where to write and to resume from; None keeps everything in memory.
        log_every: Updates averaged into one row; must divide ``updates_per_segment``.
        checkpoint_every_segments: Segments between checkpoints; there is always one at the end.
        keep_checkpoints: How many checkpoints stay.
        progress_metric: Metric shown beside the progress bar.
        on_row: Called with each row that this call logs: ``{"update": 10, "loss": 0.5}``, and with
            seeds the means over them and ``"seeds": {"loss": [0.4, 0.6]}``.

    Returns:
        The state after ``num_updates`` updates.

    Raises:
        NonFiniteError: The run diverged. The last checkpoint is from before; the state that holds
            the trouble is in ``nonfinite_state.npz`` of the work directory, for diagnosis only.
        ValueError: If a size is impossible, or the checkpoint is beyond ``num_updates``.
    """
    _check_sizes(
        num_updates=num_updates,
        updates_per_segment=updates_per_segment,
        log_every=log_every,
        checkpoint_every_segments=checkpoint_every_segments,
        keep_checkpoints=keep_checkpoints,
    )
    done, state = _begin(state, workdir)
    if done > num_updates:
        raise ValueError(f"the checkpoint is at update {done}, beyond num_updates = {num_updates}")
    if done == num_updates:
        return state
    run_segment = _compiled_segment(update, log_every)
    with _tensorboard(workdir, done) as board, progress(num_updates, "update", done) as show:
        while done < num_updates:
            started = time.perf_counter()
            length = min(updates_per_segment, num_updates - done)
            state, report = run_segment(state, length, *constants)
            report = jax.tree.map(checkpoint.to_host, report)
            computed = time.perf_counter()
            _guard(report, state, done, length, workdir)
            rows = _rows(report["means"], done, length, log_every)
            done += length
            if workdir is not None:
                _write_rows(workdir, board, rows)
                segments = -(-done // updates_per_segment)
                if segments % checkpoint_every_segments == 0 or done == num_updates:
                    checkpoint.save(workdir.checkpoints, done, state, keep_checkpoints)
                _write_timing(workdir, done, started, computed)
            if on_row is not None:
                for row in rows:
                    on_row(row)
            show(done, {progress_metric: rows[-1][progress_metric]} if progress_metric else {})
    return state


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} = {size}: must be at least 1")
    segment, interval = sizes["updates_per_segment"], sizes["log_every"]
    if segment % interval:
        raise ValueError(f"log_every = {interval}: must divide updates_per_segment = {segment}")


def _begin(state: State, workdir: Workdir | None) -> tuple[int, State]:
    """Returns how many updates are done and the state after them, restored or as given."""
    state = jax.tree.map(_own, state)
    if workdir is None:
        return 0, state
    if workdir.writes:
        checkpoint.sweep(workdir.checkpoints)
    done = 0
    if checkpoint.steps(workdir.checkpoints):
        done, state = checkpoint.restore(workdir.checkpoints, state)
    if workdir.writes:
        workdir_lib.truncate_rows(workdir.metrics, done)
        workdir_lib.truncate_rows(workdir.timing, done)
    if jax.process_count() > 1:
        # Nobody may save before everybody has read.
        multihost_utils.sync_global_devices("ai_econ_jax.loop.begin")
    return done, state


def _own(leaf: Any) -> jax.Array:
    # A copy, because the first segment consumes its input; of its own dtype, because a weakly typed
    # leaf would come back strong and compile the segment a second time.
    leaf = jnp.asarray(leaf)
    return jnp.copy(leaf) if checkpoint.is_key(leaf) else jnp.array(leaf, dtype=leaf.dtype)


@functools.lru_cache(maxsize=16)
def _compiled_segment(update: Callable, log_every: int) -> Callable:
    """Returns ``segment(state, length, *constants) -> (state, report)``, compiled per length."""

    @functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
    def segment(state, length, *constants):
        def step(carry, _):
            return update(carry, *constants)

        state, metrics = jax.lax.scan(step, state, length=length)
        _check_metrics(metrics)
        report = {
            "means": {name: _interval_means(m, log_every) for name, m in metrics.items()},
            "first_bad": {name: _first_bad(m) for name, m in metrics.items()},
            "state_has_nan": functools.reduce(
                jnp.logical_or, map(_has_nan, jax.tree.leaves(state))
            ),
        }
        return state, report

    return segment


def _check_metrics(metrics: Metrics) -> None:
    for name, metric in metrics.items():
        if name in ("update", "seeds"):
            raise ValueError(f"metric {name}: that name is taken by the row itself")
        shape = np.shape(metric)[1:]
        if len(shape) > 1:
            raise ValueError(f"metric {name} has shape {shape}: must be a scalar or [seeds]")


def _interval_means(metric: jax.Array, log_every: int) -> jax.Array:
    """Averages x[U, ...] over intervals of ``log_every`` updates; the last may be shorter."""
    whole = metric.shape[0] // log_every * log_every
    means = metric[:whole].reshape(-1, log_every, *metric.shape[1:]).mean(1)
    if whole == metric.shape[0]:
        return means
    return jnp.concatenate([means, metric[whole:].mean(0, keepdims=True)])


def _first_bad(metric: jax.Array) -> jax.Array:
    """Returns i32[...], the index of the first update of x[U, ...] that is not finite, or U."""
    bad = ~jnp.isfinite(metric)
    return jnp.where(bad.any(0), bad.argmax(0), metric.shape[0])


def _has_nan(leaf: jax.Array) -> jax.Array:
    # Infinity passes: environments use it as a mark, and in parameters it soon turns into NaN.
    return jnp.isnan(leaf).any() if jnp.issubdtype(leaf.dtype, jnp.inexact) else jnp.array(False)


def _guard(report: Any, state: Any, done: int, length: int, workdir: Workdir | None) -> None:
    """Raises ``NonFiniteError``, the state dumped, if the segment after ``done`` went wrong."""
    trouble = _metric_trouble(report["first_bad"], done, length)
    if not trouble and not report["state_has_nan"]:
        return
    arrays = checkpoint.host_arrays(state)
    seeds = next((bad.size for bad in report["first_bad"].values() if bad.ndim), None)
    trouble += _state_trouble(arrays, seeds, done + length)
    if workdir is not None and workdir.writes:
        dump = workdir.path / "nonfinite_state.npz"
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        workdir_lib.write_bytes(dump, buffer.getvalue())
        trouble.append(f"that state is in {dump}")
    raise NonFiniteError("; ".join(trouble))


def _metric_trouble(first_bad: Mapping[str, np.ndarray], done: int, length: int) -> list[str]:
    name = min(first_bad, key=lambda name: first_bad[name].min(), default=None)
    if name is None or first_bad[name].min() == length:
        return []
    seed = f", seed {first_bad[name].argmin()}" if first_bad[name].ndim else ""
    update = done + 1 + first_bad[name].min()
    return [f"metric {name} is not finite at update {update}{seed}"]


def _state_trouble(arrays: Mapping[str, np.ndarray], seeds: int | None, update: int) -> list[str]:
    for path, array in arrays.items():
        bad = np.isnan(array) if jnp.issubdtype(array.dtype, jnp.inexact) else np.zeros(1, bool)
        if bad.any():
            seeded = seeds is not None and array.ndim and len(array) == seeds
            seed = f", seed {np.argwhere(bad)[0, 0]}" if seeded else ""
            return [f"state leaf {path} holds NaN after update {update}{seed}"]
    return [f"no leaf of the state holds NaN after update {update}"]


def _rows(means: Mapping[str, np.ndarray], done: int, length: int, log_every: int) -> list[Row]:
    """Returns one row per interval, from means f[R] or, with seeds, f[R, S]."""
    rows = []
    for i, start in enumerate(range(0, length, log_every)):
        row: Row = {"update": done + min(start + log_every, length)}
        row |= {name: float(mean[i].mean()) for name, mean in means.items()}
        seeds = {name: mean[i].tolist() for name, mean in means.items() if mean.ndim > 1}
        rows.append({**row, "seeds": seeds} if seeds else row)
    return rows


@contextlib.contextmanager
def _tensorboard(workdir: Workdir | None, done: int) -> Iterator[Any]:
    """Yields a TensorBoard writer, or None where this process writes nothing."""
    if workdir is None or not workdir.writes:
        yield None
        return
    import tensorboardX  # a second of import that runs without a work directory need not pay

    # Events of a killed start that lie beyond its checkpoint are written again: hide the old ones.
    board = tensorboardX.SummaryWriter(str(workdir.tensorboard), purge_step=done + 1, flush_secs=10)
    with contextlib.closing(board):
        yield board


def _write_rows(workdir: Workdir, board: Any, rows: Sequence[Row]) -> None:
    if not workdir.writes:
        return
    workdir_lib.append_rows(workdir.metrics, rows)
    for row in rows:
        for name, value in row.items():
            if name not in ("update", "seeds"):
                board.add_scalar(name, value, row["update"])


def _write_timing(workdir: Workdir, done: int, started: float, computed: float) -> None:
    if not workdir.writes:
        return
    host_seconds = time.perf_counter() - computed
    row = {"update": done, "segment_seconds": computed - started, "host_seconds": host_seconds}
    workdir_lib.append_rows(workdir.timing, [row])
