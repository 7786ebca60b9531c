"""A recorded episode as a page that plays it in any browser. ``ai-econ replay --help``.

``--log`` is an episode log of the gather-trade-build economy. Beside the page, ``--png=STEP``
writes the figure of a step, ``--gif`` a film of the episode.
"""

import dataclasses
import pathlib

from absl import flags

from ai_econ_jax import cli, workdir
from ai_econ_jax import config as config_lib
from ai_econ_jax.envs.gather_trade_build import episode_log, replay

_LOG = flags.DEFINE_string("log", None, "Episode log, an .npz file.")
_OUT = flags.DEFINE_string(
    "out",
    None,
    "Page to write, by default beside the log; its name without .html begins the others'.",
)
_PNG = flags.DEFINE_multi_integer("png", [], "Also a figure of this step; may be given repeatedly.")
_GIF = flags.DEFINE_bool("gif", False, "Also a film.")


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """How a replay looks.

    Attributes:
      title: Of the page.
      png_dpi: Dots per inch of a figure, which is 10 by 5.6 inches.
      gif_dpi: The same of a film.
      gif_every: Steps from one frame of a film to the next.
      gif_frame_rate: Frames per second.
    """

    title: str = "Gather-trade-build"
    png_dpi: int = 200
    gif_dpi: int = 80
    gif_every: int = 5
    gif_frame_rate: float = 12.0

    def validate(self) -> None:
        """Checks ranges."""
        config_lib.check_range("png_dpi", self.png_dpi, 10, 1200)
        config_lib.check_range("gif_dpi", self.gif_dpi, 10, 600)
        config_lib.check_positive("gif_every", self.gif_every)
        config_lib.check_range("gif_frame_rate", self.gif_frame_rate, 0.1, 50)


PRESETS = {"default": ReplayConfig()}


def main(config: ReplayConfig) -> None:
    """Writes the page and what else is asked for; prints the path and size of each file."""
    if _LOG.value is None:
        raise ValueError("--log is required")
    log_path = pathlib.Path(_LOG.value).expanduser()
    out = log_path.with_suffix(".html") if _OUT.value is None else pathlib.Path(_OUT.value)
    out = out.expanduser()
    if out.suffix != ".html":
        raise ValueError(f"--out is {_OUT.value}, must end in .html")
    log = episode_log.load(log_path)
    absent = [step for step in _PNG.value if not 0 <= step <= log.num_steps]
    if absent:
        raise ValueError(f"--png is {absent[0]}, must be in 0 to {log.num_steps}")
    out.parent.mkdir(parents=True, exist_ok=True)
    workdir.write_bytes(out, replay.render(log, config.title).encode())
    written = [out]
    for step in _PNG.value:
        written.append(out.with_name(f"{out.stem}_step{step}.png"))
        replay.save_still(log, written[-1], step, config.png_dpi)
    if _GIF.value:
        written.append(out.with_suffix(".gif"))
        replay.save_film(log, written[-1], config.gif_every, config.gif_frame_rate, config.gif_dpi)
    for path in written:
        print(f"{path} {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    cli.run_app(main, PRESETS)
