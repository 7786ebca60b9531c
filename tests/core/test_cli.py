import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from ai_econ_jax import cli

SYSTEM = '''"""A toy system."""
import dataclasses, os
from absl import flags
from ai_econ_jax import cli, config

WORKDIR = flags.DEFINE_string("workdir", None, "Where to write.")

@dataclasses.dataclass(frozen=True)
class Config:
    fail: str = ""
    clip: float = 0.2
    def validate(self):
        config.check_range("clip", self.clip, 0, 1)

def fail(kind):
    if kind == "NonFiniteError":
        from ai_econ_jax import loop
        raise loop.NonFiniteError("metric loss is not finite at update 3")
    raise {"ValueError": ValueError, "FileNotFoundError": FileNotFoundError, "TypeError": TypeError,
           "KeyboardInterrupt": KeyboardInterrupt}[kind]("first\\nsecond")

def main(config):
    if config.fail:
        fail(config.fail)
    print(config, WORKDIR.value)

if __name__ == "__main__":
    cli.run_app(main, {"paper": Config(), "small": Config(clip=0.1)})
'''

# Puts the toy among the launchers, as if it were a file of launch/.
CONSOLE = """
import sys, ai_econ_jax.launch
from ai_econ_jax import cli
ai_econ_jax.launch.__path__.append(sys.argv[1])
cli.SYSTEMS["toy"] = "a toy"
cli.main(["ai-econ", *sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("launch") / "toy.py"
    path.write_text(SYSTEM)
    return path


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def console(toy, *arguments):
    return run("-c", CONSOLE, toy.parent, *arguments)


def both(toy, *arguments):
    """Runs the toy through the console script and as a module; they must behave the same."""
    done, module = console(toy, "toy", *arguments), run(toy, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (
        module.returncode,
        module.stdout,
        module.stderr,
    )
    return done


def assert_one_line_error(done, *words):
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ai-econ: error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_flags_reach_main_through_both_entries(toy):
    done = both(toy, "--preset=small", "--workdir=here", "--config.fail=")
    assert done.returncode == 0
    assert done.stdout == "Config(fail='', clip=0.1) here\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdri=x"], ["workdri", "mean", "workdir"]),
        (["--config.clop=1"], ["config.clop", "mean", "config.clip"]),
        (["--preset=huge"], ["huge", "paper", "small"]),
        (["--config.clip=3"], ["field clip = 3.0: must be in [0, 1]"]),
        (["--config.fail=ValueError"], ["first second"]),
        (["--config.fail=FileNotFoundError"], ["first second"]),
        (["--config.fail=NonFiniteError"], ["metric loss is not finite at update 3"]),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(toy, arguments, words):
    assert_one_line_error(run(toy, *arguments), *words)


def test_bug_keeps_its_traceback(toy):
    done = run(toy, "--config.fail=TypeError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_traceback_of_an_expected_error_can_be_asked_for(toy):
    done = run(toy, "--config.fail=ValueError", AI_ECON_TRACEBACK="1")
    assert done.returncode == 1
    assert ", in fail\n" in done.stderr


def test_interrupt_is_one_line_and_the_shells_code(toy):
    done = run(toy, "--config.fail=KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "ai-econ: interrupted\n")


def test_help_of_a_system_shows_its_flags_fields_and_presets(toy):
    done = both(toy, "--help")
    assert done.returncode == 0
    for word in ("A toy system.", "--workdir", "<paper|small>", "--config.clip=0.2"):
        assert word in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_bare_command_lists_the_systems(toy, arguments):
    done = console(toy, *arguments)
    assert done.returncode == 0
    for name, about in {**cli.SYSTEMS, "toy": "a toy"}.items():
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [name]]
        assert about in line


def test_unknown_system_names_the_valid_ones_and_the_closest(toy):
    done = console(toy, "ai_economst")
    assert_one_line_error(done, "'ai_economst'", "mean ai_economist", "toy")
    assert "mean" not in console(toy, "zzz").stderr


def test_listing_and_errors_come_without_importing_jax():
    code = (
        "import sys; from ai_econ_jax import cli\n"
        "try: cli.main(['ai-econ'])\n"
        "except SystemExit: assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    assert run("-c", code).returncode == 0


def test_console_script_is_the_command():
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).with_name("ai-econ"))], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "ai_economist" in done.stdout


@pytest.mark.parametrize("system", cli.SYSTEMS)
def test_every_listed_system_exists(system):
    assert importlib.util.find_spec(f"ai_econ_jax.launch.{system}")
