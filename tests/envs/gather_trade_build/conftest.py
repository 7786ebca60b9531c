"""An episode in a small world, recorded once for all tests of logs and replays."""

import jax
import pytest

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params, recorder

# Small, yet with houses, orders, trades and three tax years.
SMALL = Config(layout="quadrant_8x8_4each_8clump", episode_length=90)


@pytest.fixture(scope="session")
def small_world():
    """The environment and its parameters."""
    return GatherTradeBuild(SMALL), make_params(
        SMALL, starting_coin=12.0, tax_period=30, regeneration=0.1
    )


@pytest.fixture(scope="session")
def episode(small_world):
    """The log of a random episode."""
    environment, params = small_world
    log = recorder.record_episode(jax.random.key(11), environment, params)
    assert len(log.trade_step) >= 10 and (log.house_owner[-1] >= 0).sum() >= 4
    return log
