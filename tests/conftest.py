"""What every test shares: how JAX starts, the compilation cache, 64-bit mode."""

import os
import pathlib

import ai_econ_jax  # sets NPROC, so it comes before jax  # noqa: F401

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# In the environment and not in jax's config, so that the processes which tests start share them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_REPOSITORY / ".cache" / "jax"))
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

from ai_econ_jax import devices  # noqa: E402

# Tests of pmap and shard_map need two devices, and no test may touch a device before this line.
devices.virtual_cpu_devices(2)

# The first example pays for compilation, so a deadline per example says nothing. The same examples
# every time, so that a change turns a test red and chance does not; `make test-all` searches anew.
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(scope="module")
def x64():
    """Doubles throughout a module: ``pytestmark = pytest.mark.usefixtures("x64")`` at its top."""
    with jax.enable_x64(True):
        yield
