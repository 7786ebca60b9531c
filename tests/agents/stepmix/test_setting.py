"""The problem, its baseline and gamma, from every source; tests of values are exact."""

import jax
import numpy as np
import pytest

from ai_econ_jax import config as config_lib
from ai_econ_jax.agents.stepmix import select
from ai_econ_jax.agents.stepmix.config import (
    ALGORITHMS,
    ProblemConfig,
    RunConfig,
    StepMixConfig,
)
from ai_econ_jax.agents.stepmix.constrained import LEARNERS
from ai_econ_jax.agents.stepmix.presets import PRESETS
from ai_econ_jax.agents.stepmix.setting import make_setting
from ai_econ_jax.envs.tabular import files, suite, trajectories
from ai_econ_jax.envs.tabular.problem import make_problem


def setting_of(run=RunConfig(), **problem):  # noqa: B008
    return make_setting(StepMixConfig(problem=ProblemConfig(**problem), run=run))


def test_built_in_problem_has_its_exact_values_and_a_share_of_the_baseline_as_gamma():
    setting = setting_of(env="cliff3")
    assert setting.optimal_value == pytest.approx(3.1254, abs=1e-12)
    assert setting.baseline_value == pytest.approx(2.353846875, abs=1e-12)
    assert setting.gamma == pytest.approx(0.9 * 2.353846875, abs=1e-12)
    for array in (*jax.tree.leaves(setting.problem.mdp), setting.problem.baseline):
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.float64


@pytest.mark.parametrize(
    ("env", "options", "optimal"),
    [
        ("riverswim", "num_states=4, horizon=16, left=0.1", 4.3619992441),
        ("dirichlet_sparse", "seed=2", 3.8038340569),
        ("bandit2", "", 0.8),
    ],
)
def test_options_reach_the_problem(env, options, optimal):
    setting = setting_of(env=env, options=options)
    assert setting.optimal_value == pytest.approx(optimal, abs=1e-9)


def test_named_baseline_replaces_the_problems_own():
    value = setting_of(
        env="dirichlet", options="num_states=5,num_actions=5,horizon=3", baseline="rank2"
    ).baseline_value
    assert value == pytest.approx(2.0694179253, abs=1e-9)


def test_toy_text_is_in_the_units_of_its_rewards():
    pytest.importorskip("gymnasium")
    options = "is_slippery=False"
    setting = setting_of(env="", gym_env="FrozenLake-v1", options=options, horizon=6)
    assert setting.optimal_value == pytest.approx(1)
    cliff = setting_of(env="", gym_env="CliffWalking-v1", horizon=13, gamma=-1000.0)
    units = cliff.problem.value_in_original_units
    assert units(cliff.optimal_value) == pytest.approx(-13)
    assert units(cliff.gamma) == pytest.approx(-1000)
    assert cliff.problem.mdp.horizon == 13
    # Rewards are -100 to 0 here, so a share is taken of what is mapped to [0, 1].
    share = setting_of(env="", gym_env="CliffWalking-v1", horizon=13).gamma
    assert share == pytest.approx(0.9 * cliff.baseline_value)
    assert setting_of(env="", gym_env="FrozenLake-v1").problem.mdp.horizon == 20


def test_file_gives_the_problem_that_was_saved(tmp_path):
    path = tmp_path / "cliff.npz"
    with jax.enable_x64(True):
        files.save_problem(path, suite.cliff3())
    saved = setting_of(env="", env_file=str(path))
    assert saved.fingerprint == setting_of(env="cliff3").fingerprint
    assert saved.fingerprint != setting_of(env="cliff3", gamma_frac=0.8).fingerprint


