"""Value iteration against rlberry-scool, which cannot be installed beside our versions (bar 22)."""

import os
import subprocess

import numpy as np
import pytest

from ai_econ_jax.envs.tabular import dynamic_programming as dp
from ai_econ_jax.envs.tabular import suite

pytestmark = pytest.mark.usefixtures("x64")

PYTHON = os.environ.get("RLBERRY_PYTHON")

THEIRS = """
import sys
import numpy as np
from rlberry_scool.agents.dynprog.utils import backward_induction_sd
given = np.load(sys.argv[1])
q, v = np.zeros(given["R"].shape), np.zeros(given["R"].shape[:2])
backward_induction_sd(q, v, given["R"], given["P"])
np.savez(sys.argv[2], q=q, v=v)
"""


@pytest.mark.skipif(
    PYTHON is None,
    reason="RLBERRY_PYTHON names no Python with rlberry-scool; it needs gymnasium < 0.30, so give "
    "it a venv of its own: pip install rlberry-scool==0.7.3 rlberry==0.7.3",
)
@pytest.mark.parametrize("name", ["cliff3", "lock", "dirichlet", "riverswim", "inventory"])
def test_values_are_those_of_rlberry(tmp_path, name):
    mdp = suite.load(name).mdp
    values, q, _ = dp.optimal(mdp)
    np.savez(tmp_path / "mdp.npz", P=mdp.transition, R=mdp.reward)
    files = [tmp_path / "mdp.npz", tmp_path / "answer.npz"]
    subprocess.run([PYTHON, "-c", THEIRS, *files], check=True, capture_output=True)
    answer = np.load(files[1])
    np.testing.assert_allclose(answer["q"], q, rtol=0, atol=1e-10)
    np.testing.assert_allclose(answer["v"], values[:-1], rtol=0, atol=1e-10)
