"""The launcher in gather-trade-build: what its users can get wrong, and tiny runs of each mode."""

import json
import re
import sys

import jax
import pytest
from absl import app, flags
from absl.testing import flagsaver

from ai_econ_jax import checkpoint, cli
from ai_econ_jax.envs.gather_trade_build import episode_log
from ai_econ_jax.launch import ai_economist

app.define_help_flags()

SCENARIO = "--scenario=gather_trade_build"
SMOKE = (SCENARIO, "--preset=smoke", "--seeds=1")


@pytest.fixture(scope="module", autouse=True)
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        yield


@pytest.fixture
def run(capsys):
    """Runs the launcher; gives its exit code and what it printed."""

    def launch(*arguments):
        argv = ["ai_economist", *map(str, arguments)]
        saved = flagsaver.save_flag_values()
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as leaving:
                cli.run_app(ai_economist.main, ai_economist.presets_of(argv), argv)
        finally:
            flagsaver.restore_flag_values(saved, flags.FLAGS)
        printed = capsys.readouterr()
        return leaving.value.code, printed.out, printed.err

    return launch


def test_the_scenario_decides_which_presets_there_are():
    assert "r2" in ai_economist.presets_of(["ai_economist"])
    names = set(ai_economist.presets_of(["ai_economist", SCENARIO, "--mode=train"]))
    assert names == {"quick", "paper", "paper_rehearsal", "paper_full", "smoke"}
    assert sys.argv  # untouched by the parse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode=optimum"], ["mode = 'optimum': must be one of train, compare, eval"]),
        (["--mode=eval"], ["--mode=eval needs --restore"]),
        (["--restore=/nowhere"], ["--restore has no effect with --mode=compare"]),
        (["--mode=eval", "--restore=/nowhere"], ["/nowhere", "holds no config.json"]),
        (["--tax=poll_tax", "--mode=train"], ["tax = 'poll_tax'", "us_federal", "searched"]),
        (["--welfare=nash"], ["welfare = 'nash'", "rawlsian"]),
        (["--mode=train", "--rates=0.1,0.2"], ["one rate for each of 7 brackets"]),
        (["--mode=train", "--rates=0.1,x"], ["--rates", "not all numbers"]),
        (["--mode=train", "--tax=flat"], ["tax = 'flat' needs one number as --rates"]),
        (["--mode=train", "--tax=saez", "--rates=0.1"], ["is read with tax = fixed or flat only"]),
        (["--mode=train", "--tax=saez_tuned"], ["saez_tuned", "one elasticity"]),
        (["--num_workers=1"], ["economy.num_workers = 1"]),
        (["--skills=1,2"], ["skills has 2 entries, must have 4"]),
        (["--config.economy.layout=atlantis"], ["atlantis"]),
        (["--config.economy.layout_file=no_such.txt"], ["no_such.txt"]),
        (["--config.learning.unroll=3"], ["must be a multiple of unroll = 3"]),
        (["--preset=r2"], ["r2", "quick", "paper_full"]),
        (["--config.learning.workers.tower.memory=rnn"], ["memory = 'rnn'", "none, lstm, gru"]),
    ],
)
def test_what_a_user_can_mend_is_one_line(run, tmp_path, arguments, words):
    code, _, error = run(SCENARIO, f"--workdir={tmp_path / 'run'}", *arguments)
    assert code == 2
    assert error.startswith("ai-econ: error: ") and error.count("\n") == 1
    for word in words:
        assert word in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_train_resumes_and_hands_its_workers_and_planner_to_other_runs(run, tmp_path):
    place = tmp_path / "train"
    code, out, _ = run(*SMOKE, "--mode=train", f"--workdir={place}")
    assert code == 0
    assert re.search(r"^phase1/utility=\S+ .*mode=train seconds=\S+ workdir=", out, re.MULTILINE)
    summary = json.loads((place / "summary.json").read_text())
    assert {"phase1/utility", "welfare/rawlsian/planner/mean"} <= summary.keys()
    assert (place / "episode.html").stat().st_size > 10_000
    assert episode_log.load(place / "episode.npz").num_steps == 8

    # Again, after half of each phase was lost.
    for phase in ("phase1", "planner"):
        newest = place / phase / "checkpoints" / "4"
        (newest / "manifest.json").unlink()
    assert run(*SMOKE, "--mode=train", f"--workdir={place}")[0] == 0
    assert json.loads((place / "summary.json").read_text()) == summary
    assert checkpoint.steps(place / "planner" / "checkpoints")[-1] == 4

    other = tmp_path / "other"
    arguments = (SCENARIO, "--mode=train", f"--restore={place}", f"--workdir={other}")
    assert run(*arguments, "--tax=us_federal")[0] == 0
    taken = json.loads((other / "summary.json").read_text())
    assert taken["phase1/utility"] == summary["phase1/utility"]
    assert not (other / "phase1").exists()

    played = run(SCENARIO, "--mode=eval", f"--restore={place}")
    assert played[0] == 0 and "equality × prod." in played[1]
    missing = run(SCENARIO, "--mode=eval", f"--restore={place}", "--tax=saez")
    assert missing[0] == 2 and "saez" in missing[2]


@pytest.mark.slow
def test_compare_leaves_tables_figures_and_a_replay_of_each_tax_model(run, tmp_path):
    place = tmp_path / "compare"
    others = ("saez_tuned", "random_planner", "full_redistribution", "planner")
    names = ("free_market", "flat", *others)
    code, out, _ = run(
        *SMOKE,
        f"--workdir={place}",
        f"--config.tax_models={names}",
        "--config.flat_rates=(0.1,0.5)",
        "--config.saez_elasticities=(0.5,2.0)",
    )
    assert code == 0
    table = (place / "table.md").read_text()
    assert "learned planner" in table and "best flat tax" in table and table in out
    assert {path.stem for path in (place / "figures").iterdir()} == {
        "bars",
        "equality_productivity",
        "schedule_by_year",
        "specialisation",
        "incomes",
        "learning_curves",
    }
    replays = {path.name for path in (place / "replays").glob("*.html")}
    assert replays == {f"{name}.html" for name in names}
    rows = (place / "schedules.csv").read_text().splitlines()
    assert "flat_50,0,1,6,0.5" in rows
    log = episode_log.load(place / "replays" / "full_redistribution.npz")
    total = log.coin[-1] + log.escrow_coin[-1]
    assert total.max() - total.min() < 1e-3
    summary = json.loads((place / "summary.json").read_text())
    assert summary["chosen/flat"] in ("flat_10", "flat_50")
    assert summary["chosen/saez_tuned"] in ("saez_tuned_0.5", "saez_tuned_2")
    assert len(summary["lane/planner/utility"]) == 1