def test_fingerprint_knows_the_scale_of_the_rewards(tmp_path):
    path = tmp_path / "cliff.npz"
    cliff = suite.cliff3()

    def fingerprint(low, high):
        # The same arrays once mapped to [0, 1]; only the units of what is reported differ.
        reward = low + (high - low) * np.asarray(cliff.mdp.reward, np.float64)
        problem = make_problem(
            "scaled",
            cliff.mdp.transition,
            reward,
            baseline=cliff.baseline,
            reward_min=low,
            reward_max=high,
        )
        files.save_problem(path, problem)
        return setting_of(env="", env_file=str(path)).fingerprint

    assert len({fingerprint(*scale) for scale in ((0, 1), (0, 2), (-2, 2), (0, 1))}) == 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three thousand episodes of uniform behaviour on cliff3."""
    path = tmp_path_factory.mktemp("data") / "data.npz"
    mdp = suite.cliff3().mdp
    behaviour = np.full((5, 3, 3), 1 / 3, np.float32)
    trajectories.save_trajectories(
        path, trajectories.generate(jax.random.key(0), mdp, behaviour, 3000)
    )
    return str(path)


def test_baseline_learned_from_data_is_certified_and_warm_starts_the_run(data):
    setting = setting_of(env="cliff3", offline_data=data)
    # Gamma is a share of the problem's own baseline, not of the one that is learned.
    assert setting.gamma == pytest.approx(0.9 * 2.353846875)
    assert setting.learned.certified
    assert setting.gamma <= setting.learned.certificate <= setting.baseline_value
    assert setting.initial_transitions.sum() == 3000 * 5
    assert setting.run.delta == 0.05  # one event, paid for once
    pooled = setting_of(env="cliff3", offline_data=data, run=RunConfig(stationary=True))
    assert pooled.initial_transitions.shape == (1, 3, 3, 3)
    assert pooled.learned.certificate > setting.learned.certificate


def test_without_warm_start_delta_is_split_and_counts_start_at_zero(data):
    warm = setting_of(env="cliff3", offline_data=data)
    cold = setting_of(env="cliff3", offline_data=data, warm_start=False)
    assert cold.initial_transitions is None
    assert cold.run.delta == 0.025
    assert cold.learned.certificate < warm.learned.certificate


def test_uncertified_baseline_needs_permission_and_still_has_to_be_worth_gamma(data):
    with pytest.raises(ValueError, match="3000 trajectories is certified for"):
        setting_of(env="cliff3", offline_data=data, gamma=2.9)
    allowed = setting_of(env="cliff3", offline_data=data, gamma=2.9, allow_uncertified=True)
    assert not allowed.learned.certified
    assert allowed.baseline_value > allowed.gamma > allowed.learned.certificate
    with pytest.raises(ValueError, match=r"kappa = -.*baseline does not satisfy gamma"):
        setting_of(env="cliff3", offline_data=data, gamma=3.12, allow_uncertified=True)


def test_data_on_a_problem_without_baseline_need_gamma(tmp_path, data):
    path = tmp_path / "bare.npz"
    cliff = suite.cliff3().mdp
    bare = make_problem("bare", cliff.transition, cliff.reward)
    files.save_problem(path, bare)
    with pytest.raises(ValueError, match=r"gamma is missing.*--gamma"):
        setting_of(env="", env_file=str(path), offline_data=data)
    setting = setting_of(env="", env_file=str(path), offline_data=data, gamma=2.1)
    assert setting.learned.certified


def test_certificate_in_messages_is_in_original_units(tmp_path, data):
    path = tmp_path / "scaled.npz"
    cliff = suite.cliff3().mdp
    reward = 10 * np.asarray(cliff.reward, np.float64) - 2
    scaled = make_problem("scaled", cliff.transition, reward, reward_min=-2, reward_max=8)
    files.save_problem(path, scaled)
    with pytest.raises(ValueError, match=r"gamma is 20\b"):
        setting_of(env="", env_file=str(path), offline_data=data, gamma=20.0)


def test_warm_counts_beyond_float32_are_refused(data):
    run = RunConfig(stationary=True, episodes=2**24 // 5)
    setting_of(env="cliff3", run=run)
    with pytest.raises(config_lib.ConfigError, match=r"run.episodes = .* float32"):
        setting_of(env="cliff3", run=run, offline_data=data)
    run = RunConfig(episodes=2**24 - 3000)
    setting_of(env="cliff3", run=run, offline_data=data)
    run = RunConfig(episodes=2**24 - 2999)
    setting_of(env="cliff3", run=run, offline_data=data, warm_start=False)
    with pytest.raises(config_lib.ConfigError, match=r"with the offline data, 16777217 visits"):
        setting_of(env="cliff3", run=run, offline_data=data)


def test_every_algorithm_has_a_line_and_every_preset_is_valid():
    ran = {*select.ALGORITHMS, *LEARNERS, "ppo_tabular"}
    assert set(ALGORITHMS) == ran
    for config in PRESETS.values():
        assert config_lib.validate(config) is config
        assert config_lib.from_dict(StepMixConfig, config_lib.to_dict(config)) == config
