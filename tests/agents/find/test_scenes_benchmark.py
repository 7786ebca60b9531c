"""What the benchmark of scenes runs: scored prompts alone, every method at FIND's passes."""

import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import pytest

from ai_econ_jax.agents.find.experiment import Evaluation

SCRIPT = pathlib.Path(__file__).parents[3] / "benchmarks" / "find_scenes.py"
RARE, COMMON, MIDDLING = "a dog on the moon", "a cat in the sky", "two cats on the sand"
RATES = {RARE: 0.04, COMMON: 0.61, MIDDLING: 0.3}


def evaluation(rate):
    success = np.arange(200).reshape(2, 100) % 100 < 100 * rate
    ones = np.ones(2)
    return Evaluation(np.zeros((2, 100, 1)), np.ones((2, 100)), success, ones, ones, ones)


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("find_scenes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.runs, module.made = [], []

    def make_setting(config):
        assert config.model == "somewhere" and config.num_seeds == 2
        module.made.append(config.prompt)
        return types.SimpleNamespace(sampler=types.SimpleNamespace(forwards_per_image=40))

    def for_method(setting, config):
        return types.SimpleNamespace(sampler=setting.sampler, eta=config.sampler_eta)

    def evaluate_frozen(config, setting):
        made = evaluation(RATES[config.prompt])
        module.runs.append(("frozen", config.prompt, config.sampler_eta))
        assert setting.eta == config.sampler_eta
        made.norm_ratio[:] = config.sampler_eta
        return made

    def run(config, setting, before):
        assert (before.norm_ratio == config.sampler_eta).all() and setting.eta == config.sampler_eta
        module.runs.append((config.method, config.prompt, config.settings.images))
        method = types.SimpleNamespace(images=config.settings.images, forward_equivalents=25600)
        after = evaluation(0.8 if config.method == "find" else 0.4)
        return types.SimpleNamespace(
            before=before, after=after, method=method, seconds=1.0, peak_bytes=1, state=None
        )

    def images_of(config, setting, forwards):
        assert forwards == 640 * 40
        return 640 if config.method == "find" else 160

    for name, fake in [
        ("make_setting", make_setting),
        ("for_method", for_method),
        ("evaluate_frozen", evaluate_frozen),
        ("run", run),
        ("images_of", images_of),
    ]:
        monkeypatch.setattr(module, name, fake)
    monkeypatch.setattr(module.devices, "enable_compilation_cache", lambda: None)
    return module


def test_prompts_in_the_band_are_scored_with_every_method(benchmark, monkeypatch, tmp_path, capsys):
    path = tmp_path / "figures.json"
    flags = ["--model=somewhere", "--seeds=2", f"--json={path}", "--methods", "find", "ddpo"]
    monkeypatch.setattr(sys, "argv", ["find_scenes.py", *flags, "--prompts", *RATES])
    benchmark.main()
    assert benchmark.runs == [
        ("frozen", RARE, 0.0),
        ("frozen", COMMON, 0.0),
        ("frozen", MIDDLING, 0.0),
        ("find", MIDDLING, 640),
        ("frozen", MIDDLING, 1.0),  # of the method that needs noise on the way
        ("ddpo", MIDDLING, 160),
    ]
    assert benchmark.made == list(RATES)
    written = json.loads(path.read_text())
    assert set(written[RARE]) == set(written[COMMON]) == {"frozen"}
    assert written[MIDDLING]["find"]["success_before"] == pytest.approx(0.3)
    assert written[MIDDLING]["find"]["success_after"] == pytest.approx(0.8)
    told = capsys.readouterr().out
    assert "find: +50.0 points over 1 scored prompts" in told
    assert "ddpo: +10.0 points over 1 scored prompts" in told
    assert f"| {RARE} | not scored | | | 0.040 |" in told


def test_evaluation_prompts_are_the_default(benchmark, monkeypatch):
    scenes = types.SimpleNamespace(evaluation_prompts=(RARE, COMMON))
    monkeypatch.setattr(benchmark, "SCENES", scenes)
    monkeypatch.setattr(sys, "argv", ["find_scenes.py", "--model=somewhere", "--seeds=2"])
    benchmark.main()
    assert [run[1] for run in benchmark.runs] == [RARE, COMMON]
