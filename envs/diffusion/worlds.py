"""What models with prompts learn to draw: scenes or clips, and how these differ. Spec 3.2, 3.6.

Axes: B pictures, N of an evaluation, S side, L tokens; ``*D`` stands for (S, S, 3) of scenes and
(F, S, S, 3) of clips. Stamps are of ``scenes``.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import (
    clip_judge,
    clip_prompts,
    clips,
    prompts,
    scene_judge,
    scenes,
)
from ai_econ_jax.envs.diffusion.clip_judge import ClipJudge
from ai_econ_jax.envs.diffusion.clips import Clip
from ai_econ_jax.envs.diffusion.prompts import Tokenizer
from ai_econ_jax.envs.diffusion.scene_judge import SceneJudge
from ai_econ_jax.envs.diffusion.scenes import Stamps

GROUP = 8  # pictures that differ in what is hard to tell


@dataclasses.dataclass(frozen=True)
class World:
    """One world; immutable and hashable."""

    name: str
    frames: tuple[int, ...]  # (F,) of clips, () of scenes
    tokenizer: Tokenizer
    evaluation_prompts: tuple[str, ...]
    parse: Callable[[str], Any]  # what a prompt asks for; raises PromptError
    skewed: Any  # the prior that a model learns
    uniform: Any  # the one that its reward and its judge learn
    sample: Callable[[jax.Array, Any], Any]  # (key, prior) -> what is shown
    sample_wanted: Callable[[jax.Array, Any, Any], Any]  # (key, prior, asked) -> what is shown
    render: Callable[[jax.Array, Any, Stamps, int], jax.Array]  # of what is shown: f32[*D]
    caption: Callable[[jax.Array, Any], jax.Array]  # of what is shown: i32[L]
    # vary(what is shown, i32[] from 0) -> the same but for what is hard to tell; 0 is itself
    vary: Callable[[Any, jax.Array], Any]
    make_judge: Callable[[SceneJudge], SceneJudge | ClipJudge]
    # accuracy(judge, what is shown [N], f32[N, *D]) -> the judge's, by what it tells
    accuracy: Callable[[Any, Any, jax.Array], dict[str, float]]
    # What is told of the model's own pictures beside success: (f32[N, *D], asked) -> bool[N].
    beside: tuple[tuple[str, Callable[[NDArray, Any], NDArray]], ...] = ()

    def shape(self, size: int) -> tuple[int, ...]:
        """D, at a size of the canvas."""
        return (*self.frames, size, size, 3)

    def draw(
        self, key: jax.Array, count: int, prior: Any, stamps: Stamps, size: int
    ) -> tuple[Any, jax.Array, jax.Array]:
        """What is shown [B] of a prior, its pictures f32[B, *D] and captions i32[B, L]."""
        shifts = jnp.zeros(count, jnp.int32)
        return self._draw_shifted(jax.random.split(key, count), shifts, prior, stamps, size)

    def draw_rivals(
        self, key: jax.Array, count: int, prior: Any, stamps: Stamps, size: int
    ) -> tuple[jax.Array, jax.Array]:
        """Pictures f32[B, *D] and captions i32[B, L], in groups of 8 that `vary` alone tells apart.

        B is a multiple of 8.

        Drawn one by one, two pictures of a batch hardly ever differ in the animal and in nothing
        else, so who learns to tell them apart looks at colours and places.
        """
        keys = jnp.repeat(jax.random.split(key, count // GROUP), GROUP)
        return self._draw_shifted(keys, jnp.arange(count) % GROUP, prior, stamps, size)[1:]

    def _draw_shifted(
        self, keys: jax.Array, shifts: jax.Array, prior: Any, stamps: Stamps, size: int
    ) -> tuple[Any, jax.Array, jax.Array]:
        """As `draw`, with keys key[B], and each varied by its shift i32[B]."""

        def one(key: jax.Array, shift: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
            shown_key, picture_key, caption_key = jax.random.split(key, 3)
            shown = self.vary(self.sample(shown_key, prior), shift)
            picture = self.render(picture_key, shown, stamps, size)
            return shown, picture, self.caption(caption_key, shown)

        return jax.vmap(one)(keys, shifts)

    def renders(
        self, key: jax.Array, count: int, asked: Any, stamps: Stamps, size: int
    ) -> jax.Array:
        """True pictures f32[B, *D] of a prompt; what it leaves open is as in the model's world."""

        def one(key: jax.Array) -> jax.Array:
            shown_key, picture_key = jax.random.split(key)
            shown = self.sample_wanted(shown_key, self.skewed, asked)
            return self.render(picture_key, shown, stamps, size)

        return jax.vmap(one)(jax.random.split(key, count))

    def load_judge(self, folder: pathlib.Path, size: int) -> SceneJudge | ClipJudge:
        """Reads the judge; raises as `scene_judge.load`."""
        return self.make_judge(scene_judge.load(folder, size))


def _same(judge: SceneJudge) -> SceneJudge:
    return judge


def clip_accuracy(judge: ClipJudge, drawn: Clip, pictures: jax.Array) -> dict[str, float]:
    """As `scene_judge.accuracy` of all frames of true clips [N], and of the clips' motions."""
    frames = pictures.shape[1]
    scene = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), frames, axis=0), drawn.scene)
    told = scene_judge.accuracy(judge.frames, scene, clip_judge.fold(pictures))
    right: NDArray = clip_judge.motions(pictures) == np.asarray(drawn.motion)
    return told | {"motion": float(right.mean())}


def _all(prompts_of: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(prompt for some in prompts_of.values() for prompt in some)


SCENES = World(
    name="scenes",
    frames=(),
    tokenizer=Tokenizer(),
    evaluation_prompts=_all(prompts.EVALUATION_PROMPTS),
    parse=prompts.parse,
    skewed=scenes.SKEWED,
    uniform=scenes.UNIFORM,
    sample=scenes.draw_scene,
    sample_wanted=scenes.draw_wanted,
    render=scenes.render,
    caption=scenes.caption,
    vary=scenes.with_other_animals,
    make_judge=_same,
    accuracy=scene_judge.accuracy,
)
CLIPS = World(
    name="clips",
    frames=(clips.NUM_FRAMES,),
    tokenizer=clip_prompts.TOKENIZER,
    evaluation_prompts=_all(clip_prompts.EVALUATION_PROMPTS),
    parse=clip_prompts.parse,
    skewed=clips.SKEWED,
    uniform=clips.UNIFORM,
    sample=clips.draw_clip,
    sample_wanted=clips.draw_wanted,
    render=clips.render,
    caption=clips.caption,
    vary=clips.with_others,
    make_judge=ClipJudge,
    accuracy=clip_accuracy,
    beside=(("motion", clip_judge.moves),),
)
WORLDS = (SCENES, CLIPS)
