"""One stage of an experiment: lanes that learn side by side, over all devices, resumable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ai_econ_jax import loop, sharding
from ai_econ_jax.workdir import Workdir, read_rows

State = TypeVar("State")

# Rows of metrics in one segment of the training loop, at most.
_ROWS_PER_SEGMENT = 25


def learn(
    update: Callable[..., tuple[State, Any]],
    states: State,
    specs: Any,
    *,
    num_updates: int,
    updates_per_segment: int,
    workdir: Workdir | None,
    progress_metric: str,
) -> tuple[State, list[dict[str, Any]]]:
    """Runs the training loop.

    Args:
      update: ``update(states, axis_name)`` of all lanes.
      states: Where to begin, or the template to resume into.
      specs: How ``states`` lie over devices, see ``sharding.over_devices``.
      num_updates: Of the stage.
      updates_per_segment: Between checkpoints and log lines.
      workdir: Of the stage; None keeps everything in memory.
      progress_metric: Shown beside the progress.

    Returns:
      The final states, on the host, and the rows of metrics, with those from before a restart.
    """
    rows: list[dict[str, Any]] = []
    segment = min(updates_per_segment, num_updates)
    longest = max(1, segment // _ROWS_PER_SEGMENT)
    update, states = sharding.over_devices(update, states, specs)
    states = loop.train(
        update,
        states,
        num_updates=num_updates,
        updates_per_segment=segment,
        log_every=next(n for n in range(longest, 0, -1) if segment % n == 0),
        workdir=workdir,
        progress_metric=progress_metric,
        on_row=rows.append,
    )
    return sharding.fetch(states), rows if workdir is None else read_rows(workdir.metrics)


def check_devices(num_environments: int, num_devices: int) -> None:
    """Checks that the devices can share the environments.

    Raises:
      ValueError: They cannot.
    """
    if num_environments % num_devices:
        raise ValueError(
            f"field learning.num_environments = {num_environments}: must be a multiple of the "
            f"{num_devices} devices"
        )
