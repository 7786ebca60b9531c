"""The laws of everything random: those of the official package, or uniform and independent.

Given the same noise both economies are the same (``test_parity.py``), so with these whole random
episodes have the same law; ``test_distribution.py`` looks at that from the far end.
"""

import jax
import numpy as np
import official_economy
import pytest
from scipy import stats

from ai_econ_jax.envs.gather_trade_build import Config, GatherTradeBuild, make_params

# A sound law falls below this once in 100,000 seeds, and the seeds are fixed.
RARE = 1e-5
RESETS = 300


@pytest.fixture(scope="module")
def step_noise():
    """Noise of three workers: 500 episodes of 40 steps, with keys as a rollout splits them."""
    environment = GatherTradeBuild(Config(num_workers=3))

    def episode(key):
        return jax.vmap(environment.draw_step_noise)(jax.random.split(key, 40))

    return jax.device_get(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 500)))


def test_all_orders_of_moving_are_equally_likely(step_noise):
    orders, counts = np.unique(step_noise.gather_order.reshape(-1, 3), axis=0, return_counts=True)
    assert len(orders) == 6 and stats.chisquare(counts).pvalue > RARE


@pytest.mark.parametrize("name", ["gather", "regeneration", "saez"])
def test_step_noise_is_uniform(step_noise, name):
    assert stats.kstest(getattr(step_noise, name).ravel(), "uniform").pvalue > RARE


def test_step_noise_is_independent_within_steps_and_between_them(step_noise):
    goes_first = np.argsort(step_noise.gather_order, axis=-1) == 0
    uniform = (step_noise.gather, step_noise.regeneration, step_noise.saez)
    now = np.concatenate([goes_first, *uniform], axis=-1)
    both = np.concatenate([now[:, :-1], now[:, 1:]], axis=-1).reshape(-1, 2 * now.shape[-1])
    correlation = np.corrcoef(both.T)
    # Who moves first is one of three, so these three are dependent among themselves.
    pairs = np.triu(np.ones_like(correlation, bool), 1)
    for first in (0, now.shape[-1]):
        pairs[first : first + 3, first : first + 3] = False
    worst = np.abs(correlation[pairs]).max()
    assert worst < stats.norm.isf(RARE / pairs.sum()) / np.sqrt(len(both))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "different",
    [
        {},
        {"fixed_four": False, "skill_law": "lognormal", "bonus_law": "lognormal"},
        {"fixed_four": False, "layout_kind": "split", "top_ranks": (1,)},
    ],
    ids=["corners", "lognormal", "split"],
)
def test_resets_have_the_official_laws(different):
    config = Config(**different)
    ours, official = our_resets(config), official_resets(config)
    if config.layout_kind == "split":
        # The official averages of skills are drawn once, with few draws.
        ours["payment"], official["payment"] = (
            stats.rankdata(resets["payment"], axis=1) for resets in (ours, official)
        )
    for name in official:
        result = stats.ks_2samp(ours[name].ravel(), official[name].ravel())
        assert result.pvalue > RARE, (name, ours[name].mean(), official[name].mean())
    # Nothing goes with the number of a worker, and bonuses go with nothing.
    for name in official:
        assert stats.ks_2samp(ours[name][:, 0], ours[name][:, -1]).pvalue > RARE, name
        if name != "bonus":
            apart = stats.spearmanr(ours["bonus"].ravel(), ours[name].ravel())
            assert apart.pvalue > RARE, name


def our_resets(config):
    """By name, something of each worker at the start of 5,000 episodes."""
    environment = GatherTradeBuild(config)
    params = make_params(config)
    keys = jax.random.split(jax.random.key(1), 5000)

    @jax.jit
    @jax.vmap
    def start(key):
        state, _ = environment.reset(key, params)
        return {
            "bonus": state.bonus,
            "skill": state.build_skill,
            "payment": state.build_payment,
            "row": state.location[:, 0],
            "column": state.location[:, 1],
        }

    drawn = {name: np.asarray(array, float) for name, array in start(keys).items()}
    return drawn | {"payment": drawn["payment"].round(3)}


def official_resets(config):
    """The same of fewer official episodes."""
    environment = official_economy.make(config)
    # What is seen plays no part, and takes nearly all the time.
    environment._generate_observations = lambda **flags: {}
    np.random.seed(5)  # noqa: NPY002
    episodes = []
    for _ in range(RESETS):
        environment.reset()
        agents = environment.world.agents
        skills = environment.get_component("Build").sampled_skills
        episodes.append(
            [
                [
                    agent.state["bonus_gather_prob"],
                    skills[agent.idx],
                    round(agent.state["build_payment"], 3),
                    *agent.loc,
                ]
                for agent in agents
            ]
        )
    names = ("bonus", "skill", "payment", "row", "column")
    return dict(zip(names, np.moveaxis(np.array(episodes), -1, 0), strict=True))
