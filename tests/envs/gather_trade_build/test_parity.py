"""Lockstep with the official package: same noise and actions, so the same economy at every step."""

import dataclasses

import numpy as np
import official_economy
import pytest
from lockstep import Player, assert_same, saez_samples
from parity_cases import CASES, POLICIES

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("x64")]

FAST = ("houses", "multi_action", "curricula")
# Slow in full, but what only they reach is also compared in short: steps of one episode.
SHORT = {"saez_full": 80}


def play_both(name, steps_of_one_episode=None, seed=0):
    """Plays a case on both sides; returns the number of steps compared and of trades.

    Prints these and the largest difference of a float: ``pytest -rP`` shows it.
    """
    case = CASES[name]
    if steps_of_one_episode is not None:
        config = dataclasses.replace(case.config, episode_length=steps_of_one_episode)
        case = dataclasses.replace(case, config=config, episodes=1)
    rng = np.random.default_rng([seed, *name.encode()])
    environment = official_economy.make(case.config, **dict(case.numbers))
    environment._completions = case.completions
    samples = saez_samples(case.saez_samples, rng)
    if case.saez_samples:
        environment.get_component("PeriodicBracketTax")._local_saez_buffer = samples.tolist()
    player = Player(case, samples)
    steps = trades = 0
    largest = 0.0
    for _ in range(case.episodes):
        episode = official_economy.record_episode(
            environment, case.config, rng, POLICIES[case.policy]
        )
        ours, rewards = player.play(episode)
        for own, official in (
            (ours, episode.states),
            (ours, episode.observations),
            (rewards, episode.rewards),
        ):
            largest = max(largest, assert_same(own, official))
        steps += case.config.episode_length
        trades += episode.num_trades
    print(f"parity {name}: {steps} steps, largest difference {largest:.1e}")
    return steps, trades


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_every_step_is_that_of_the_official_economy(name):
    _, trades = play_both(name)
    assert trades > 0


@pytest.mark.parametrize("name", SHORT)
def test_short_episodes_of_slow_cases(name):
    steps, _ = play_both(name, SHORT[name])
    assert steps == SHORT[name]


def test_the_suite_is_as_large_as_promised():
    assert len(CASES) >= 12
    assert sum(case.config.episode_length * case.episodes for case in CASES.values()) >= 10_000
