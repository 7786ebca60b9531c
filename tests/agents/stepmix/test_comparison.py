"""Comparisons: units, resumption, and what report and figures make of known traces."""

import dataclasses
import logging
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import (
    constrained_run,
    experiment,
    figures,
    report,
    tabular_ppo,
)
from ai_econ_jax.agents.stepmix.config import ALGORITHMS, ProblemConfig, RunConfig, StepMixConfig
from ai_econ_jax.agents.stepmix.run import Trace
from ai_econ_jax.agents.stepmix.setting import make_setting
from ai_econ_jax.envs.tabular import files, suite
from ai_econ_jax.envs.tabular.problem import make_problem
from ai_econ_jax.workdir import Workdir

SEEDS, POINTS = 3, 50
CONFIG = StepMixConfig(num_seeds=SEEDS, run=RunConfig(episodes=1000))


def make_trace(gap=0.5, level=5.0, violations=(0, 0, 0), **changes):
    """A run whose gap is the same in all episodes."""
    episode = np.arange(1, POINTS + 1) * 20
    ones = np.ones((POINTS, SEEDS))
    share = episode[:, None] / episode[-1]
    violations = np.array(violations)
    curves = {
        "regret": gap * episode[:, None] * ones,
        "violations": np.floor(share * violations),
        "gap": gap * ones,
        "level": level * ones,
        "upper": 5 * ones,
        "guaranteed": 2 * ones,
    }
    totals = {
        "regret": gap * 1000 * np.ones(SEEDS),
        "second_half_regret": gap * 500 * np.ones(SEEDS),
        "last_gap": gap * np.ones(SEEDS),
        "violations": violations,
        "drawn_violations": np.zeros(SEEDS, int),
        "broken_certificates": np.zeros(SEEDS, int),
        "shortfall": np.full(SEEDS, -0.1),
        "leave": np.full(SEEDS, -1),
        "full": np.full(SEEDS, -1),
    }
    trace = Trace(episode=episode, curves=curves, transitions=None, seconds=2.0, **totals)
    return dataclasses.replace(trace, **changes)


@pytest.fixture(scope="module")
def setting():
    return make_setting(CONFIG)


@pytest.fixture
def comparison(setting):
    unsafe = make_trace(
        gap=0.1,
        level=0.0,
        violations=(0, 4, 2),
        regret=np.array([90.0, 100.0, 110.0]),
        shortfall=np.array([-0.2, 1.5, 0.3]),
        leave=np.array([0, 7, -1]),
        full=np.array([-1, 9, -1]),
    )
    drawn = make_trace(level=2.5, drawn_violations=np.array([3, 0, 0]))
    return experiment.comparison_of(
        CONFIG, setting, {"stepmix": make_trace(), "epsmix": drawn, "ucbvi": unsafe}
    )


def test_headline_figures_of_known_runs(comparison):
    summary = report.summary(comparison)
    assert summary["ucbvi/regret_mean"] == 100
    assert summary["ucbvi/regret_std"] == 10
    assert summary["ucbvi/violating_episodes_mean"] == 2
    assert summary["ucbvi/violating_episodes_max"] == 4
    assert summary["ucbvi/runs_with_violation"] == pytest.approx(2 / 3)
    assert summary["ucbvi/worst_shortfall"] == 1.5
    assert summary["ucbvi/leave_episode_median"] == 7  # never counts as the latest
    assert summary["ucbvi/full_episode_median"] == np.inf
    assert summary["ucbvi/seed_episodes_per_second"] == 1500
    assert summary["epsmix/drawn_violating_episodes_mean"] == 1
    assert summary["stepmix/second_half_regret_mean"] == 250
    assert summary["stepmix/last_gap_mean"] == 0.5
    assert summary["kappa"] == pytest.approx(0.2353846875)


