"""Episodes to look at: one HTML page that plays a log, and figures and films for papers."""

from ai_econ_jax.envs.gather_trade_build.replay.page import render
from ai_econ_jax.envs.gather_trade_build.replay.stills import save_film, save_still

__all__ = ["render", "save_film", "save_still"]
