import dataclasses
import json
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
import tiny_diffusion
from absl import flags
from find_runs import SUMMARY

from ai_econ_jax import config as config_lib
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.agents.find import figures, report, shortcuts
from ai_econ_jax.agents.find import setting as setting_lib
from ai_econ_jax.agents.find.experiment import make_method, run
from ai_econ_jax.agents.find.experiment_config import METHODS, PRESETS, ExperimentConfig
from ai_econ_jax.envs.diffusion.gauss import affine_map
from ai_econ_jax.envs.diffusion.weights import read_safetensors


def parse(*arguments):
    """The config of a command line."""
    own = flags.FlagValues()
    shortcuts.define(own)
    config = config_lib.parse_flags(PRESETS, ["find", *arguments], own)
    return shortcuts.apply(config, own)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of a model that knows nothing, as train_diffusion leaves it."""
    return tiny_diffusion.write_digits(tmp_path_factory.mktemp("models") / "digits")


def test_a_run_on_images_leaves_what_the_page_promises(digits, tmp_path):
    config = config_lib.replace_fields(
        ExperimentConfig(model=str(digits), steps=2, eval_images=4, num_seeds=2),
        {"find.images": 8, "find.batch_size": 4, "find.basis": "dct:3"},
    )
    setting = setting_lib.make_setting(config)
    with workdir_lib.open_workdir(tmp_path / "run", config) as place:
        outcome = run(config, setting, place)
        report.write_files(config, setting, outcome, place)
        figures.write_figures(config, setting, outcome, place)
        again = run(config, setting, place)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {f"find/{key}" for key in SUMMARY} <= set(summary)
    assert summary["find/images"] == 8 and summary["find/forward_equivalents"] == 16
    assert summary["seeds"] == [0, 1] and summary["prompt"] == "three"
    np.testing.assert_array_equal(again.after.rewards, outcome.after.rewards)
    assert outcome.after.success.shape == (2, 4)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["update"] for row in rows] == [1, 2]
    for name in ("learning", "before_after"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5000
    for i in range(2):
        tensors, about = read_safetensors(tmp_path / "run" / f"noise_policy_{i}.safetensors")
        assert tensors["mean"].shape == (1, 3, 3) and tensors["mean"].dtype == np.float32
        expected = np.moveaxis(np.asarray(outcome.state.policy.std[i]), -1, 0)
        np.testing.assert_array_equal(tensors["std"], expected)
        assert about["basis"] == "dct:3" and about["prompt"] == "three"
        assert about["model_sha256"] == report.weights_digest(setting.weights)
    table = report.table(config, outcome)
    assert "before" in table and "8 images, 16 forward equivalents" in table


def test_a_run_goes_on_where_it_stopped_and_is_the_same_again(tmp_path):
    # Bar 20: to the bit. Fewer images are the beginning of more.
    config = config_lib.replace_fields(
        ExperimentConfig(model="gauss", steps=2, eval_images=4, num_seeds=2),
        {"find.images": 48, "find.replay": 2, "find.baseline": "ema"},
    )
    setting = setting_lib.make_setting(config)
    whole, again = run(config, setting), run(config, setting)
    with workdir_lib.open_workdir(tmp_path / "run", config) as place:
        run(config_lib.replace_fields(config, {"find.images": 16}), setting, place)
        resumed = run(config, setting, place)
        rows = workdir_lib.read_rows(place.metrics)
    assert [row["update"] for row in rows] == [1, 2, 3]
    for other in (again, resumed):
        chex.assert_trees_all_equal(without_keys(other.state), without_keys(whole.state))
        np.testing.assert_array_equal(other.after.rewards, whole.after.rewards)


def without_keys(state):
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


SMALL = {
    "find": {"find.images": 64},
    "cem": {"cem.images": 64},
    "best_of_n": {"best_of_n.images": 64},
    "reno": {"reno.images": 4},
    "ddpo": {"ddpo.images": 32},
    "dpok": {"dpok.images": 10},
}


# The forward-equivalents by hand, with 2 steps: images x steps, backward passes counted twice, and
# for dpok 5 steps of 48 transitions, forward and backward, beside the frozen model.
@pytest.mark.parametrize(
    ("method", "spent"),
    [
        ("find", 128),
        ("cem", 128),
        ("best_of_n", 128),
        ("reno", 24),
        ("ddpo", 256),
        ("dpok", 20 + 5 * 48 * 4),
    ],
)
@pytest.mark.slow
def test_every_method_runs_and_counts_what_it_spends(method, spent):
    config = config_lib.replace_fields(
        ExperimentConfig(model="gauss", method=method, steps=2, eval_images=200, num_seeds=2),
        SMALL[method],
    )
    setting = setting_lib.make_setting(config)
    outcome = run(config, setting)
    assert outcome.method.forward_equivalents == spent
    assert outcome.after.rewards.shape == (2, 200)
    summary = report.summary(config, setting, outcome)
    assert {f"{method}/{key}" for key in SUMMARY} <= set(summary)
    if setting.sampler.eta == 0:
        # The reward of a sample is linear in its noise, before as in closed form.
        scale, _ = affine_map(setting.model.schedule, setting.sampler, np.zeros(64), np.ones(64))
        spread = np.linalg.norm(scale * np.asarray(setting.task.reward))
        assert outcome.before.rewards.std() == pytest.approx(spread, rel=0.15)
    if method in ("best_of_n", "reno"):  # they learn no distribution
        np.testing.assert_array_equal(outcome.after.rewards, outcome.before.rewards)
        assert summary[f"{method}/best_reward"] > outcome.before.rewards.mean()
    elif method in ("find", "cem"):
        assert outcome.after.rewards.mean() > outcome.before.rewards.mean() + 0.3


def test_dpok_at_the_size_of_stable_diffusion_costs_what_the_papers_say():
    # Spec 4: 2,920 forward-equivalents per update, half of them without the doubled batch here.
    config = ExperimentConfig(model="gauss", method="dpok", steps=50)
    method = make_method(config, setting_lib.make_setting(config))
    assert method.forward_equivalents == 32 * 2920 // 2


def test_methods_and_presets_are_listed_and_valid():
    assert [line.split()[0] for line in report.methods().splitlines()] == list(METHODS)
    for preset in PRESETS.values():
        config_lib.validate(preset)
    config = PRESETS["official_code"]
    opening = report.opening(config, setting_lib.make_setting(ExperimentConfig(model="gauss")))
    assert "no gain is to be expected" in opening


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty; name a digit, such as three"),
        ("thre", "prompt 'thre': unknown word 'thre'; nearest: three"),
        ("a the", "prompt 'a the': must name one digit, names 0"),
        ("two three", "prompt 'two three': must name one digit, names 2"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        setting_lib.digit_of(prompt)


def test_prompts_name_their_digit():
    assert setting_lib.digit_of("The digit Seven") == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method=ddpo", "--eta=0"], "field eta = 0.0: ddpo learns from the noise of the steps"),
        (["--method=adam"], "field method = 'adam': must be one of find, cem"),
        (["--images=8"], "field find.images = 8: must be a multiple of batch_size, 16"),
        (["--method=best_of_n", "--lr=1"], "--lr: the method best_of_n has no learning_rate"),
        (["--eval_images=1"], "field eval_images = 1: must be in"),
        (["--model=dog", "--steps=5"], "model 'dog': no such folder, and no model of that name"),
        (["--model=gauss", "--steps=2000"], "field num_steps = 2000: must be at most the model's"),
        (["--model=gauss", "--policy_basis=dct:4"], "field basis = 'dct:4': needs a latent of"),
    ],
)
def test_command_lines_that_cannot_be_run_end_with_one_line(arguments, message):
    with pytest.raises((ValueError, OSError), match=message):
        config = parse(*arguments)
        setting = setting_lib.make_setting(config)
        run(config, setting)


def test_the_command_ends_with_exit_code_2():
    command = [sys.executable, "-m", "ai_econ_jax.launch.find", "--prompt=thre", "--model=digits8"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown word 'thre'" in done.stderr.splitlines()[-1]
