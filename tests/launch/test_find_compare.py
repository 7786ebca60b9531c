import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tiny_diffusion
from absl import flags
from find_runs import SUMMARY

from ai_econ_jax import config as config_lib
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.agents.find import compare as compare_lib
from ai_econ_jax.agents.find import compare_figures, compare_report, shortcuts
from ai_econ_jax.agents.find import setting as setting_lib
from ai_econ_jax.agents.find.compare import COMPARE_PRESETS, CompareConfig, Result, Row
from ai_econ_jax.agents.find.experiment import Method, Outcome
from ai_econ_jax.agents.find.experiment_config import ExperimentConfig


def parse(*arguments):
    """The config of a command line."""
    own = flags.FlagValues()
    shortcuts.define_comparison(own)
    config = config_lib.parse_flags(COMPARE_PRESETS, ["find_compare", *arguments], own)
    return shortcuts.apply_comparison(config, own)


@pytest.mark.parametrize("model", ["gauss", pytest.param("digits", marks=pytest.mark.slow)])
def test_a_comparison_leaves_what_the_page_promises(model, tmp_path):
    if model == "digits":
        model = str(tiny_diffusion.write_digits(tmp_path / "digits"))
    run = ExperimentConfig(model=model, steps=2, eval_images=20, num_seeds=2)
    config = config_lib.replace_fields(
        CompareConfig(methods=("find", "ddpo"), images=16, run=run),
        {"run.find.batch_size": 4, "run.ddpo.batch_size": 4, "run.ddpo.groups": 1},
    )
    rows = compare_lib.plan(config)
    names = ["find", "ddpo", "ddpo_equal_forwards"]
    assert [row.name for row in rows] == names
    said = []
    with workdir_lib.open_workdir(tmp_path / "run", config) as place:
        results = compare_lib.compare(rows, place, said.append)
        compare_report.write_files(config, results, place)
        compare_figures.write_figures(results, place)
        again = compare_lib.compare(rows[:1], place)
    assert [line.split()[1] for line in said] == [f"{name}:" for name in names]
    np.testing.assert_array_equal(again[0].rewards, results[0].rewards)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {f"{name}/{key}" for name in names for key in SUMMARY} <= set(summary)
    assert summary["ddpo/forward_equivalents"] == 4 * 16 * 2 == 4 * summary["find/images"] * 2
    assert summary["ddpo_equal_forwards/images"] == 4
    assert summary["find/eta"] == 0 and summary["ddpo/eta"] == 1
    assert 0 < summary["ddpo/images_to_ddpo"] <= 16
    assert summary["ddpo/peak_bytes"] > 0 and summary["find/peak_bytes"] > 0
    with open(tmp_path / "run" / "table.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["row"] for row in cells] == names
    assert float(cells[1]["reward_after"]) == pytest.approx(summary["ddpo/reward_after"])
    table = (tmp_path / "run" / "table.md").read_text()
    assert "frozen model, eta 1" in table and "To the reward of ddpo over" in table
    drawn = ("reward", "beside") if model == "gauss" else ("images", "reward", "beside", "pareto")
    for name in drawn:
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5000


def test_rows_are_equal_in_images_or_in_passes_of_the_network():
    # By hand, 20 steps, 320 images: 6,400 passes. ddpo 4 x 20 an image, reno 3 x 20; dpok 10 images
    # and 5 x 48 transitions of 4 passes an update, so 1,160.
    config = CompareConfig(run=ExperimentConfig(model="gauss"))
    rows = compare_lib.plan(config)
    images = {row.name: row.config.settings.images for row in rows}
    assert images == {
        "find": 320,
        "cem": 320,
        "best_of_n": 320,
        "reno": 320,
        "reno_equal_forwards": 106,
        "ddpo": 320,
        "ddpo_equal_forwards": 80,
        "dpok": 320,
        "dpok_equal_forwards": 50,
    }
    assert {row.config.sampler_eta for row in rows if "dp" in row.name} == {1.0}
    assert all(row.setting.sampler.eta == row.config.sampler_eta for row in rows)
    assert len({id(row.setting.weights) for row in rows}) == 1  # one model for all
    config = dataclasses.replace(config, methods=("reno", "cem"), long_images=3200)
    rows = compare_lib.plan(config)
    assert [row.name for row in rows] == ["reno", "reno_equal_forwards", "cem", "cem_3200"]
    assert rows[-1].config.cem.images == 3200


def result(method, rewards, batch_size=16, budget="images"):
    config = config_lib.replace_fields(
        ExperimentConfig(method=method), {f"{method}.batch_size": batch_size}
    )
    rewards = np.asarray(rewards, np.float64)
    drawn = rewards.shape[1] * batch_size
    outcome = Outcome(Method(None, lambda key: None, 0, drawn, 10 * drawn), *[None] * 3, 0.0, 0)
    setting = setting_lib.make_setting(ExperimentConfig(model="gauss"))
    return Result(Row(method, config, setting, budget), outcome, rewards, 8.0, 0)


def test_a_reward_counts_as_reached_when_the_mean_of_64_images_is_as_high():
    reference = result("ddpo", [[0, 1, 2, 3, 4, 5, 6, 7], [0] * 8])
    np.testing.assert_allclose(reference.smooth()[0], [0, 0.5, 1, 1.5, 2.5, 3.5, 4.5, 5.5])
    level = compare_lib.reference_level([reference], "images")
    assert level == 5.5 / 2
    assert compare_lib.reference_level([reference], "long") is None
    own = compare_lib.reaching(reference, level)
    assert (own.images, own.forward_equivalents, own.seconds) == (128, 1280, 4)
    faster = compare_lib.reaching(result("find", [[0, 3, 6, 0, 3]] * 2), level)
    assert (faster.images, faster.forward_equivalents) == (80, 800)
    assert faster.seconds == pytest.approx(8 / 2)
    # Before 64 images are drawn nothing counts, in a run of fewer all together.
    lucky = compare_lib.reaching(result("find", [[9, 9, 0, 0, 0]] * 2), level)
    assert lucky.images == 64
    short = compare_lib.reaching(result("find", [[9, 0, 0]] * 2), level)
    assert short.images == 48
    assert compare_lib.reaching(result("find", [[0, 2, 2]]), level) is None
    assert compare_lib.reaching(result("reno", [[9, 9, 9]], 1), level) is None  # one image


def test_the_pace_is_that_of_the_fastest_segment_that_left_a_row():
    def row(update, seconds):
        return {"update": update, "segment_seconds": seconds, "host_seconds": 9.0}

    # 20 updates are four segments of 5; a kill lost the row of the second.
    timing = [row(5, 8.0), row(15, 2.0), row(20, 2.5)]
    assert compare_lib._pace(timing, 20) == 2.0 / 5
    assert np.isnan(compare_lib._pace([], 20))


def test_a_comparison_whose_clock_was_lost_goes_on(tmp_path):
    run = ExperimentConfig(model="gauss", steps=2, eval_images=20)
    config = CompareConfig(methods=("cem",), images=32, long_images=64, run=run)
    rows = compare_lib.plan(config)
    with workdir_lib.open_workdir(tmp_path / "run", config) as place:
        compare_lib.compare(rows, place)
        (tmp_path / "run" / "cem" / "timing.jsonl").unlink()
        first, second = compare_lib.compare(rows, place)
        # Another row of the method knows its pace.
        assert first.run_seconds == pytest.approx(second.run_seconds / 2)
        (tmp_path / "run" / "cem_64" / "timing.jsonl").unlink()
        results = compare_lib.compare(rows, place)
        compare_report.write_files(config, results, place)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["cem/seconds"] is None
    table = (tmp_path / "run" / "table.md").read_text()
    (line,) = [line for line in table.splitlines() if line.startswith("| cem ")]
    assert line.split("|")[-3].strip() == "-"


def test_the_pareto_front_is_what_nothing_beats_in_both():
    points = np.array([[0, 5], [1, 6], [2, 7], [3, 7.5], [2.5, 8], [-1, 5.5]], float)
    front = compare_figures._undominated(points)
    np.testing.assert_array_equal(front, [[3, 7.5], [2, 7], [1, 6], [0, 5]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods=find,adam"], "field methods = 'adam': must be one of find, cem"),
        (["--methods=find,find"], "field methods = .* names one twice"),
        (["--images=8"], "field images = 8: must be at least 16, the batch_size of find"),
        (["--long_images=12"], "field long_images = 12: must be at least 16"),
        (["--eta=0"], "field eta = 0.0: ddpo learns from the noise of the steps"),
    ],
)
def test_comparisons_that_cannot_be_run_end_with_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_lib.plan(parse("--model=gauss", *arguments))


def test_flags_reach_their_fields():
    config = parse("--methods=cem,ddpo", "--seeds=3", "--config.run.ddpo.learning_rate=0.001")
    assert config.methods == ("cem", "ddpo") and config.run.num_seeds == 3
    assert config.run.ddpo.learning_rate == 0.001
    assert dataclasses.replace(config.run, method="ddpo").settings.learning_rate == 0.001


def test_without_a_work_directory_there_is_no_comparison():
    command = [sys.executable, "-m", "ai_econ_jax.launch.find_compare"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "ai-econ: error: --workdir is required"
