import dataclasses
import json
import os
import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax import workdir


@dataclasses.dataclass(frozen=True)
class PPO:
    clip: float = 0.2


@dataclasses.dataclass(frozen=True)
class Config:
    ppo: PPO = PPO()
    hidden: tuple[int, ...] = (8, 8)


def opened(path, config=Config(), **arguments):
    return workdir.open_workdir(path, config, **arguments)


def test_config_file_holds_the_whole_config_and_the_versions(tmp_path):
    with opened(tmp_path / "a" / "run", seeds=4) as directory:
        record = json.loads((directory.path / "config.json").read_text())
    assert record["config"] == {"ppo": {"clip": 0.2}, "hidden": [8, 8]}
    assert record["arguments"] == {"seeds": 4}
    assert {"ai-econ-jax", "jax", "flax", "optax"} <= record["versions"].keys()
    assert "git_revision" in record
    assert directory.checkpoints.is_dir()
    assert directory.figures.is_dir()


def test_same_config_opens_the_directory_again_without_touching_config_json(tmp_path):
    with opened(tmp_path, seeds=4):
        before = (tmp_path / "config.json").stat().st_mtime_ns
    with opened(tmp_path, seeds=4):
        assert (tmp_path / "config.json").stat().st_mtime_ns == before


def test_other_config_is_an_error_naming_each_field_with_both_values(tmp_path):
    with opened(tmp_path, seeds=4):
        pass
    with (
        pytest.raises(workdir.WorkdirError) as caught,
        opened(tmp_path, Config(ppo=PPO(clip=0.3)), seeds=5),
    ):
        pass
    message = str(caught.value)
    assert "ppo.clip was 0.2, now 0.3" in message
    assert "seeds was 4, now 5" in message
    assert "hidden" not in message
    assert "\n" not in message


def test_argument_that_was_not_given_before_is_a_difference(tmp_path):
    with opened(tmp_path):
        pass
    with pytest.raises(workdir.WorkdirError, match=r"seeds was '\(absent\)', now None"):
        opened(tmp_path, seeds=None).__enter__()


def test_other_versions_resume_with_a_warning(tmp_path, caplog):
    with opened(tmp_path):
        pass
    record = json.loads((tmp_path / "config.json").read_text())
    record["versions"]["jax"] = "0.0.1"
    (tmp_path / "config.json").write_text(json.dumps(record))
    with caplog.at_level("WARNING"), opened(tmp_path):
        pass
    assert "jax was '0.0.1', now" in caplog.text


def test_directory_of_something_else_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(workdir.WorkdirError, match=r"holds 'thesis.tex' but no config.json"):
        opened(tmp_path).__enter__()
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_directory_left_by_a_kill_before_config_json_was_whole_is_taken(tmp_path):
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".config.json.tmp").write_text('{"conf')
    with opened(tmp_path):
        assert json.loads((tmp_path / "config.json").read_text())["config"]


def test_config_file_that_is_not_json_is_one_clear_line(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(workdir.WorkdirError, match=r"config.json: is not JSON"):
        opened(tmp_path).__enter__()


def test_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(workdir.WorkdirError, match=r"file/run: cannot be written: Not a directory"):
        opened(tmp_path / "file" / "run").__enter__()


def test_read_only_directory_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere, so the refusal is the test's own.
    monkeypatch.setattr(workdir, "open", refuse, raising=False)
    with pytest.raises(workdir.WorkdirError, match="cannot be written: Permission denied"):
        opened(tmp_path / "run").__enter__()


def test_lock_excludes_a_second_process_and_is_free_after_kill_9(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import contextlib, pathlib, sys, time\n"
            "from ai_econ_jax import workdir\n"
            "stack = contextlib.ExitStack()\n"
            "workdir._lock(pathlib.Path(sys.argv[1]), stack)\n"
            "print('locked', flush=True)\n"
            "time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(workdir.WorkdirError, match="another process is training in it"):
            opened(tmp_path).__enter__()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with opened(tmp_path) as directory:
        assert directory.writes


def test_lock_is_released_at_the_end_of_the_block(tmp_path):
    with opened(tmp_path):
        with pytest.raises(workdir.WorkdirError, match="another process"):
            opened(tmp_path).__enter__()
    with opened(tmp_path):
        pass


def test_processes_other_than_0_touch_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir.jax, "process_index", lambda: 1)
    with opened(tmp_path / "run") as directory:
        assert not directory.writes
        workdir.write_summary(directory, {"x": 1})
    assert not (tmp_path / "run").exists()


def test_summary_is_plain_json_with_null_for_what_is_not_finite(tmp_path):
    with opened(tmp_path) as directory:
        workdir.write_summary(
            directory,
            {"a": jnp.float32(0.5), "b": np.nan, "c": [1.0, np.inf], "d": jnp.arange(2), "e": "x"},
        )
        text = directory.summary.read_text()
    assert json.loads(text) == {"a": 0.5, "b": None, "c": [1.0, None], "d": [0, 1], "e": "x"}
    assert "NaN" not in text
    assert "Infinity" not in text


def test_summary_must_be_flat(tmp_path):
    with opened(tmp_path) as directory, pytest.raises(ValueError, match="'a' is a dictionary"):
        workdir.write_summary(directory, {"a": {"b": 1}})


def test_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    workdir.write_bytes(path, b"old")

    def die(source, target):
        assert source.read_bytes() == b"new"  # whole before it takes the name
        raise OSError("killed")

    monkeypatch.setattr(workdir.os, "replace", die)
    with pytest.raises(OSError, match="killed"):
        workdir.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_rows_are_cut_after_the_last_update_that_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    workdir.append_rows(path, [{"update": 2, "x": 1.0}, {"update": 4, "x": np.float32(2)}])
    kept = path.read_bytes()
    workdir.append_rows(path, [{"update": 6, "x": float("nan")}, {"update": 8, "x": 4.0}])
    assert workdir.read_rows(path)[2] == {"update": 6, "x": None}
    workdir.truncate_rows(path, 5)
    assert path.read_bytes() == kept


def test_half_a_row_left_by_a_kill_is_cut_and_not_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    workdir.append_rows(path, [{"update": 2}])
    kept = path.read_bytes()
    path.write_bytes(kept + b'{"update": 4, "x"')
    assert workdir.read_rows(path) == [{"update": 2}]
    workdir.truncate_rows(path, 100)
    assert path.read_bytes() == kept


def test_missing_rows_file_is_empty(tmp_path):
    workdir.truncate_rows(tmp_path / "none.jsonl", 3)
    assert workdir.read_rows(tmp_path / "none.jsonl") == []
