import json

import fake_terrain
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from ai_econ_jax import config as config_lib
from ai_econ_jax import workdir as workdir_lib
from ai_econ_jax.agents.find import compare, figures, report, shortcuts
from ai_econ_jax.agents.find import setting as setting_lib
from ai_econ_jax.agents.find.compare import CompareConfig
from ai_econ_jax.agents.find.experiment import run
from ai_econ_jax.agents.find.experiment_config import PRESETS, ExperimentConfig
from ai_econ_jax.envs.diffusion import terrain
from ai_econ_jax.envs.diffusion.terrain import TerrainModel
from ai_econ_jax.envs.diffusion.weights import read_safetensors


@pytest.fixture
def fake(monkeypatch):
    """A generator that needs no package."""
    made = fake_terrain.FakeGenerator()
    loaded = (TerrainModel(made), jnp.zeros(32, jnp.uint8))
    monkeypatch.setattr(terrain, "load", lambda: loaded)
    return made


def parse(*arguments):
    """The config of a command line."""
    own = flags.FlagValues()
    shortcuts.define(own)
    config = config_lib.parse_flags(PRESETS, ["find", "--model=terrain", *arguments], own)
    return shortcuts.apply(config, own)


# As the page says.
FLAGS = ("--images=160", "--batch_size=8", "--config.find.policy_steps=1", "--seeds=2")


def test_low_frequencies_learn_a_hill_and_the_run_leaves_what_the_page_promises(fake, tmp_path):
    config = parse(*FLAGS, "--policy_basis=dct:8", "--lr=0.1", "--eval_images=20")
    setting = setting_lib.make_setting(config)
    opening = report.opening(config, setting)
    assert opening.startswith(
        "terrain, a hill in the middle at difficulty 0.5: D = 16384, 1 step, eta 0\n"
    )
    with workdir_lib.open_workdir(tmp_path / "run", config) as place:
        outcome = run(config, setting, place)
        report.write_files(config, setting, outcome, place)
        figures.write_figures(config, setting, outcome, place)
    # 20 updates and two evaluations, each of all that run side by side or one after the other.
    assert sum(len(noisy) for noisy, *_ in fake.calls) == 2 * (160 + 20 + 20)
    assert {len(noisy) for noisy, *_ in fake.calls} == {16, 20}
    pixels = parse(*FLAGS, "--lr=0.02", "--eval_images=20")
    plain = run(pixels, setting, before=outcome.before)
    gain, of_pixels = (
        each.after.rewards.mean() - outcome.before.rewards.mean() for each in (outcome, plain)
    )
    assert gain > 1.2 and gain > 2 * of_pixels
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["model"] == "terrain" and summary["prompt"] is None
    assert summary["find/success_after"] is None and summary["find/frechet_after"] is None
    assert summary["find/forward_equivalents"] == summary["find/images"] == 160
    row = report.table(config, outcome).splitlines()[4]
    assert [cell.strip() for cell in row.split("|")][3:5] == ["-", "-"]
    tensors, about = read_safetensors(tmp_path / "run" / "noise_policy_1.safetensors")
    assert tensors["mean"].shape == (1, 8, 8)
    assert about["reward"] == "terrain_hill" and about["prompt"] == "" and about["steps"] == "1"
    drawn = figures.before_after(config, setting, outcome)
    assert drawn.get_suptitle() == f"{report.asked(config, setting)}, seed 0"
    for name in ("learning", "before_after"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").stat().st_size > 5000


def test_another_reward_of_the_host_gets_images_and_prompt(fake):
    config = parse("--reward=jpeg", "--prompt=a hill", "--images=16", "--eval_images=2")
    setting = setting_lib.make_setting(config)
    assert report.asked(config, setting) == "terrain, 'a hill', reward jpeg"
    outcome = run(config, setting)
    assert (outcome.before.rewards < 0).all() and np.ptp(outcome.before.rewards) > 0
    assert report.summary(config, setting, outcome)["prompt"] == "a hill"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--method=ddpo"],
            "^method ddpo learns .* terrain is a black box .* use find, cem",
        ),
        (
            ["--method=dpok"],
            "^method dpok learns .* terrain is a black box .* use find, cem",
        ),
        (["--method=reno"], "^method reno follows the gradient .* a black box .* use find, cem"),
        (["--steps=20"], "^field steps = 20: terrain has one step, so it must be 1"),
        (["--eta=0.5"], r"^field eta = 0\.5: terrain's one step adds no noise, so it must be 0"),
    ],
)
def test_what_a_black_box_of_one_step_cannot_do_is_refused(fake, arguments, message):
    with pytest.raises(ValueError, match=message):
        setting_lib.make_setting(parse(*arguments))


def test_what_it_can_do_may_be_said(fake):
    setting = setting_lib.make_setting(parse("--steps=1", "--eta=0", "--method=cem"))
    assert setting.sampler.num_steps == 1 and setting.sampler.forwards_per_image == 1


def test_a_comparison_names_the_method_that_does_not_fit(fake):
    config = CompareConfig(methods=("find", "ddpo"), run=ExperimentConfig(model="terrain"))
    with pytest.raises(ValueError, match="method ddpo learns the model's weights"):
        compare.plan(config)
    fitting = CompareConfig(methods=("find", "cem"), run=ExperimentConfig(model="terrain"))
    assert [row.name for row in compare.plan(fitting)] == ["find", "cem"]


def test_steps_are_20_unless_something_is_said():
    for given, expected in ((None, 20), (7, 7)):
        setting = setting_lib.make_setting(ExperimentConfig(model="gauss", steps=given))
        assert setting.sampler.num_steps == expected