def test_table_has_a_row_of_even_width_for_each_algorithm(comparison):
    table = report.table(comparison)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    cells = {row.split("|")[1].strip(): row for row in rows[2:]}
    assert list(cells) == ["StepMix", "EpsMix", "UCBVI"]
    for words in ("100 ± 10.00", "2 (4)", "67%", "1.50", " 7 ", "never", "1,500"):
        assert words in cells["UCBVI"]
    for words in ("500 ± 0", "0 (0)", "0%", "margin 0.1", "never"):
        assert words in cells["StepMix"]
    assert "The policy drawn was worth less than gamma in 1 episodes per run." in table


def test_broken_certificates_are_told(comparison):
    broken = make_trace(broken_certificates=np.array([0, 2, 1]))
    traces = dict(comparison.traces) | {"switch": broken}
    told = report.table(dataclasses.replace(comparison, traces=traces))
    assert "over all seeds: Switch 3." in told
    assert "certificate" not in report.table(comparison)


@pytest.mark.parametrize(
    ("value", "text"),
    [(23146.6, "23,147"), (99.994, "99.99"), (1.0, "1.00"), (0.00635, "0.00635"), (0, "0")],
)
def test_numbers_have_at_least_three_digits(value, text):
    assert report.number(value) == text


def test_one_seed_has_no_spread(setting):
    config = dataclasses.replace(CONFIG, num_seeds=1)
    trace = make_trace()
    single = {name: getattr(trace, name)[:1] for name in ("regret", "violations", "shortfall")}
    traces = {"stepmix": dataclasses.replace(trace, **single)}
    comparison = experiment.comparison_of(config, setting, traces)
    assert np.isnan(report.summary(comparison)["stepmix/regret_std"])
    assert "±" not in report.table(comparison).splitlines()[3]


def test_every_algorithm_has_a_title_and_a_colour():
    assert set(report.TITLES) == set(figures.COLORS) == set(ALGORITHMS)
    marks = {(figures.COLORS[n], str(figures.DASHES.get(n))) for n in ALGORITHMS}
    assert len(marks) == len(ALGORITHMS)


def test_figures_show_means_ranges_and_the_constraint(comparison):
    (axes,) = figures.value(comparison).axes
    worth = comparison.optimal_value - 0.1
    lines = {round(float(line.get_ydata()[-1]), 6) for line in axes.lines}
    assert round(worth, 6) in lines
    assert round(comparison.gamma, 6) in lines
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[0] < comparison.gamma < axes.get_ylim()[1]
    (axes,) = figures.regret(comparison).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.5 * axes.lines[0].get_xdata())
    (axes,) = figures.ladder(comparison).axes
    assert axes.lines[0].get_ydata().tolist() == [5.0] * len(axes.lines[0].get_ydata())
    (axes,) = figures.violations(comparison).axes
    assert {text.get_text() for text in axes.texts} == {"StepMix: 0", "EpsMix: 0", "UCBVI: 2"}
    band = axes.collections[2].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0, 4)


def test_figures_of_a_run_without_regret_or_with_one_point_can_be_drawn(setting, tmp_path, recwarn):
    best = make_trace(gap=0.0)
    mixed = {"stepmix": best, "baseline": make_trace()}
    one = dataclasses.replace(
        best, episode=best.episode[:1], curves={k: v[:1] for k, v in best.curves.items()}
    )
    for traces in ({"stepmix": best}, {"stepmix": one}, mixed):
        comparison = experiment.comparison_of(CONFIG, setting, traces)
        (tmp_path / "figures").mkdir(exist_ok=True)
        figures.write_figures(comparison, Workdir(tmp_path))
    assert len(list((tmp_path / "figures").iterdir())) == 4
    assert not [w for w in recwarn if "constrained_layout" in str(w.message)]


def test_traces_come_back_from_their_file_as_they_were(tmp_path):
    path = tmp_path / "metrics.npz"
    written = {"stepmix": make_trace(), "epsmix": make_trace(gap=0.1, violations=(1, 2, 3))}
    experiment._write_traces(path, written)
    read = experiment._read_traces(path)
    assert list(read) == list(written)
    for name, trace in written.items():
        for field in dataclasses.fields(Trace):
            if field.name not in ("curves", "transitions", "policies", "shares"):
                before, after = getattr(trace, field.name), getattr(read[name], field.name)
                np.testing.assert_array_equal(before, after)
        for curve, values in trace.curves.items():
            np.testing.assert_array_equal(values.astype(np.float32), read[name].curves[curve])


