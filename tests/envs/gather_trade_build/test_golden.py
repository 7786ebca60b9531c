"""Golden trajectories: ours are the same, and the official package still plays them."""

import dataclasses

import numpy as np
import pytest
from golden_files import NAMES, STEPS, case_of, load, record, thin, thinned
from lockstep import Player, assert_same, saez_samples

pytestmark = pytest.mark.usefixtures("x64")

FAST = ("paper",)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_golden_trajectory_is_reproduced(name):
    golden = load(name)
    ours, rewards = Player(case_of(name), saez_samples(0, np.random.default_rng(0))).play(golden)
    ours = thin(ours)
    assert_same(ours, golden.states)
    assert_same(ours, golden.observations)
    assert_same(rewards, golden.rewards)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_the_official_package_still_plays_it(name):
    stored = load(name)
    for key, array in thinned(dataclasses.asdict(record(name))).items():
        group, entry = key.split("/")
        np.testing.assert_allclose(getattr(stored, group)[entry], array, rtol=1e-12, atol=1e-12)


def test_there_are_enough_of_them():
    assert len(NAMES) >= 6 and STEPS >= 300


@pytest.mark.parametrize("ours, official", [(np.nan, 1.0), (1.0, np.nan), (1.1, 1.0)])
def test_the_comparison_refuses_what_differs_and_what_is_no_number(ours, official):
    with pytest.raises(AssertionError, match=r"coin: first differs at \(0, 1\)"):
        assert_same({"coin": np.array([[1.0, ours]])}, {"coin": np.array([[1.0, official]])})
