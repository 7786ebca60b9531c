"""What the benchmark of digits runs: each row's method on the model that is asked for."""

import importlib.util
import json
import pathlib
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[3] / "benchmarks" / "find_digits.py"
FIGURES = dict.fromkeys(
    (
        *("images", "forward_equivalents", "p_before", "p_after", "p_after_worst"),
        *("success_after", "frechet_after", "diversity_after", "norm_ratio"),
    ),
    0.5,
)


@pytest.mark.parametrize("model", ["digits8", "mnist28"])
def test_every_row_is_of_the_model_that_is_asked_for(model, monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("find_digits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    measured = []

    def measure(config, digits, first_seed, seeds):
        measured.append((config.model, config.find.basis, digits, seeds))
        return FIGURES

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module.devices, "enable_compilation_cache", lambda: None)
    flags = [] if model == "digits8" else ["--model", model]
    path = tmp_path / "figures.json"
    rows = ["--rows", "find", "find, dct:8", "--digits", "3", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["find_digits.py", *flags, *rows])
    module.main()
    assert measured == [(model, "pixel", [3], 3), (model, "dct:8", [3], 3)]
    assert json.loads(path.read_text()) == {"find": FIGURES, "find, dct:8": FIGURES}
