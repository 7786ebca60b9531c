"""Large vmapped scans must finish on two cores, where other PPOs on a bare JAX have stood still."""

import os
import subprocess
import sys

import pytest

STAY_ON_TWO_CORES = "import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])\n"
TRAINING = """
import ai_econ_jax  # first: gymnax starts JAX
import gymnax, jax
from ai_econ_jax import ppo
from ai_econ_jax.distributions import masked_categorical
from ai_econ_jax.environment import AutoReset
from ai_econ_jax.envs.gymnax_adapter import GymnaxEnvironment
from ai_econ_jax.networks import ActorCritic

environment, params = gymnax.make("CartPole-v1")
learner = ppo.make_ppo(
    AutoReset(GymnaxEnvironment(environment)),
    ActorCritic(num_logits=2),
    lambda logits, observation: masked_categorical(logits),
    ppo.BatchConfig(),
    num_updates=120,
)

def train(key):
    state = learner.init(key, ppo.Hyperparameters(), params)
    return jax.lax.scan(lambda s, _: learner.update(s), state, None, 120)[0].num_updates

print(*jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 8)))
"""
pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="cores can be chosen on Linux only"
)
LIMIT = 300  # seconds; without the hang it takes a tenth of that


def run(code, **changes):
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"} | changes
    return subprocess.run(
        [sys.executable, "-c", STAY_ON_TWO_CORES + code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    ).stdout


def test_eight_seeds_of_sixty_thousand_steps_finish_on_two_cores():
    assert run(TRAINING).split()[-8:] == ["120"] * 8


@pytest.mark.parametrize(("set_by_user", "expected"), [({}, "8"), ({"NPROC": "3"}, "3")])
def test_the_pool_has_eight_threads_unless_the_user_says_otherwise(set_by_user, expected):
    code = "import ai_econ_jax, sys; print(os.environ['NPROC'], 'jax' in sys.modules)"
    assert run(code, **set_by_user).split() == [expected, "False"]


@pytest.mark.parametrize(
    ("before", "warned"),
    [
        ("import gymnax", True),
        ("", False),
        ("import os; os.environ['NPROC'] = '2'; import gymnax", False),
    ],
)
def test_a_pool_that_is_fixed_already_is_warned_of(before, warned):
    code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import ai_econ_jax
print([str(w.message) for w in caught])
"""
    assert ("import ai_econ_jax first, or set NPROC=8" in run(before + code)) == warned
