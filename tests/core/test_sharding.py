"""An update over two devices is the update on one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from ai_econ_jax import devices, sharding

STATE = {
    "key": jax.random.key(3),
    "mean": jnp.zeros(()),
    "rows": jnp.arange(8.0).reshape(2, 4),  # [lanes, environments]
}
SPECS = {
    "key": PartitionSpec(),
    "mean": PartitionSpec(),
    "rows": PartitionSpec(None, sharding.AXIS),
}


def update(state, axis_name):
    mean = devices.mean_over(jnp.mean(state["rows"]), axis_name)
    state = state | {"mean": mean, "rows": state["rows"] + mean}
    return state, {"mean": mean}


def test_rows_are_cut_and_the_rest_is_the_same_everywhere(monkeypatch):
    assert jax.device_count() == 2
    mapped, placed = sharding.over_devices(update, STATE, SPECS)
    assert [shard.data.shape for shard in placed["rows"].addressable_shards] == [(2, 2)] * 2
    state, metrics = jax.jit(mapped)(placed)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    alone, state_alone = sharding.over_devices(update, STATE, SPECS)
    expected, _ = alone(state_alone)
    assert metrics["mean"] == expected["mean"] == 3.5
    np.testing.assert_array_equal(state["rows"], expected["rows"])


def test_fetched_states_lie_on_the_host_and_keep_their_keys():
    mapped, placed = sharding.over_devices(update, STATE, SPECS)
    fetched = sharding.fetch(jax.jit(mapped)(placed)[0])
    assert isinstance(fetched["rows"], np.ndarray)
    assert jax.random.key_data(fetched["key"]).tolist() == [0, 3]
