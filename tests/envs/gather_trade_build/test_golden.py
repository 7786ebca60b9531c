"""Golden trajectories: parity without the official package, which wrote them.

python tests/envs/gather_trade_build/test_golden.py    # writes them anew
"""

import dataclasses
import pathlib

import numpy as np
import pytest
from lockstep import Player, assert_same, saez_samples
from parity_cases import CASES, POLICIES

pytestmark = pytest.mark.usefixtures("x64")

FOLDER = pathlib.Path(__file__).parent / "golden"
STEPS = 300
SEED = 7
# Those with a buffer of samples would need it at every step.
NAMES = ("paper", "unmasked", "houses", "one_order", "multi_action", "split", "shared_wealth")
FAST = ("paper",)
# Maps and books are functions of what is kept; every tenth observation of the map is enough.
_STRIDE = 10
_LEFT_OUT = ("asks", "bids", "price_history", "planner_map", "planner_index_map", "resources")


@dataclasses.dataclass
class Golden:
    """A recorded episode, as ``lockstep`` reads it."""

    start: dict
    noise: dict
    actions: dict
    states: dict
    observations: dict
    rewards: dict


def case_of(name):
    case = CASES[name]
    return dataclasses.replace(
        case, config=dataclasses.replace(case.config, episode_length=STEPS), episodes=1
    )


def record(name):
    """Plays the official side of a case."""
    import official_economy

    case = case_of(name)
    rng = np.random.default_rng(SEED)
    environment = official_economy.make(case.config, **dict(case.numbers))
    return official_economy.record_episode(environment, case.config, rng, POLICIES[case.policy])


def thinned(groups):
    """What is kept of an episode: ``{group/name: array}``."""
    kept = {}
    for group in ("start", "noise", "actions", "states", "observations", "rewards"):
        for name, array in groups[group].items():
            if name in _LEFT_OUT:
                continue
            if name in ("map", "index_map", "flat", "house_owner"):
                array = array[::_STRIDE]
            if array.dtype == np.int64:
                array = array.astype(np.int32)
            kept[f"{group}/{name}"] = array
    return kept


def load(name):
    with np.load(FOLDER / f"{name}.npz") as archive:
        groups = {field.name: {} for field in dataclasses.fields(Golden)}
        for key in archive.files:
            group, entry = key.split("/")
            groups[group][entry] = archive[key]
    return Golden(**groups)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_golden_trajectory_is_reproduced(name):
    golden = load(name)
    ours, rewards = Player(case_of(name), saez_samples(0, np.random.default_rng(0))).play(golden)
    for field in ("map", "index_map", "flat", "house_owner"):
        ours[field] = ours[field][::_STRIDE]
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


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        np.savez_compressed(FOLDER / f"{each}.npz", **thinned(dataclasses.asdict(record(each))))
        print(each, (FOLDER / f"{each}.npz").stat().st_size)
