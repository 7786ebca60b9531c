"""An update over all devices of all processes: states laid out, fetched, the update mapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ai_econ_jax import checkpoint

State = TypeVar("State")

AXIS = "devices"


def over_devices(
    update: Callable[..., tuple[State, Any]], state: State, specs: Any
) -> tuple[Callable[[State], tuple[State, Any]], State]:
    """The update on all devices, and the state laid out for it.

    Args:
      update: ``update(state, axis_name)``, pure; with a name it averages over that axis.
      state: The whole state, the same on every process.
      specs: A prefix tree of ``state`` of ``PartitionSpec``, over the axis ``AXIS``: which leaves
        are cut, and along which of their axes.

    Returns:
      ``update(state)``, to be compiled by the caller, and the state; with one device as they were.

    Raises:
      ValueError: An axis that the devices cannot share.
    """
    num_devices = jax.device_count()
    if num_devices == 1:
        return lambda state: update(state, None), state
    mesh = jax.make_mesh((num_devices,), (AXIS,))
    mapped = jax.shard_map(
        lambda state: update(state, AXIS),
        mesh=mesh,
        in_specs=(specs,),
        out_specs=(specs, PartitionSpec()),
        check_vma=False,
    )
    is_spec: Callable[[Any], bool] = lambda leaf: isinstance(leaf, PartitionSpec)  # noqa: E731
    placed = jax.tree.map(
        lambda spec, subtree: jax.tree.map(lambda leaf: _put(leaf, mesh, spec), subtree),
        specs,
        state,
        is_leaf=is_spec,
    )
    return mapped, placed


def fetch(state: State) -> State:
    """The state as whole host arrays: several processes then go on with it each for itself."""

    def fetched(leaf: Any) -> Any:
        data: Any = checkpoint.to_host(leaf)
        return jax.random.wrap_key_data(data) if checkpoint.is_key(leaf) else data

    return jax.tree.map(fetched, state)


def _put(leaf: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """One leaf laid out over the devices of all processes; typed keys too."""
    sharding = NamedSharding(mesh, spec)
    data: np.ndarray = checkpoint.to_host(leaf)
    array = jax.make_array_from_callback(data.shape, sharding, lambda index: data[index])
    return jax.random.wrap_key_data(array) if checkpoint.is_key(leaf) else array