@pytest.mark.parametrize("name", ["epsmix", "dope", "ppo_tabular"])
def test_results_are_in_units_of_the_original_rewards(name, tmp_path):
    path = tmp_path / "scaled.npz"
    bandit = suite.bandit2()
    reward = 10 * np.asarray(bandit.mdp.reward, np.float64) - 2
    scaled = make_problem(
        "scaled",
        bandit.mdp.transition,
        reward,
        baseline=bandit.baseline,
        reward_min=-2,
        reward_max=8,
    )
    files.save_problem(path, scaled)
    how = RunConfig(episodes=64, log_points=8)
    plain = StepMixConfig(problem=ProblemConfig(env="bandit2"), run=how, num_seeds=2)
    changed = dataclasses.replace(plain, problem=ProblemConfig(env="", env_file=str(path)))
    told = []
    ours = experiment.run_algorithm(name, make_setting(plain), plain, told.append)
    theirs = experiment.run_algorithm(name, make_setting(changed), changed)
    assert told[-1] == 64
    for field in ("regret", "second_half_regret", "last_gap", "shortfall"):
        np.testing.assert_allclose(getattr(theirs, field), 10 * getattr(ours, field), atol=1e-4)
    for curve, shift in (("regret", 0), ("gap", 0), ("upper", -4), ("guaranteed", -4)):
        np.testing.assert_allclose(
            theirs.curves[curve], 10 * ours.curves[curve] + shift, atol=1e-4, rtol=1e-5
        )
    np.testing.assert_array_equal(theirs.violations, ours.violations)
    comparison = experiment.comparison_of(changed, make_setting(changed), {name: theirs})
    assert comparison.optimal_value == pytest.approx(10 * 0.8 - 4)
    assert comparison.baseline_value == pytest.approx(10 * 0.6 - 4)


def test_all_algorithms_get_the_same_seeds(setting):
    config = dataclasses.replace(CONFIG, seed=5, num_seeds=2)
    short = dataclasses.replace(setting, run=RunConfig(episodes=30, log_points=5))
    both = experiment.run_algorithm("baseline", short, config)
    alone = experiment.run_algorithm("baseline", short, dataclasses.replace(config, seed=6))
    np.testing.assert_array_equal(both.transitions[..., 1], alone.transitions[..., 0])


@pytest.mark.parametrize(
    ("name", "module", "program"),
    [("optpess_lp", constrained_run, "simulate"), ("ppo_tabular", tabular_ppo, "_train")],
)
def test_the_clock_starts_after_compilation(name, module, program, setting, monkeypatch, caplog):
    log = logging.getLogger("clock")

    def perf_counter():
        log.warning("clock")
        return 0.0

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=perf_counter))
    config = dataclasses.replace(CONFIG, lp_every=41)  # a size that no other test has compiled
    short = dataclasses.replace(setting, run=RunConfig(episodes=82))
    with caplog.at_level("WARNING"), jax.log_compiles():
        experiment.run_algorithm(name, short, config)
    told = [record.getMessage() for record in caplog.records]
    start, end = (i for i, message in enumerate(told) if message == "clock")
    compiled = [i for i, message in enumerate(told) if "XLA compilation of" in message]
    assert any(f"jit({program})" in told[i] for i in compiled if i < start)
    assert not [told[i] for i in compiled if start < i < end]


@pytest.mark.parametrize("name", ["baseline", "optpess_lp", "dope"])
def test_all_learners_begin_with_the_same_offline_counts(name, setting):
    short = dataclasses.replace(
        setting,
        run=RunConfig(episodes=30, log_points=5),
        initial_transitions=np.full((5, 3, 3, 3), 2.0),
    )
    trace = experiment.run_algorithm(name, short, CONFIG)
    totals = np.asarray(trace.transitions).sum((0, 1, 2, 3))
    np.testing.assert_array_equal(totals, 2 * 5 * 27 + 30 * 5)
