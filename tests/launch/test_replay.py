import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from absl import app, flags
from absl.testing import flagsaver
from PIL import Image

from ai_econ_jax import cli
from ai_econ_jax.envs.gather_trade_build import (
    Config,
    GatherTradeBuild,
    PerRole,
    episode_log,
    make_params,
    recorder,
)
from ai_econ_jax.launch import replay

app.define_help_flags()


def move_on(key, observation):
    """Looks at nothing, so that recording compiles fast."""
    return PerRole(workers=jax.random.randint(key, (2,), 46, 50), planner=jnp.zeros(7, jnp.int32))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    config = Config(
        layout="quadrant_8x8_4each_8clump", num_workers=2, fixed_four=False, episode_length=12
    )
    params = make_params(config, starting_coin=10.0, tax_period=6)
    path = tmp_path_factory.mktemp("log") / "episode.npz"
    environment = GatherTradeBuild(config)
    recorded = recorder.record_episode(jax.random.key(0), environment, params, move_on)
    episode_log.save(recorded, path)
    return path


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs the launcher in ``tmp_path``; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def launch_and_read(*arguments):
        capsys.readouterr()
        saved = flagsaver.save_flag_values()
        try:
            with pytest.raises(SystemExit) as leaving:
                cli.run_app(replay.main, replay.PRESETS, ["replay", *map(str, arguments)])
        finally:
            flagsaver.restore_flag_values(saved, flags.FLAGS)
        printed = capsys.readouterr()
        return SimpleNamespace(code=leaving.value.code, out=printed.out, err=printed.err)

    return launch_and_read


def test_page_figures_and_film_are_written_and_named(log, run, tmp_path):
    done = run(
        *(f"--log={log}", "--out=out/a.html", "--png=3", "--png=12", "--gif"),
        *("--config.title=My <economy>", "--config.png_dpi=50", "--config.gif_dpi=30"),
    )
    assert done.code == 0, done.err
    written = [line.split()[0] for line in done.out.splitlines()]
    assert written == ["out/a.html", "out/a_step3.png", "out/a_step12.png", "out/a.gif"]
    assert "<title>My &lt;economy&gt;</title>" in (tmp_path / "out/a.html").read_text()
    assert Image.open(tmp_path / "out/a_step3.png").size == (500, 280)
    assert Image.open(tmp_path / "out/a.gif").n_frames == 4  # steps 0, 5, 10 and the last


def test_the_page_is_beside_the_log_by_default(log, tmp_path):
    copy = tmp_path / "logs" / "first.episode.npz"
    copy.parent.mkdir()
    copy.write_bytes(log.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "ai_econ_jax.launch.replay", "--log=logs/first.episode.npz"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "AI_ECON_TRACEBACK": ""},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "logs/first.episode.html"
    assert (tmp_path / "logs/first.episode.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out=a.html"], "--log is required"),
        (["--log=no.npz", "--out=a.html"], "no.npz: no such episode log"),
        (["--log={log}", "--out=a.txt"], "--out is a.txt, must end in .html"),
        (["--log={log}", "--out=a.html", "--png=13"], "--png is 13, must be in 0 to 12"),
        (["--log={bad}", "--out=a.html"], "bad.npz: not an episode log"),
        (["--log={log}", "--out=a.html", "--config.gif_every=0"], "field gif_every = 0"),
    ],
)
def test_what_a_user_can_mend_is_one_line(log, run, tmp_path, arguments, words):
    bad = tmp_path / "bad.npz"
    bad.write_text("nothing")
    done = run(*(argument.format(log=log, bad=bad) for argument in arguments))
    assert done.code == 2
    assert done.err.startswith("ai-econ: error: ") and done.err.count("\n") == 1
    assert words in done.err
    assert not (tmp_path / "a.html").exists()
