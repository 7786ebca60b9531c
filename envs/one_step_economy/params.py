"""Parameters of the one-step economy: one pytree, validated once at the door."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import struct

from ai_econ_jax.envs.economy import brackets, welfare
from ai_econ_jax.envs.economy.skills import validate_skills

UTILITIES = ("coin_minus_labor_cost", "isoelastic")

# The action space of the official environment: 0 (no work) to 100 hours.
MAX_HOURS = 100


@struct.dataclass
class EconomyParams:
    """One economy. Numbers are pytree leaves (vmap over economies), names are static.

    Build one with ``make_params``; after ``replace`` call ``validate`` again.

    Attributes:
      skills: f32[N], coin per hour.
      cutoffs: f32[B], lower ends of the tax brackets, in coin.
      labor_cost: f32[], utility per hour (isoelastic), or per hour^labor_exponent.
      labor_exponent: f32[], exponent of hours in ``coin_minus_labor_cost``; greater than 1.
      eta: f32[], curvature of ``isoelastic`` utility, in [0, 1].
      utility: Static, an entry of ``UTILITIES``.
      gini_mode: Static, an entry of ``welfare.GINI_MODES``.
      max_hours: Static, most hours that a worker can choose.
    """

    skills: jax.Array
    cutoffs: jax.Array
    labor_cost: jax.Array
    labor_exponent: jax.Array
    eta: jax.Array
    utility: str = struct.field(pytree_node=False, default="coin_minus_labor_cost")
    gini_mode: str = struct.field(pytree_node=False, default="exact")
    max_hours: int = struct.field(pytree_node=False, default=MAX_HOURS)

    @property
    def num_workers(self) -> int:
        """N."""
        return self.skills.shape[-1]

    @property
    def num_brackets(self) -> int:
        """B."""
        return self.cutoffs.shape[-1]

    def validate(self) -> "EconomyParams":
        """Checks one economy (not a batch of them) on the host and returns it.

        Raises:
          ValueError: A value out of range; one line that names field, value and allowed range.
        """
        validate_skills(np.asarray(self.skills))
        brackets.validate_cutoffs(np.asarray(self.cutoffs))
        for field, is_valid, requirement in (
            ("labor_cost", 0 <= self.labor_cost < np.inf, "be 0 or more and finite"),
            ("labor_exponent", 1 < self.labor_exponent < np.inf, "be greater than 1 and finite"),
            ("eta", 0 <= self.eta <= 1, "lie in [0, 1]"),
            ("max_hours", self.max_hours >= 1, "be at least 1"),
        ):
            if not is_valid:
                raise ValueError(f"{field} is {float(getattr(self, field)):g}, must {requirement}")
        for field, valid in (("utility", UTILITIES), ("gini_mode", welfare.GINI_MODES)):
            name = getattr(self, field)
            if name not in valid:
                raise ValueError(f"{field} {name!r} is unknown; valid: {', '.join(valid)}")
        return self


def make_params(
    skills: npt.ArrayLike,
    cutoffs: npt.ArrayLike = brackets.US_FEDERAL_CUTOFFS,
    *,
    labor_cost: float,
    labor_exponent: float = 2.0,
    eta: float = 0.23,
    utility: str = "coin_minus_labor_cost",
    gini_mode: str = "exact",
    max_hours: int = MAX_HOURS,
) -> EconomyParams:
    """A validated economy with leaves in the current default precision.

    ``labor_cost`` has no default: the official one, 1.0, makes about one hour of work optimal.

    Args:
      skills: N numbers, coin per hour.
      cutoffs: B numbers, in coin.
      labor_cost: See ``EconomyParams``, as all that follow.
      labor_exponent: Exponent of hours.
      eta: Curvature.
      utility: Name of the utility.
      gini_mode: Name of the Gini formula.
      max_hours: Most hours of a worker.

    Raises:
      ValueError: As ``EconomyParams.validate``.
    """
    return EconomyParams(
        skills=jnp.asarray(validate_skills(skills), dtype=float),
        cutoffs=jnp.asarray(brackets.validate_cutoffs(cutoffs), dtype=float),
        labor_cost=jnp.asarray(labor_cost, dtype=float),
        labor_exponent=jnp.asarray(labor_exponent, dtype=float),
        eta=jnp.asarray(eta, dtype=float),
        utility=utility,
        gini_mode=gini_mode,
        max_hours=max_hours,
    ).validate()
