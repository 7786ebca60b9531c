"""One training: the same on one device and on two, and weights of its goal."""

import dataclasses

import jax
import numpy as np
import pytest

from ai_econ_jax.agents.ai_economist import training
from ai_econ_jax.agents.ai_economist.experiment import WELFARE_NAMES
from ai_econ_jax.agents.ai_economist.presets import PRESETS

# Workers alone, under a given schedule.
LEARNING = dataclasses.replace(PRESETS["smoke"].learning, phase1_updates=2, phase2_updates=0)
CONFIG = dataclasses.replace(
    PRESETS["smoke"], learning=LEARNING, tax="fixed", rates=(0.1,) * 7, num_seeds=2
)


def test_training_is_the_same_on_one_device_and_on_two(monkeypatch):
    assert jax.device_count() == 2
    shared = training.train(CONFIG)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    alone = training.train(CONFIG)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        shared.states.workers,
        alone.states.workers,
    )
    assert [row["update"] for row in shared.rows] == [1, 2]
    assert shared.rows[-1]["utility"] == pytest.approx(alone.rows[-1]["utility"], rel=1e-5)


def test_environments_that_devices_cannot_share_are_refused():
    learning = dataclasses.replace(LEARNING, num_environments=9, shuffle_blocks=3)
    with pytest.raises(ValueError, match=r"num_environments = 9: must be a multiple of the 2"):
        training.train(dataclasses.replace(CONFIG, learning=learning))


def test_weights_of_the_goal_are_named_and_checked():
    weights = training._weights({"rawlsian": 0.7, "productivity": 0.3})
    assert dict(zip(WELFARE_NAMES, weights.tolist(), strict=True)) == pytest.approx(
        {**dict.fromkeys(WELFARE_NAMES, 0.0), "rawlsian": 0.7, "productivity": 0.3}
    )
    with pytest.raises(ValueError, match="'nash' is unknown; valid: utilitarian"):
        training._weights({"nash": 1.0})
