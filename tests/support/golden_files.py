"""Golden trajectories: official episodes in files, for parity without the official package.

PYTHONPATH=. python tests/support/golden_files.py    # writes them anew
"""

import dataclasses
import pathlib

import numpy as np
from parity_cases import CASES, POLICIES

FOLDER = pathlib.Path(__file__).parents[1] / "envs/gather_trade_build/golden"
STEPS = 300
SEED = 7
# Those with a buffer of samples would need it at every step.
NAMES = ("paper", "unmasked", "houses", "one_order", "multi_action", "split", "shared_wealth")
# Maps and books are functions of what is kept; every tenth observation of the map is enough.
STRIDE = 10
THINNED = ("map", "index_map", "flat", "house_owner")
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
            if name in THINNED:
                array = array[::STRIDE]
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


def thin(ours):
    """Our side of an episode, of which only every tenth observation is compared."""
    return {n: a[::STRIDE] if n in THINNED else np.array(a) for n, a in ours.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        np.savez_compressed(FOLDER / f"{each}.npz", **thinned(dataclasses.asdict(record(each))))
        print(each, (FOLDER / f"{each}.npz").stat().st_size)
