"""In 32 bits, as users run it: what is discrete is still that of the official package."""

import dataclasses

import numpy as np
import pytest
from golden_files import STRIDE, case_of, load, thin
from lockstep import Player, assert_same, saez_samples

# Relative, and absolute below 1.
TOLERANCE = 1e-4
# Coin between an income and the edge of a bracket: nearer, its rate hangs on rounding (spec 3.11).
NEAR = 1e-3


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
    ours = thin(ours)
    exempt_near_edges(ours, golden, np.asarray(player.params.cutoffs))
    assert_same(ours, golden.states, TOLERANCE)
    assert_same(ours, golden.observations, TOLERANCE)
    assert_same(rewards, golden.rewards, TOLERANCE)


def exempt_near_edges(ours, golden, cutoffs):
    """Takes over the official marginal rates of incomes next to an edge (the first is at 0)."""
    states = golden.states
    income = states["coin"] + states["escrow_coin"] - states["last_coin"]
    for incomes, places in (
        (income, [(ours["per_worker"], golden.observations["per_worker"], 0)]),
        # The marginal rate, tax phase, time, three inventories, column and row end the flat ones.
        (income[::STRIDE], [(ours["flat"], golden.observations["flat"], -8)]),
        (
            states["last_income"],
            [
                (ours["per_worker"], golden.observations["per_worker"], 2),
                (ours["last_marginal_rate"][..., None], states["last_marginal_rate"][..., None], 0),
            ],
        ),
    ):
        near = np.abs(incomes[..., None] - cutoffs).min(axis=-1) < NEAR
        assert not near.all()
        for own, official, column in places:
            own[..., column] = np.where(near, official[..., column], own[..., column])
