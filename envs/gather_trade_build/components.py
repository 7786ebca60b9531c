"""What acts in a step, by name. A new component is one more entry of ``COMPONENTS``.

A component is a pure function ``(state, action, noise, params, world) -> state``. Those named in
``Config.components`` act in that order, then resources grow; all actions were taken from the state
before the step.
"""

from collections.abc import Callable

from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.auction import trade
from ai_econ_jax.envs.gather_trade_build.build import build
from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.gather import gather
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.redistribution import redistribute
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.tax import tax
from ai_econ_jax.envs.gather_trade_build.tax_models import validate_name
from ai_econ_jax.envs.gather_trade_build.world import World

Component = Callable[[State, Actions, StepNoise, Params, World], State]

COMPONENTS: dict[str, Component] = {
    "build": build,
    "trade": trade,
    "gather": gather,
    "tax": tax,
    "wealth_redistribution": redistribute,
}


def validate_names(config: Config) -> None:
    """Checks the names of components and of the tax model.

    Raises:
      ValueError: An unknown name, a component twice, or none of build, trade and gather.
    """
    for name in config.components:
        if name not in COMPONENTS:
            raise ValueError(f"component {name!r} is unknown; valid: {', '.join(COMPONENTS)}")
    if len(set(config.components)) < len(config.components):
        raise ValueError(f"components is {config.components}, must not name one twice")
    for name in ("build", "trade", "gather"):
        if name not in config.components:
            raise ValueError(f"components is {config.components}, must contain {name}")
    validate_name(config.tax_model)
