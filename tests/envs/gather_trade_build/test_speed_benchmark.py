"""What the speed benchmark writes: the figures by their promised names."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[3] / "benchmarks" / "gtb_speed.py"


@pytest.fixture
def benchmark(monkeypatch):
    """The module, with speeds that depend on sizes alone."""
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # importing it changes them
    spec = importlib.util.spec_from_file_location("gtb_speed", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def measure(num_workers, num_environments, seconds):
        return {
            "workers": num_workers,
            "environments": num_environments,
            "steps_per_second": 1000.0 * min(num_environments, 256) / num_workers,
            "steps_per_cpu_second": 500.0 * min(num_environments, 256) / num_workers,
            "compile_seconds": num_workers + num_environments / 1000,
            "state_bytes": 100.0 * num_workers,
            "peak_bytes": 10.0 * num_environments,
        }

    def measure_official(num_workers, seconds):
        return {"steps_per_second": 800 / num_workers, "steps_per_cpu_second": 810 / num_workers}

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "measure_official", measure_official)
    monkeypatch.setattr(module.devices, "virtual_cpu_devices", lambda count: None)
    return module


def run(benchmark, monkeypatch, path, *arguments):
    monkeypatch.setattr(sys, "argv", ["gtb_speed.py", f"--json={path}", *arguments])
    benchmark.main()
    return json.loads(path.read_text())


def test_the_quick_run_writes_what_is_promised(benchmark, monkeypatch, tmp_path):
    figures = run(benchmark, monkeypatch, tmp_path / "speed.json", "--quick")
    assert figures["speedup/n4"] == pytest.approx(64_000 / 200)
    assert figures["speedup/n10"] == pytest.approx(25_600 / 80)
    assert figures["steps_per_second/n4"] == 64_000
    assert figures["compile_seconds/n4"] == pytest.approx(4.256)
    assert figures["state_bytes/n4"] == 400


def test_the_table_goes_on_and_is_drawn(benchmark, monkeypatch, tmp_path):
    path, figure = tmp_path / "speed.json", tmp_path / "speed.png"
    run(benchmark, monkeypatch, path, "--workers", "4", "--environments", "1", "64", "1024")
    arguments = ("--workers", "100", "8", "--environments", "1", "64", f"--figure={figure}")
    figures = run(benchmark, monkeypatch, path, "--add", *arguments)
    cells = [(row["workers"], row["environments"]) for row in figures["rows"]]
    assert cells == [(4, 1), (4, 64), (4, 1024), (8, 1), (8, 64), (100, 1), (100, 64)]
    # 256 / 64 faster with 4 workers, for of these more environments were tried.
    assert figures["cost_growth"] == pytest.approx(4.0)
    assert figures["peak_bytes/n4"] == 10_240
    assert figures["official_steps_per_second/n4"] == 200
    assert figures["official_steps_per_cpu_second/n4"] == 202.5
    assert figure.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.oracle
def test_both_sides_are_timed_for_real(tmp_path):
    path = tmp_path / "speed.json"
    command = [sys.executable, str(SCRIPT), f"--json={path}", "--workers", "2"]
    subprocess.run([*command, "--environments", "2", "--seconds", "0.1"], check=True)
    figures = json.loads(path.read_text())
    assert figures["steps_per_second/n2"] > 0 and figures["official_steps_per_second/n2"] > 0
    assert 0 < figures["state_bytes/n2"] <= 64 * 1024
    assert figures["peak_bytes/n2"] > 2 * figures["state_bytes/n2"]
