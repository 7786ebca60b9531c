"""The launcher of the AI Economist: one tiny run of each mode, and the errors of its users.

Runs are in this process, each with absl's flags as a fresh one would have them.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from absl import app, flags
from absl.testing import flagsaver

from ai_econ_jax import checkpoint, cli, workdir
from ai_econ_jax.agents.ai_economist.experiment import WELFARE_NAMES
from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.launch import ai_economist

app.define_help_flags()

RATES = "--rates=0.1,0.12,0.22,0.24,0.32,0.35,0.37"
CUSTOM = "--config.economy.reference=custom"


@pytest.fixture(scope="module", autouse=True)
def one_device():
    # Elsewhere tests want two virtual devices; sharing out the environments among them costs time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        yield


def launch(*arguments):
    saved = flagsaver.save_flag_values()
    try:
        with pytest.raises(SystemExit) as leaving:
            argv = ["ai_economist", *map(str, arguments)]
            cli.run_app(ai_economist.main, ai_economist.PRESETS, argv)
    finally:
        flagsaver.restore_flag_values(saved, flags.FLAGS)
    return leaving.value.code


@pytest.fixture
def run(capsys):
    """Runs the launcher; gives its exit code and what it printed."""

    def launch_and_read(*arguments):
        capsys.readouterr()
        code = launch(*arguments)
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return launch_and_read


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The work directory of a tiny training run."""
    directory = tmp_path_factory.mktemp("runs") / "trained"
    assert launch("--mode=train", "--preset=smoke", f"--workdir={directory}") == 0
    return directory


def assert_error(done, *words):
    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[-1].startswith("ai-econ: error: ")
    for word in words:
        assert word in lines[-1]


def last_pairs(done):
    return dict(pair.split("=", 1) for pair in done.out.splitlines()[-1].split(" "))


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def test_train_leaves_metrics_checkpoints_and_a_summary_at_the_top_of_its_workdir(trained):
    rows = workdir.read_rows(trained / "metrics.jsonl")
    assert [row["update"] for row in rows] == list(range(1, 9))
    assert checkpoint.steps(trained / "checkpoints")[-1] == 8
    assert (trained / "figures" / "training_curves.png").stat().st_size > 10_000
    summary = summary_of(trained)
    assert len(summary["rates"]) == 7
    assert 0 <= summary["regret/mean"] <= summary["regret/max"]
    assert summary["optimum/inverse_income_utility"] == pytest.approx(38.3921, abs=1e-3)
    for name in WELFARE_NAMES:
        assert {f"welfare/{name}/planner/{kind}" for kind in ("mean", "ci95")} <= summary.keys()


def test_eval_plays_a_trained_run_under_given_rates(run, trained, tmp_path):
    done = run("--mode=eval", f"--restore={trained}", RATES, f"--workdir={tmp_path / 'eval'}")
    assert done.code == 0
    assert "best hours" in done.out
    pairs = last_pairs(done)
    assert pairs["mode"] == "eval"
    assert "gain/inverse_income_utility/fixed" in pairs
    summary = summary_of(tmp_path / "eval")
    assert summary["rates"] == pytest.approx(brackets.US_FEDERAL_RATES)
    # Spec 6.2: the US schedule with exact best responses.
    exact = summary["exact_welfare/inverse_income_utility/fixed/mean"]
    assert exact == pytest.approx(35.4505, abs=1e-3)


def test_optimum_reproduces_the_reference_table_without_learning(run, tmp_path):
    done = run("--mode=optimum", f"--workdir={tmp_path / 'run'}", "--tax=free_market")
    assert done.code == 0
    summary = summary_of(tmp_path / "run")
    goal = "inverse_income_utility"
    for name, value in {
        "free_market": 32.5120,
        "us_federal": 35.4505,
        "flat": 35.3172,
        "optimum": 38.3921,
    }.items():
        assert summary[f"welfare/{goal}/{name}/mean"] == pytest.approx(value, abs=1e-3)
    assert summary[f"optimum_rates/{goal}"] == pytest.approx([0, 0.05, 1, 0.2, 0, 0, 0])
    assert summary["gain/utilitarian/flat"] is None
    assert "| exact optimum |" in (tmp_path / "run" / "table.md").read_text()
    assert (tmp_path / "run" / "figures" / "equality_productivity.png").exists()
    assert float(last_pairs(done)[f"optimum/{goal}"]) == pytest.approx(38.3921)


