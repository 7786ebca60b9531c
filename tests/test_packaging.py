"""The wheel: what is in it, and that it runs where there is no repository around.

The fast test installs the wheel alone in a new environment, which borrows this one's dependencies
by a ``.pth`` file. Python reads no ``.pth`` files of a folder that it got from one, so this
environment's editable install stays out of it. The slow test installs everything from the index.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "ai_econ_jax", "agents", "envs", "launch")
COMMANDS = (
    ("ai-econ",),
    ("ai-econ", "ai_economist", "--help"),
    ("python", "-m", "ai_econ_jax.launch.ai_economist", "--help"),
)


def run(*command, cwd):
    # A Python path from outside could bring the repository back in.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that neither old build folders get in nor new ones stay behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in filter(lambda name: (REPOSITORY / name).exists(), SOURCES):
        source, target = REPOSITORY / name, copy / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, target)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def new_environment(path):
    """Returns the folder of its programs and that of its packages."""
    venv.create(path, with_pip=True)
    variables = {"base": str(path), "platbase": str(path)}
    programs, packages = (
        pathlib.Path(sysconfig.get_path(kind, "venv", variables)) for kind in ("scripts", "purelib")
    )
    return programs, packages


def check_commands(programs, folder):
    """Runs the commands from a folder outside the repository."""
    first, *rest = (run(programs / name, *flags, cwd=folder) for name, *flags in COMMANDS)
    assert "ai_economist" in first
    assert all("--workdir" in text and "--preset" in text for text in rest)
    code = "import ai_econ_jax.agents as a; print(a.__file__)"
    where = pathlib.Path(run(programs / "python", "-c", code, cwd=folder).strip())
    assert programs.parent in where.parents


def test_the_wheel_holds_the_folders_under_the_package_and_nothing_beside_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {item.filename: item.file_size for item in archive.infolist()}
    tops = {name.split("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ai_econ_jax"}
    for folder in ("agents", "envs", "launch"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            name = f"ai_econ_jax/{path.relative_to(REPOSITORY).as_posix()}"
            assert held.get(name) == path.stat().st_size, name  # a link would be shorter
    assert "ai_econ_jax/py.typed" in held
    for path in (REPOSITORY / "envs/gather_trade_build/replay").iterdir():
        if path.is_file():
            assert f"ai_econ_jax/{path.relative_to(REPOSITORY).as_posix()}" in held, path
    for path in (REPOSITORY / "envs/gather_trade_build/data").iterdir():
        assert f"ai_econ_jax/{path.relative_to(REPOSITORY).as_posix()}" in held, path
    for notice in ("LICENSE", "envs/gather_trade_build/data/LICENSE.txt"):
        assert any(name.endswith(f"licenses/{notice}") for name in held), notice
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in held if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    assert "License-Expression: Apache-2.0 AND BSD-3-Clause" in lines


def test_the_command_runs_from_a_bare_installation(wheel, tmp_path):
    programs, packages = new_environment(tmp_path / "venv")
    run(programs / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    borrowed = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    check_commands(programs, tmp_path)


@pytest.mark.slow
def test_the_command_runs_with_only_what_the_wheel_requires(wheel, tmp_path):
    programs, _ = new_environment(tmp_path / "venv")
    constraints = REPOSITORY / "constraints.txt"
    run(programs / "pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=tmp_path)
    check_commands(programs, tmp_path)
