"""In 32 bits, as users run it: what is discrete is still that of the official package."""

import dataclasses

import numpy as np
import pytest
from golden_files import case_of, load, thin
from lockstep import Player, assert_same, saez_samples

# Relative, and absolute below 1.
TOLERANCE = 1e-4


@pytest.mark.parametrize(
    "name", ["paper", *(pytest.param(n, marks=pytest.mark.slow) for n in ("houses", "unmasked"))]
)
def test_golden_trajectory_in_float32(name):
    golden = load(name)
    case = case_of(name)
    config = dataclasses.replace(case.config, official_rounding=False)
    samples = saez_samples(0, np.random.default_rng(0))
    player = Player(dataclasses.replace(case, config=config), samples)
    ours, rewards = player.play(golden)
    assert ours["coin"].dtype == np.float32
    # Next to 0 and to an edge of a bracket, the rate hangs on how an income was rounded.
    rate = golden.observations["flat"].shape[-1] - 8
    golden.observations["per_worker"][..., 0] = np.nan
    golden.observations["flat"][..., rate] = np.nan
    ours = thin(ours)
    del golden.states["last_marginal_rate"]
    assert_same(ours, golden.states, TOLERANCE)
    assert_same(ours, golden.observations, TOLERANCE)
    assert_same(rewards, golden.rewards, TOLERANCE)