def test_workdir_of_another_config_is_refused(run, tmp_path):
    first = run("--mode=optimum", f"--workdir={tmp_path / 'run'}", "--num_workers=2")
    assert first.code == 0
    done = run("--mode=optimum", f"--workdir={tmp_path / 'run'}", "--num_workers=3")
    assert_error(done, "belongs to a run with another config", "economy.num_workers was 2, now 3")


def test_compare_writes_tables_figures_and_the_summary(run, tmp_path):
    place = tmp_path / "run"
    done = run("--mode=compare", "--preset=smoke", "--config.rate_step=0.25", f"--workdir={place}")
    assert done.code == 0
    figures = {path.stem for path in (place / "figures").iterdir()}
    assert figures >= {"schedules", "equality_productivity", "learning_curves", "hours_by_skill"}
    assert "overview" in figures
    summary = summary_of(place)
    models = ("free_market", "us_federal", "flat", "saez", "planner", "optimum")
    for goal in WELFARE_NAMES:
        assert f"optimum/{goal}" in summary
        for name in models:
            for key in ("welfare/{}/mean", "welfare/{}/ci95", "gain/{}", "gain_min/{}"):
                assert key.format(f"{goal}/{name}") in summary
            assert f"exact_welfare/{goal}/{name}/mean" in summary
    table = (place / "table.md").read_text()
    assert table.strip() in done.out
    with open(place / "schedules.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["tax_model"] for row in rows} == set(models)
    stages = {row["stage"] for row in workdir.read_rows(place / "metrics.jsonl")}
    assert stages == {"phase1", "planner", "fixed"}
    assert last_pairs(done)["workdir"] == str(place)


def test_damaged_checkpoint_falls_back_to_the_one_before_and_is_reported(
    run, trained, tmp_path, caplog
):
    place = tmp_path / "run"
    shutil.copytree(trained, place)
    newest = place / "checkpoints" / "8"
    data = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = data.read_bytes()
    data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level("WARNING"):
        done = run("--mode=train", "--preset=smoke", f"--workdir={place}")
    assert done.code == 0
    assert f"checkpoint {newest} is damaged" in caplog.text
    assert f"falling back to checkpoint {newest.parent / '6'}" in caplog.text
    assert summary_of(place) == summary_of(trained)
    assert (place / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # Bad inputs that this scenario can meet.
        (["--num_workers=1"], ["economy.num_workers = 1", "[2, 1000]"]),
        (["--skills=1.5"], ["1 skills, must be at least 2"]),
        (["--rates=0,0.1,1.2,0,0,0,0"], ["rates[2] is 1.2, must lie in [0, 1]"]),
        (["--rates=0,-0.1,0,0,0,0,0"], ["rates[1] is -0.1, must lie in [0, 1]"]),
        (["--rates=0.1,0.2"], ["one rate for each of 7 brackets"]),
        (["--rates=0.1,x"], ["--rates: 'x' is not a number"]),
        (
            [CUSTOM, "--config.economy.bracket_spacing=linear", "--config.economy.top_cutoff=-1"],
            ["top cutoff is -1"],
        ),
        (["--config.economy.period=100"], ["config.economy.period"]),
        (["--config.episode_length=10"], ["config.episode_length"]),
        ([CUSTOM, "--config.economy.eta=1.5"], ["eta is 1.5, must lie in [0, 1]"]),
        ([CUSTOM, "--config.economy.labor_cost=-1"], ["labor_cost is -1, must be 0 or more"]),
        (["--welfare=nash"], ["welfare = 'nash'", *WELFARE_NAMES]),
        (["--tax=poll_tax"], ["tax = 'poll_tax'", "us_federal", "saez", "planner"]),
        (["--scenario=gtb"], ["scenario", "one_step"]),
        ([CUSTOM, "--config.economy.bracket_spacing=cubic"], ["cubic", "us_federal, linear, log"]),
        (["--config.economy.reference=R3"], ["R3", "R1, R2, custom"]),
        # Skills.
        (["--skills=1,nan,2"], ["--skills, entry 2: nan is not a positive finite number"]),
        (["--skills=1,-2"], ["--skills, entry 2: -2 is not a positive finite number"]),
        (["--skills=no_such.csv"], ["skills file no_such.csv does not exist"]),
        (["--skills=1,2", "--num_workers=3"], ["--skills and --num_workers"]),
        # Flags that are unknown, contradict each other, or that nothing reads.
        (["--worker=3"], ["Unknown command line flag 'worker'"]),
        (["--preset=huge"], ["huge", "quick", "smoke"]),
        (["--mode=play"], ["play", "train", "compare", "optimum", "eval"]),
        (["--seed=3", "--config.seed=4"], ["--config.seed=4", "3"]),
        (["--seeds=0"], ["num_seeds = 0"]),
        ([RATES, "--tax=us_federal"], ["tax = 'us_federal'", "rates"]),
        (["--tax=fixed"], ["rates = ()", "required by tax = 'fixed'"]),
        (["--config.economy.labor_cost=1"], ["economy.labor_cost", "no effect", "R1", "custom"]),
        (["--restore=anywhere"], ["--restore", "--mode=eval"]),
        (["--mode=eval"], ["--restore", "--mode=eval"]),
        (["--mode=train"], ["--workdir is required by --mode=train"]),
        (["--mode=compare"], ["--workdir is required by --mode=compare"]),
        (["--num_processes=2"], ["need a coordinator"]),
        # Searches that cannot be done.
        (["--config.rate_step=0.03"], ["rate_step is 0.03, must divide 1"]),
        (["--config.rate_step=0.01"], ["exceed the limit", "coarser rate_step"]),
        ([CUSTOM, "--config.economy.utility=isoelastic"], ["isoelastic", "coin_minus_labor_cost"]),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_mend(run, arguments, words):
    chosen = [] if any(a.startswith("--mode") for a in arguments) else ["--mode=optimum"]
    assert_error(run(*chosen, *arguments), *words)


def test_nothing_is_written_when_the_input_is_bad(run, tmp_path):
    place = tmp_path / "run"
    assert_error(run("--mode=compare", "--skills=1,0", f"--workdir={place}"), "entry 2")
    assert_error(run("--mode=compare", "--config.rate_step=0.01", f"--workdir={place}"), "limit")
    assert not place.exists()


def test_csv_of_skills_without_skills_is_refused(run, tmp_path):
    empty = tmp_path / "skills.csv"
    empty.write_text("skill\n")
    assert_error(run("--mode=optimum", f"--skills={empty}"), f"{empty}: 0 skills", "at least 2")


def test_workdir_that_cannot_be_written_is_refused(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    done = run("--mode=optimum", f"--workdir={tmp_path / 'file' / 'run'}")
    assert_error(done, "cannot be written: Not a directory")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere, so the refusal is the test's own.
    monkeypatch.setattr(workdir, "open", refuse, raising=False)
    done = run("--mode=optimum", f"--workdir={tmp_path / 'read_only'}")
    assert_error(done, "read_only: cannot be written: Permission denied")


def test_worker_that_nothing_teaches_is_refused(run, tmp_path):
    exact = "--config.learning.worker_kind=exact"
    place = f"--workdir={tmp_path / 'run'}"
    assert_error(run("--mode=train", exact, "--tax=us_federal", place), "nothing learns")


def test_restore_from_what_is_no_training_run_is_refused(run, tmp_path):
    missing = tmp_path / "missing"
    done = run("--mode=eval", f"--restore={missing}")
    assert_error(done, f"restore directory {missing} does not exist")
    done = run("--mode=eval", f"--restore={tmp_path}")
    assert_error(done, f"restore directory {tmp_path} holds no config.json")
    (tmp_path / "config.json").write_text('{"config": {}, "arguments": {"mode": "compare"}}')
    assert_error(run("--mode=eval", f"--restore={tmp_path}"), "a run of mode compare, needs train")


def test_restore_without_a_checkpoint_is_refused(run, trained, tmp_path):
    shutil.copy(trained / "config.json", tmp_path)
    done = run("--mode=eval", f"--restore={tmp_path}")
    assert_error(done, f"no checkpoint in {tmp_path / 'checkpoints'}")


@pytest.mark.parametrize(
    ("change", "shapes"),
    [
        (["--num_workers=5"], r"float32\[2, 17, 8\], in the state float32\[2, 18, 8\]"),
        (
            ["--config.learning.workers.hidden=(16,)"],
            r"float32\[2, 8\], in the state float32\[2, 16\]",
        ),
    ],
)
def test_restore_of_another_shape_names_both(run, trained, change, shapes):
    done = run("--mode=eval", f"--restore={trained}", *change)
    assert done.code == 2
    assert re.search(shapes, done.err), done.err


def test_eval_takes_its_config_from_the_run_not_from_a_preset(run, trained):
    done = run("--mode=eval", f"--restore={trained}", "--preset=quick")
    assert_error(done, "--preset has no effect with --restore")


def test_module_and_console_script_list_the_short_flags():
    command = [sys.executable, "-m", "ai_econ_jax.launch.ai_economist", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 0
    for flag in ("--skills", "--welfare", "--restore", "--config"):
        assert flag in done.stdout
