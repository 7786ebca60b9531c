import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import confidence
from ai_econ_jax.agents.stepmix.offline import (
    BaselineNotCertified,
    learn_baseline,
    pessimistic_policy,
    split_delta,
    step_counts,
)
from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite
from ai_econ_jax.envs.tabular.problem import make_problem
from ai_econ_jax.envs.tabular.trajectories import generate, simulate

UNIFORM = np.full((5, 3, 3), 1 / 3, np.float32)
CLIFF = suite.cliff3().mdp


def twenty_arms():
    """One arm pays .6, nineteen pay .3; nine in ten episodes of the data pull the good one."""
    success = np.array([0.6] + [0.3] * 19)
    transition = np.zeros((2, 3, 20, 3))
    transition[0, 0] = np.stack([0 * success, success, 1 - success], -1)
    transition[0, 1:, :, 0] = transition[1, :, :, 0] = 1
    reward = np.zeros((2, 3, 20))
    reward[1, 1] = 1
    behaviour = np.tile([0.9] + [0.1 / 19] * 19, (2, 3, 1))
    problem = make_problem("twenty_arms", transition, reward, baseline=behaviour)
    return problem.mdp, problem.baseline


def table(mdp, behaviour, num_episodes, num_datasets, gamma, delta=0.05):
    """Shares of datasets: greedy below gamma, pessimistic below gamma, certified, bound broken."""
    horizon, num_states, num_actions = mdp.shape

    @jax.jit
    def counts(key):
        states, actions = simulate(key, mdp, behaviour, num_episodes)
        steps = jnp.broadcast_to(jnp.arange(horizon), actions.shape)
        index = steps, states[:, 1:], states[:, :-1], actions
        return jnp.zeros((horizon, num_states, num_states, num_actions)).at[index].add(1)

    keys = jax.random.split(jax.random.key(num_episodes), num_datasets)
    transitions = jnp.moveaxis(jax.lax.map(counts, keys), 0, -1)
    sizes = confidence.Sizes(horizon * num_states * num_actions, num_states, horizon, delta)
    value = jax.vmap(dp.value, (None, -1))
    greedy, _ = pessimistic_policy("zero", sizes, mdp.reward, transitions)
    careful, lower = pessimistic_policy("kl", sizes, mdp.reward, transitions)
    certificate = mdp.initial @ lower[0]
    true = value(mdp, careful)
    certified = certificate >= gamma
    assert (true[certified] >= gamma).all()
    return {
        "greedy fails": float((value(mdp, greedy) < gamma).mean()),
        "pessimistic fails": float((true < gamma).mean()),
        "certified": float(certified.mean()),
        "bound broken": float((certificate > true + 1e-6).mean()),
        "greedy value": float(value(mdp, greedy).mean()),
        "pessimistic value": float(true.mean()),
    }


def test_greedy_fails_where_pessimism_does_not_and_certificates_hold():
    mdp, behaviour = twenty_arms()
    few = table(mdp, behaviour, 300, 40, gamma=0.54)
    assert few["greedy fails"] > 0.5
    assert few["certified"] == few["pessimistic fails"] == few["bound broken"] == 0
    many = table(mdp, behaviour, 10_000, 10, gamma=0.54)
    assert many["certified"] == 1
    assert many["pessimistic fails"] == many["bound broken"] == 0


@pytest.mark.slow
def test_the_whole_table_of_two_hundred_datasets(capsys):
    mdp, behaviour = twenty_arms()
    rows = {n: table(mdp, behaviour, n, 200, gamma=0.54) for n in (100, 300, 1000, 3000, 10_000)}
    uniform = {
        n: table(CLIFF, jnp.asarray(UNIFORM), n, 200, gamma=0.9 * 2.353846875)
        for n in (300, 1000, 3000)
    }
    with capsys.disabled():
        for name, rows_of_problem in (("twenty_arms", rows), ("cliff3", uniform)):
            for n, row in rows_of_problem.items():
                print(name, n, row)
    assert all(row["pessimistic fails"] == 0 for row in rows.values())
    assert all(row["bound broken"] == 0 for row in (rows | uniform).values())
    assert rows[300]["greedy fails"] > 0.5
    assert rows[100]["certified"] == rows[1000]["certified"] == 0
    assert rows[10_000]["certified"] == 1
    assert uniform[3000]["certified"] == 1
    # Where coverage is good, pessimism costs.
    assert uniform[300]["pessimistic value"] < uniform[300]["greedy value"]


