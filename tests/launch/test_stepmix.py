"""The launcher of StepMix: tiny runs from end to end, and the errors of its users.

Runs are in this process, with absl's flags as a fresh one would have them.
"""

import csv
import importlib
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from absl import app, flags
from absl.testing import flagsaver

from ai_econ_jax import cli
from ai_econ_jax.agents.stepmix import constrained, experiment
from ai_econ_jax.agents.stepmix.config import ALGORITHMS
from ai_econ_jax.envs.tabular import suite

app.define_help_flags()

TINY = ("--preset=smoke", "--algos=stepmix,epsmix,baseline")
KEYS = (
    "regret_mean",
    "regret_std",
    "violating_episodes_mean",
    "violating_episodes_max",
    "runs_with_violation",
    "leave_episode_median",
    "full_episode_median",
)


@pytest.fixture(scope="module")
def launcher():
    """The module, imported while absl knows no other launcher's flags; two define --workdir."""
    saved = {name: dict(value) for name, value in flags.FLAGS.__dict__.items() if _is_dict(value)}
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if "ai_econ" in module:
            for flag in list(defined):
                delattr(flags.FLAGS, flag.name)
    yield importlib.import_module("ai_econ_jax.launch.stepmix")
    flags.FLAGS.__dict__.update(saved)


def _is_dict(value):
    return isinstance(value, dict)


@pytest.fixture
def run(launcher, capsys):
    """Runs the launcher; gives its exit code and what it printed."""

    def launch_and_read(*arguments):
        capsys.readouterr()
        saved = flagsaver.save_flag_values()
        try:
            with pytest.raises(SystemExit) as leaving:
                argv = ["stepmix", *map(str, arguments)]
                cli.run_app(launcher.main, launcher.PRESETS, argv)
        finally:
            flagsaver.restore_flag_values(saved, flags.FLAGS)
        printed = capsys.readouterr()
        return SimpleNamespace(code=leaving.value.code, out=printed.out, err=printed.err)

    return launch_and_read


@pytest.fixture
def quickly(monkeypatch):
    """Every algorithm plays the baseline, which compiles fast; gives the names of those begun."""
    really, began = experiment.run_algorithm, []

    def run_algorithm(name, *arguments, **options):
        began.append(name)
        if began == ["stepmix", "ucbvi"]:
            raise KeyboardInterrupt
        return really("baseline", *arguments, **options)

    monkeypatch.setattr(experiment, "run_algorithm", run_algorithm)
    return began


