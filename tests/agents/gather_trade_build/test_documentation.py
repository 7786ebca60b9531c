"""The recipe of the page runs: another library's PPO in our environment."""

import pathlib
import re

import jax
import numpy as np
import pytest

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "ai_economist.md"


@pytest.mark.slow
def test_another_librarys_ppo_learns_from_the_environment():
    (recipe,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(recipe, str(PAGE), "exec"), names)
    state = names["state"]
    assert int(state.global_step) == 512
    fresh = names["algorithm"].init_state(jax.random.key(0))
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), state.actor_ts.params, fresh.actor_ts.params
    )
    assert max(jax.tree.leaves(moved)) > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.actor_ts.params))
