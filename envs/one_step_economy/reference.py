"""The two reference economies whose exact optima are known.

Skills are the exact expected order statistics of the published skill distribution; brackets are the
US federal ones.
"""

from ai_econ_jax.envs.economy import skills
from ai_econ_jax.envs.one_step_economy.params import EconomyParams, make_params


def r1() -> EconomyParams:
    """Four workers with quadratic labor cost (elasticity of income 1)."""
    return make_params(skills.expected_order_statistics(4), labor_cost=0.016, labor_exponent=2.0)


def r2() -> EconomyParams:
    """A hundred workers with cubic labor cost (elasticity of income 1/2)."""
    return make_params(skills.expected_order_statistics(100), labor_cost=0.0005, labor_exponent=3.0)


REFERENCE_ECONOMIES = {"R1": r1, "R2": r2}


def reference_economy(name: str) -> EconomyParams:
    """The reference economy called ``name``, in the current default precision.

    Raises:
      ValueError: Unknown name; the message lists the valid ones.
    """
    if name not in REFERENCE_ECONOMIES:
        raise ValueError(
            f"reference economy {name!r} is unknown; valid: {', '.join(REFERENCE_ECONOMIES)}"
        )
    return REFERENCE_ECONOMIES[name]()