def assert_error(done, *words):
    assert done.code == 2, done.out
    lines = done.err.splitlines()
    assert lines[-1].startswith("ai-econ: error: ")
    for word in words:
        assert word in lines[-1], lines[-1]


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def test_tiny_run_leaves_table_summary_curves_and_figures(run, tmp_path):
    place = tmp_path / "run"
    done = run(*TINY, f"--workdir={place}")
    assert done.code == 0, done.err
    assert "S = 3 states, A = 3 actions, H = 5 steps" in done.out
    assert "V* = 3.1254, V(baseline) = 2.353846875, gamma = 2.118462" in done.out
    assert "kappa = V(baseline) - gamma = 0.235385" in done.out
    table = (place / "table.md").read_text()
    assert table.strip() in done.out
    for title in ("StepMix", "EpsMix", "Baseline"):
        assert re.search(rf"^\| {title} .*\| +never \|", table, re.MULTILINE)
    assert "heuristic" not in done.out
    assert re.search(r"^stepmix: episode 60/60, .* episodes/s, 00:00 left$", done.err, re.MULTILINE)

    summary = summary_of(place)
    for name in ("stepmix", "epsmix", "baseline"):
        assert {f"{name}/{key}" for key in KEYS} <= summary.keys()
        # 60 episodes are too few to leave.
        assert summary[f"{name}/regret_mean"] == pytest.approx(60 * 0.771553125)
        assert summary[f"{name}/violating_episodes_max"] == 0
        assert summary[f"{name}/leave_episode_median"] is None
    assert summary["optimal_value"] == pytest.approx(3.1254, abs=1e-12)
    assert summary["baseline_value"] == pytest.approx(2.353846875, abs=1e-12)
    assert summary["gamma"] == pytest.approx(0.9 * 2.353846875, abs=1e-12)
    assert summary["seeds"] == [0, 1]

    with open(place / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == ["stepmix", "epsmix", "baseline"]
    assert float(rows[0]["regret_mean"]) == summary["stepmix/regret_mean"]
    assert rows[0]["leave_episode_median"] == ""
    with np.load(place / "metrics.npz") as metrics:
        assert metrics["stepmix/curves/regret"].shape == (20, 2)
        assert metrics["stepmix/episode"][-1] == 60
    figures = {path.stem for path in (place / "figures").iterdir()}
    assert figures == {"regret", "value", "ladder", "violations"}
    assert (place / "figures" / "regret.png").stat().st_size > 10_000
    last = dict(pair.split("=", 1) for pair in done.out.splitlines()[-1].split(" "))
    assert last["workdir"] == str(place)
    assert last["stepmix/violating_episodes_max"] == "0"


def test_killed_run_goes_on_where_it_was_and_another_config_is_refused(run, tmp_path, quickly):
    place = f"--workdir={tmp_path / 'run'}"
    arguments = ("--preset=smoke", "--algos=stepmix,ucbvi,baseline", place)
    assert run(*arguments).code == 130
    done = run(*arguments)
    assert done.code == 0, done.err
    assert quickly == ["stepmix", "ucbvi", "ucbvi", "baseline"]
    figures = summary_of(tmp_path / "run")
    again = run(*arguments)
    assert len(quickly) == 4
    assert summary_of(tmp_path / "run") == figures
    assert table_of(again) == table_of(done)

    other = run(*arguments, "--delta=0.1")
    assert_error(other, "belongs to a run with another config", "run.delta was 0.05, now 0.1")


def table_of(done):
    return [line for line in done.out.splitlines() if line.startswith("|")]


def test_file_that_changed_under_its_name_is_another_problem(run, tmp_path, quickly):
    path = write(tmp_path, baseline=[0, 0])
    common = ("--preset=smoke", f"--env_file={path}", "--horizon=3", f"--workdir={tmp_path / 'r'}")
    assert run(*common).code == 0
    write(tmp_path, baseline=[1, 0])
    assert_error(run(*common), "belongs to a run with another config", "problem was")
    # Twice as much for everything, in [0, 2]: the same problem in other units.
    write(tmp_path, baseline=[0, 0], R=2 * np.array(CHAIN["R"]), r_max=2)
    assert_error(run(*common), "belongs to a run with another config", "problem was")


def test_damaged_curves_are_reported(run, tmp_path, quickly):
    arguments = ("--preset=smoke", "--algos=baseline", f"--workdir={tmp_path / 'run'}")
    assert run(*arguments).code == 0
    metrics = tmp_path / "run" / "metrics.npz"
    metrics.write_bytes(metrics.read_bytes()[:200])
    assert_error(run(*arguments), "metrics.npz: is damaged; delete it")


def test_list_of_algorithms_has_a_line_for_each(run):
    done = run("--algos=list")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == list(ALGORITHMS)
    assert all(len(line.split()) > 3 for line in done.out.splitlines())


def test_bonus_without_guarantee_is_called_heuristic(run, quickly):
    tiny = ("--preset=smoke", "--algos=epsmix")
    for given in ("--bonus=bernstein", "--bonus_scale=0.5"):
        done = run(*tiny, given)
        assert "heuristic interval: the bonus" in done.out
        assert "- Heuristic interval:" in done.out
    assert "euristic" not in run(*tiny, "--bonus=kl_closed").out


def test_true_support_reaches_the_linear_program(run, monkeypatch):
    possible = []

    def learner(known):
        possible.append(known.support.mean())

    monkeypatch.setitem(constrained.LEARNERS, "optpess_lp", learner)
    tiny = ("--preset=smoke", "--algos=optpess_lp", "--seeds=1")
    assert run(*tiny).code == run(*tiny, "--true_support").code == 0
    everything, true = possible
    assert everything == 1
    assert true == (np.asarray(suite.cliff3().mdp.transition) > 0).mean() < 1


def test_negative_gamma_is_warned_of_and_runs(run, quickly, caplog):
    with caplog.at_level("WARNING"):
        assert run("--preset=smoke", "--algos=baseline", "--gamma=-1").code == 0
    assert "gamma = -1 is below 0, the least that any policy can be worth" in caplog.text


def test_module_and_console_script_list_the_short_flags():
    command = [sys.executable, "-m", "ai_econ_jax.launch.stepmix", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 0
    for flag in ("--env_file", "--gamma_frac", "--offline_data", "--workdir", "--config"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--env=cliff4"], ["env 'cliff4' is unknown; valid:", *suite.PROBLEMS]),
        (["--algos=stepmix,sarsa"], ["algos[1] = 'sarsa'", *ALGORITHMS]),
        (["--algos=stepmix,stepmix"], ["algos[1] = 'stepmix'", "only once"]),
        (["--algos="], ["algos = ()", "must name an algorithm"]),
        (["--bonus=hoeffding"], ["bonus = 'hoeffding'", "kl, kl_closed, bernstein, mp, bpi, zero"]),
        (["--gamma=2.4"], ["kappa = -0.0461531: baseline does not satisfy gamma", "2.35385"]),
        (["--gamma_frac=1"], ["kappa = 0: baseline does not satisfy gamma"]),
        (["--gamma=nan"], ["gamma = nan", "finite"]),
        (["--delta=0"], ["delta = 0.0", "(0.0, 1.0)"]),
        (["--delta=1"], ["delta = 1.0", "(0.0, 1.0)"]),
        (["--episodes=0"], ["episodes = 0", "[1, 16777216]"]),
        (["--seeds=0"], ["num_seeds = 0", "[1, 1000000]"]),
        (["--seed=-1"], ["seed = -1"]),
        (["--replan_every=0"], ["replan_every = 0", "[1, 1000000]"]),
        (["--lp_every=0"], ["lp_every = 0"]),
        (
            ["--max_cells=1000", "--seeds=8"],
            ["3 x 3 x 3 x 5 x 8 = 1.08e+03 cells exceed max_cells = 1000", "at most 7 seeds fit"],
        ),
        (["--max_cells=100"], ["not even one seed fits"]),
        (["--stationary", "--env=lock"], ["run.stationary = True", "lock depend on the step"]),
        (["--stationary", "--episodes=4000000"], ["run.episodes = 4000000", "float32"]),
        (["--env_file=none.npz"], ["none.npz: no such file"]),
        (["--offline_data=none.npz"], ["none.npz: no such file"]),
        (["--env_file=none.npz", "--env=cliff3"], ["give one of env", "env and env_file"]),
        (["--gym_env=A", "--env_file=b.npz"], ["env_file and gym_env"]),
        (["--env="], ["give one of env", "none"]),
        (["--env_file=none.npz", "--options=a=1"], ["options = 'a=1'", "env_file has no options"]),
        (["--rescale"], ["rescale = True", "env_file alone"]),
        (["--horizon=7"], ["horizon = 7", "option"]),
        (["--gym_env=FrozenLake-v1", "--horizon=0"], ["horizon = 0"]),
        (["--options=left"], ["options = 'left'", "must be name=value"]),
        (["--options=left=0.1"], ["env cliff3 has no parameter 'left'; valid: none"]),
        (["--env=riverswim", "--options=num_states=1"], ["num_states is 1: must be 2 or more"]),
        (["--env=riverswim", "--options=num_states=x"], ["options = 'num_states=x'"]),
        (["--env=riverswim", "--options=eta=1"], ["options = 'eta=1'"]),
        (["--baseline=best"], ["baseline = 'best'", "boltzmann, rank2"]),
        (["--offline_data=a.npz", "--baseline=rank2"], ["baseline = 'rank2'", "offline_data"]),
        (["--gym_env=CartPole-v1"], ["not a toy-text table: FrozenLake, CliffWalking, Taxi work"]),
        (["--gym_env=NoSuchLake-v1"], ["'NoSuchLake-v1' cannot be made"]),
        (["--gym_env=FrozenLake-v1", "--options=map_name=9x9"], ["options", "9x9"]),
        (["--episodes=5", "--config.run.episodes=6"], ["--config.run.episodes=6", "5"]),
        (["--preset=paper"], ["paper", "quick", "claims", "smoke"]),
        (["--epsiodes=5"], ["Unknown command line flag 'epsiodes'"]),
        (["stepmix"], ["unexpected argument 'stepmix'"]),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_mend(run, tmp_path, arguments, words):
    assert_error(run(*arguments, f"--workdir={tmp_path / 'run'}"), *words)
    assert not (tmp_path / "run").exists()


CHAIN = {
    "P": [[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.5, 0.5]]],
    "R": [[0.2, 0.8], [0.5, 0.0]],
    "baseline": [0, 0],
}


def write(folder, drop=(), **changes):
    """A file of a problem with two states and two actions."""
    path = folder / "mdp.npz"
    entries = {k: np.asarray(v) for k, v in (CHAIN | changes).items() if k not in drop}
    np.savez(path, **entries)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"P": [0.5, 0.5]}, ["P has shape (2,)", "[S, A, S] or [H, S, A, S]"]),
        ({"P": [[[0.5, 0.4], [1, 0]], [[0, 1], [0.5, 0.5]]]}, ["P sums to 0.9 at (0,0)"]),
        ({"P": [[[1.5, -0.5], [1, 0]], [[0, 1], [0.5, 0.5]]]}, ["P is -0.5 at (0,0,1)"]),
        ({"P": [[[np.nan, 1], [1, 0]], [[0, 1], [0.5, 0.5]]]}, ["P is nan at (0,0,0)"]),
        ({"R": [[0.2, 8], [0.5, 0]]}, ["R is 8 at (0,1)", "give r_min and r_max, or --rescale"]),
        ({"R": [[0.2, 0.8]]}, ["R has shape (1, 2)", "2 states and 2 actions"]),
        ({"mu": [0.5, 0.4]}, ["mu sums to 0.9"]),
        ({"mu": [1.0]}, ["mu has shape (1,): must be [2]"]),
        ({"baseline": [0, 2]}, ["baseline holds action 2 at 1: must be in 0 .. 1"]),
        ({"baseline": [0, 0, 0]}, ["baseline has shape (3,)"]),
        ({"baseline": [[0.5, 0.4], [1, 0]]}, ["baseline sums to 0.9 at 0"]),
        ({"H": 0}, ["H is 0"]),
        ({"H": 4}, ["H is 4 by the file, 3 was asked for"]),
        (
            {"R": [[{}, 1], [0, 0]]},
            ["field R cannot be read", "it holds pickled objects, which are refused"],
        ),
        ({"Q": [1]}, ["key 'Q' is unknown; valid: P, R, mu"]),
        ({"drop": ["P"]}, ["P is missing"]),
        ({"drop": ["R"]}, ["R is missing"]),
        ({"drop": ["baseline"]}, ["baseline is missing", "--baseline", "--offline_data"]),
    ],
)
def test_bad_file_is_one_line_that_names_field_index_and_value(run, tmp_path, changes, words):
    path = write(tmp_path, **changes)
    assert_error(run(f"--env_file={path}", "--horizon=3"), *words)


def test_file_without_a_horizon_needs_one(run, tmp_path):
    assert_error(run(f"--env_file={write(tmp_path)}"), "H is missing")


@pytest.mark.parametrize(
    ("states", "actions", "words"),
    [
        (np.full((4, 6), 3), np.zeros((4, 5), int), ["states holds state 3 at (0,0)", "0 .. 2"]),
        (np.zeros((4, 6), int), np.full((4, 5), -1), ["actions holds action -1 at (0,0)"]),
        (np.zeros((4, 6), int), np.zeros((3, 5), int), ["states hold 4 trajectories, actions 3"]),
        (np.zeros((4, 5), int), np.zeros((4, 5), int), ["states has shape (4, 5)", "[n, 6]"]),
        (
            np.zeros((4, 6), int),
            np.zeros((4, 5), int),
            ["learned from 4 trajectories is certified for", "gamma is 2.118", "allow_uncertified"],
        ),
    ],
)
def test_bad_offline_data_is_one_line(run, tmp_path, states, actions, words):
    path = tmp_path / "data.npz"
    np.savez(path, states=states, actions=actions)
    assert_error(run(f"--offline_data={path}"), *words)
