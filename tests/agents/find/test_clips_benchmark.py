"""What the benchmark of clips runs: one reward, and the prompts that the model is told."""

import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import pytest
import tiny_scenes

from ai_econ_jax.agents.find.experiment import Evaluation
from ai_econ_jax.agents.find.setting import Setting
from ai_econ_jax.envs.diffusion.noise_mdp import Task

SCRIPT = pathlib.Path(__file__).parents[3] / "benchmarks" / "find_clips.py"


def evaluation(share):
    held = np.arange(40).reshape(2, 20) % 20 < 20 * share
    ones = np.ones(2)
    return Evaluation(
        np.zeros((2, 20, 1)), np.ones((2, 20)), ~held, ones, ones, ones, {"motion": held}
    )


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("find_clips", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.runs, module.beside = [], (("motion", None),)

    def make_setting(config):
        if config.model == "nowhere":
            raise FileNotFoundError("no such folder")
        assert config.model == "somewhere" and config.find.images == 320 and config.steps == 10
        assert (config.guidance, config.num_seeds, config.eval_images) == (1.0, 3, 100)
        assert (config.find.basis, config.find.learning_rate) == ("dct:8", 0.015)
        return Setting(
            name="somewhere",
            asked=config.prompt,
            model=tiny_scenes.CLIP_MODEL,
            weights="weights",
            reward=None,
            task=Task(("condition of", config.prompt), ("target of", config.prompt)),
            sampler=None,
            judge=None,
            reference=None,
            beside=module.beside,
        )

    def run(config, setting):
        assert config.find.images == 320 and config.prompt == setting.asked
        module.runs.append((setting.task.condition, setting.task.reward))
        method = types.SimpleNamespace(images=320, forward_equivalents=3200)
        return types.SimpleNamespace(
            before=evaluation(0.1),
            after=evaluation(0.75),
            method=method,
            seconds=1.0,
            peak_bytes=1,
            state=None,
        )

    monkeypatch.setattr(module, "make_setting", make_setting)
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(
        type(tiny_scenes.CLIP_MODEL),
        "condition",
        lambda self, weights, prompt: ("condition of", prompt),
    )
    monkeypatch.setattr(module.devices, "enable_compilation_cache", lambda: None)
    return module


def test_the_reward_asks_for_more_than_the_model_is_told(benchmark, monkeypatch, tmp_path, capsys):
    path = tmp_path / "figures.json"
    flags = ["--model=somewhere", f"--json={path}", "--asked=a cat moving up on the grass"]
    told = ("a cat on the grass", "a cat")
    monkeypatch.setattr(sys, "argv", ["find_clips.py", *flags, "--told", *told])
    benchmark.main()
    target = ("target of", "a cat moving up on the grass")
    assert benchmark.runs == [(("condition of", prompt), target) for prompt in told]
    written = json.loads(path.read_text())
    assert list(written) == list(told)
    assert written["a cat"]["motion_after_by_seed"] == pytest.approx([0.75, 0.75])
    assert "| a cat | 0.100 | 0.750 (0.75, 0.75) | 0.900 | 0.250 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], ["a dog on the grass", "a dog moving from left to right on the grass"]),
        (["--asked=a cat moving up"], ["a cat moving up"]),
    ],
    ids=["default", "another"],
)
def test_the_model_is_told_of_the_animal_that_is_asked_for(benchmark, monkeypatch, flags, told):
    monkeypatch.setattr(sys, "argv", ["find_clips.py", "--model=somewhere", *flags])
    benchmark.main()
    assert [condition for condition, _ in benchmark.runs] == [("condition of", p) for p in told]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=nowhere"], "--model=nowhere: no such folder"),
        (["--model=somewhere", "--images=10"], "must be a multiple of batch_size, 16, and not 0"),
    ],
)
def test_what_cannot_be_run_is_one_line(benchmark, monkeypatch, capsys, flags, message):
    monkeypatch.setattr(sys, "argv", ["find_clips.py", *flags])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert message in capsys.readouterr().err


def test_a_model_of_something_else_is_refused(benchmark, monkeypatch, capsys):
    benchmark.beside = ()
    monkeypatch.setattr(sys, "argv", ["find_clips.py", "--model=somewhere"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--model=somewhere: is no model of clips" in capsys.readouterr().err
    assert not benchmark.runs
