"""Everything that a researcher sweeps: one pytree of numbers, validated once at the door."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import struct

from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.economy.skills import expected_order_statistics, validate_skills
from ai_econ_jax.envs.gather_trade_build.config import Config

# Mean ranked multipliers of the official code: its numpy seed 1, 100,000 draws (spec 3.3). Other
# numbers of workers take the exact expectations, to which these are within 0.1%.
OFFICIAL_RANKED_SKILLS = {
    4: (1.133164062, 1.326711234, 1.647237295, 2.22496143),
    10: (
        *(1.051206577, 1.109832581, 1.177954711, 1.258633156, 1.356779481),
        *(1.480454333, 1.6442051, 1.876793407, 2.215841475, 2.657248741),
    ),
}
MAX_SKILL = 3.0


@struct.dataclass
class Params:
    """Numbers of one economy; all leaves may be traced, and vmapped over.

    Build one with ``make_params``. Axes: N workers, B brackets.

    Attributes:
      payment: f32[], coin for a house at skill 1.
      max_skill: f32[], largest multiplier of the payment.
      ranked_skills: f32[N], ascending multipliers by skill rank, where the layout uses ranks.
      build_labor: f32[], labor of building a house.
      order_labor: f32[], labor of creating an order.
      move_labor: f32[], labor of a step.
      gather_labor: f32[], labor of gathering.
      order_duration: i32[], steps after which an order expires.
      regeneration: f32[2], probability per step that an empty source of Stone or Wood grows a unit.
      starting_coin: f32[], coin of a worker at the reset.
      eta: f32[], curvature of utility, in [0, 1].
      labor_cost: f32[], utility per unit of labor, after the warm-up.
      warmup_constant: f32[], of labor costs, in episodes or productive steps; 0 for no warm-up.
      tax_period: i32[], steps of a tax period.
      cutoffs: f32[B], lower ends of the tax brackets, in coin.
      fixed_rates: f32[B], of the tax models that set constant rates.
      rate_min: f32[], lowest rate of the Saez formula.
      rate_max: f32[], highest rate once the cap has been lifted.
      cap_warmup: f32[], episodes before the cap on rates leaves 0; negative starts it above 0.
      cap_slope: f32[], by how much the cap rises with each episode, as a share of ``rate_max``.
      saez_elasticity: f32[], used in the Saez formula in place of the estimate; NaN for the
        estimate.
      equality_weight: f32[], in [0, 1]: with 0 the goal equality x productivity is productivity.
    """

    payment: Any
    max_skill: Any
    ranked_skills: Any
    build_labor: Any
    order_labor: Any
    move_labor: Any
    gather_labor: Any
    order_duration: Any
    regeneration: Any
    starting_coin: Any
    eta: Any
    labor_cost: Any
    warmup_constant: Any
    tax_period: Any
    cutoffs: Any
    fixed_rates: Any
    rate_min: Any
    rate_max: Any
    cap_warmup: Any
    cap_slope: Any
    saez_elasticity: Any
    equality_weight: Any


def make_params(
    config: Config,
    *,
    payment: float = 10.0,
    max_skill: float = MAX_SKILL,
    skills: npt.ArrayLike | None = None,
    build_labor: float = 10.0,
    order_labor: float = 0.25,
    move_labor: float = 1.0,
    gather_labor: float = 1.0,
    order_duration: int = 50,
    regeneration: float | tuple[float, float] = 0.01,
    starting_coin: float = 0.0,
    eta: float = 0.23,
    labor_cost: float = 0.21,
    warmup_constant: float = 0.0,
    tax_period: int = 100,
    cutoffs: npt.ArrayLike | None = None,
    fixed_rates: npt.ArrayLike | None = None,
    cap_schedule: tuple[float, float] | None = None,
    saez_elasticity: float | None = None,
    equality_weight: float = 1.0,
) -> Params:
    """Parameters of one economy, with the published values as defaults.

    Arguments are named as the fields of ``Params``, where their units are. Beyond those: ``skills``
    are ascending multipliers by rank, None for the published ones. ``regeneration`` is one
    probability, or one for Stone and one for Wood. ``cutoffs`` None takes those of
    ``config.bracket_spacing``. ``fixed_rates`` is one rate per bracket, or one rate for all of them
    (a flat tax); the tax models ``fixed`` and ``flat`` need it, ``us_federal`` and ``disabled``
    bring their own. ``cap_schedule`` is ``(cap_warmup, cap_slope)``, None for no cap.
    ``saez_elasticity`` None takes the estimate.

    Raises:
      ValueError: Names the argument, its value and what is allowed.
    """
    # Tax models are functions of these parameters, so their module imports this one.
    from ai_econ_jax.envs.gather_trade_build import tax_models

    config.validate()
    tax_models.validate_name(config.tax_model)
    if not (np.isfinite(payment) and payment > 0):
        raise ValueError(f"payment is {payment:g}, must be positive")
    for name, value in {
        "build_labor": build_labor,
        "order_labor": order_labor,
        "move_labor": move_labor,
        "gather_labor": gather_labor,
        "starting_coin": starting_coin,
        "labor_cost": labor_cost,
        "warmup_constant": warmup_constant,
    }.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value:g}, must not be negative")
    for name, value in {"eta": eta, "equality_weight": equality_weight}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value:g}, must lie in [0, 1]")
    for name, count in {"tax_period": tax_period, "order_duration": order_duration}.items():
        if not (float(count).is_integer() and count >= 1):
            raise ValueError(f"{name} is {count}, must be an integer of at least 1")
    if not 1 <= max_skill < np.inf:
        raise ValueError(f"max_skill is {max_skill:g}, must be at least 1")
    if saez_elasticity is not None and not saez_elasticity >= 0:
        raise ValueError(f"saez_elasticity is {saez_elasticity:g}, must not be negative")
    growth = np.broadcast_to(np.asarray(regeneration, float), (2,))
    if not np.all((growth >= 0) & (growth <= 1)):
        raise ValueError(f"regeneration is {regeneration}, must lie in [0, 1]")
    published = brackets.make_cutoffs(
        config.bracket_spacing, config.num_brackets, config.top_cutoff
    )
    edges = published if cutoffs is None else brackets.validate_cutoffs(cutoffs)
    if edges.size != published.size:
        raise ValueError(
            f"cutoffs has {edges.size} entries, the configuration has {published.size} brackets"
        )
    untaxed = config.tax_model == "disabled"
    cap_warmup, cap_slope = (-1.0, 1.0) if cap_schedule is None else cap_schedule
    if not np.isfinite([cap_warmup, cap_slope]).all():
        raise ValueError(f"cap_schedule is {(cap_warmup, cap_slope)}, must be two finite numbers")
    return Params(
        payment=jnp.asarray(payment, float),
        max_skill=jnp.asarray(max_skill, float),
        ranked_skills=jnp.asarray(_ranked_skills(config, skills, max_skill), float),
        build_labor=jnp.asarray(build_labor, float),
        order_labor=jnp.asarray(order_labor, float),
        move_labor=jnp.asarray(move_labor, float),
        gather_labor=jnp.asarray(gather_labor, float),
        order_duration=jnp.asarray(order_duration, jnp.int32),
        regeneration=jnp.asarray(growth, float),
        starting_coin=jnp.asarray(starting_coin, float),
        eta=jnp.asarray(eta, float),
        labor_cost=jnp.asarray(labor_cost, float),
        warmup_constant=jnp.asarray(warmup_constant, float),
        tax_period=jnp.asarray(tax_period, jnp.int32),
        cutoffs=jnp.asarray(edges, float),
        fixed_rates=jnp.asarray(_fixed_rates(config, fixed_rates, edges.size), float),
        rate_min=jnp.asarray(0.0 if untaxed else config.rate_min, float),
        rate_max=jnp.asarray(0.0 if untaxed else config.rate_max, float),
        cap_warmup=jnp.asarray(cap_warmup, float),
        cap_slope=jnp.asarray(cap_slope, float),
        saez_elasticity=jnp.asarray(np.nan if saez_elasticity is None else saez_elasticity, float),
        equality_weight=jnp.asarray(equality_weight, float),
    )


def rate_cap(params: Params, completions: jax.Array) -> jax.Array:
    """Highest marginal rate after ``completions`` episodes, f32[] (spec 2.4)."""
    share = jnp.clip(params.cap_slope * (completions - params.cap_warmup), 0.0, 1.0)
    return share * params.rate_max


def _ranked_skills(config: Config, skills: npt.ArrayLike | None, max_skill: float) -> np.ndarray:
    if skills is not None:
        values = validate_skills(skills)
        if values.shape != (config.num_workers,):
            raise ValueError(f"skills has {values.size} entries, must have {config.num_workers}")
        if not config.fixed_four and config.layout_kind != "split":
            raise ValueError(
                "skills are given, but they are drawn at every reset: needs fixed_four or "
                "layout_kind split"
            )
        return np.sort(values)
    if max_skill <= 1:
        return np.ones(config.num_workers)
    # The split layout drew its averages anew in the official code: it takes the expectations.
    if max_skill == MAX_SKILL and config.layout_kind != "split":
        official = OFFICIAL_RANKED_SKILLS.get(config.num_workers)
        if official is not None:
            return np.array(official)
    return expected_order_statistics(config.num_workers, max_skill=max_skill)


def _fixed_rates(config: Config, rates: npt.ArrayLike | None, num_brackets: int) -> np.ndarray:
    if config.tax_model == "us_federal":
        return np.array(brackets.US_FEDERAL_RATES)
    if rates is None:
        if config.tax_model in ("fixed", "flat"):
            raise ValueError(f"tax_model {config.tax_model} needs fixed_rates")
        return np.zeros(num_brackets)
    values = np.asarray(rates, float)
    if values.ndim == 0:
        values = np.full(num_brackets, values)
    elif config.tax_model == "flat":
        raise ValueError(f"tax_model flat needs one number as fixed_rates, not {values.tolist()}")
    return brackets.validate_rates(values, num_brackets)