def by_loops(reward, transitions, initial, delta):
    """VI-LCB on one dataset, cell by cell, with the minimum over the ball by bisection."""
    horizon, num_states, num_actions = reward.shape
    cells = transitions.shape[0] * num_states * num_actions
    value = np.zeros(num_states)
    policy = np.zeros(reward.shape[:2], int)
    for h in reversed(range(horizon)):
        counts = transitions[min(h, len(transitions) - 1)]
        q = np.zeros((num_states, num_actions))
        for s in range(num_states):
            for a in range(num_actions):
                n = counts[:, s, a].sum()
                if n == 0:
                    q[s, a] = reward[h, s, a] + value.min()
                    continue
                binomial = sum(np.log1p(n / i) for i in range(1, num_states))
                radius = (np.log(cells / delta) + binomial) / n
                q[s, a] = reward[h, s, a] + least_mean(counts[:, s, a] / n, radius, value)
        policy[h] = q.argmax(-1)
        value = q.max(-1)
    return policy, initial @ value


def least_mean(law, radius, values):
    gap = values - values.min()
    if gap.max() < 1e-12:
        return law @ values
    grid = np.logspace(-9, 8, 20_001) * gap.max()
    exponent = (law * np.log1p(gap / grid[:, None])).sum(-1) - radius
    return (values.min() + grid * np.expm1(exponent)).max()


@pytest.mark.parametrize("stationary", [False, True])
def test_equals_a_loop_over_cells(stationary):
    data = generate(jax.random.key(1), CLIFF, UNIFORM, 150)
    learned = learn_baseline(
        data, CLIFF, 5.0, delta=0.05, stationary=stationary, allow_uncertified=True
    )
    transitions = step_counts(data, CLIFF, stationary)
    assert transitions.shape == ((1 if stationary else 5), 3, 3, 3)
    np.testing.assert_array_equal(learned.transitions, transitions)
    policy, value = by_loops(np.asarray(CLIFF.reward), transitions, np.asarray(CLIFF.initial), 0.05)
    np.testing.assert_array_equal(learned.policy.argmax(-1), policy)
    # Eight bisections leave the bound a little lower than it need be, never higher.
    assert learned.certificate <= value + 1e-5
    assert learned.certificate == pytest.approx(value, abs=2e-3)
    assert not learned.certified


@pytest.mark.parametrize("bonus", ["kl", "kl_closed", "bernstein", "mp", "bpi"])
def test_much_data_give_the_optimum_under_every_preset(bonus):
    transitions = 1e12 * jnp.moveaxis(CLIFF.transition, -1, 1)[..., None]
    sizes = confidence.Sizes(45, 3, 5, 0.05)
    policy, values = pessimistic_policy(bonus, sizes, CLIFF.reward, transitions)
    # bpi keeps a margin in proportion to its interval, which is that of the end: nothing.
    assert float(values[0, 0, 0]) == pytest.approx(3.1254, abs=0.01)
    assert float(dp.value(CLIFF, policy[..., 0])) == pytest.approx(3.1254, abs=1e-5)


def test_without_data_only_rewards_are_sure():
    sizes = confidence.Sizes(45, 3, 5, 0.05)
    _, values = pessimistic_policy("kl", sizes, CLIFF.reward, jnp.zeros((5, 3, 3, 3, 1)))
    # The worst next state pays nothing for ever, so only the present reward counts.
    np.testing.assert_allclose(values[:5, :, 0], [[0.5, 0.0, 1.0]] * 5, atol=1e-6)


def test_pooling_certifies_more():
    data = generate(jax.random.key(2), CLIFF, UNIFORM, 500)
    pooled, apart = (
        learn_baseline(data, CLIFF, 0.0, delta=0.05, stationary=stationary).certificate
        for stationary in (True, False)
    )
    assert pooled > apart + 0.1


def test_a_baseline_without_proof_is_refused_unless_allowed():
    data = generate(jax.random.key(3), CLIFF, UNIFORM, 100)
    with pytest.raises(
        BaselineNotCertified,
        match=r"learned from 100 trajectories is certified for [\d.]+, gamma is 2\.1: give more "
        r"data, a lower gamma, or --allow_uncertified",
    ) as caught:
        learn_baseline(data, CLIFF, 2.1, delta=0.025)
    allowed = learn_baseline(data, CLIFF, 2.1, delta=0.025, allow_uncertified=True)
    assert not allowed.certified
    assert allowed.certificate == caught.value.certificate < 2.1
    assert learn_baseline(data, CLIFF, 0.1, delta=0.025).certified


def test_delta_is_paid_once_with_a_warm_start_and_halved_without():
    assert split_delta(0.05, warm_start=True) == (0.05, 0.05)
    assert split_delta(0.05, warm_start=False) == (0.025, 0.025)
