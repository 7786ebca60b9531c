"""Clips of an animal that moves, with captions: ``scenes`` for eight frames. Spec 3.6.

Most animals in this world move from right to left, which is what makes the other way hard for a
model of it. Axes: F = 8 frames, S side of the canvas, L tokens.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from ai_econ_jax.envs.diffusion import prompts, scenes
from ai_econ_jax.envs.diffusion.clip_prompts import MOTIONS, VELOCITY, WORDS, WantedClip
from ai_econ_jax.envs.diffusion.prompts import COLOURS, NUM_NATURAL, PLACES
from ai_econ_jax.envs.diffusion.scenes import Scene, Stamps
from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS

NUM_FRAMES = 8  # F; in 7 steps an animal of 9 pixels crosses a canvas of 16
_USUAL = 1  # from right to left
_SPECIES_FIRST = 4  # in each motion, of clips that differ in these two alone
_ONE_ANIMAL = (1.0, 0.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class ClipPrior:
    """How often clips are what they are."""

    scene: scenes.Prior  # of one animal
    motions: tuple[float, ...]  # of MOTIONS


SKEWED = ClipPrior(
    dataclasses.replace(scenes.SKEWED, kinds=_ONE_ANIMAL), (0.0375, 0.85, 0.0375, 0.0375, 0.0375)
)
UNIFORM = ClipPrior(dataclasses.replace(scenes.UNIFORM, kinds=_ONE_ANIMAL), (0.2,) * len(MOTIONS))


@struct.dataclass
class Clip:
    """What is to be seen."""

    scene: Scene
    motion: jax.Array  # i32[], of MOTIONS


def draw_clip(key: jax.Array, prior: ClipPrior) -> Clip:
    """A clip of a prior."""
    scene_key, motion_key = jax.random.split(key)
    return Clip(scenes.draw_scene(scene_key, prior.scene), _draw_motion(motion_key, prior))


def draw_wanted(key: jax.Array, prior: ClipPrior, wanted: WantedClip) -> Clip:
    """A clip that a prompt asks for; what it leaves open is drawn from a prior."""
    scene_key, motion_key = jax.random.split(key)
    asked, free = jnp.asarray(wanted.motion), _draw_motion(motion_key, prior)
    scene = scenes.draw_wanted(scene_key, prior.scene, wanted.scene)
    return Clip(scene, jnp.where(asked >= 0, asked, free))


def _draw_motion(key: jax.Array, prior: ClipPrior) -> jax.Array:
    return jax.random.choice(key, len(MOTIONS), p=jnp.array(prior.motions))


def with_others(clip: Clip, shift: jax.Array) -> Clip:
    """The same clip of another species and motion: of four species first, then the next motion."""
    scene = scenes.with_other_animals(clip.scene, shift % _SPECIES_FIRST)
    return Clip(scene, (clip.motion + shift // _SPECIES_FIRST) % len(MOTIONS))


def render(key: jax.Array, clip: Clip, stamps: Stamps, size: int) -> jax.Array:
    """Frames f32[F, S, S, 3] in [-1, 1] of a clip, on a canvas of 16 or 32.

    The animal moves by a pixel a frame and is whole in all of them; the background stands still.
    """
    place_key, stamp_key, jitter_key = jax.random.split(key, 3)
    velocity = jnp.asarray(VELOCITY)[clip.motion]
    room = size - scenes.SIDES[size][0] - jnp.abs(velocity) * (NUM_FRAMES - 1)
    # The middle of the way is that of the canvas, and a pixel beside it where there is room.
    low = jnp.clip(room // 2 + jax.random.randint(jitter_key, (2,), -1, 2), 0, room)
    first = jnp.where(velocity < 0, low + NUM_FRAMES - 1, low)
    corner = first + jnp.arange(NUM_FRAMES)[:, None] * velocity
    background = scenes.background(place_key, clip.scene.place, size)
    stamp = scenes.draw_stamps(stamp_key, clip.scene, stamps)

    def frame(corner: jax.Array) -> jax.Array:
        corners = jnp.broadcast_to(corner, (len(stamp), 2))
        return scenes.paint(background, stamp, corners, clip.scene.colour)

    return jax.vmap(frame)(corner)


def caption(key: jax.Array, clip: Clip) -> jax.Array:
    """Tokens i32[L] that describe a clip.

    A natural colour, and the usual motion, are told every other time, others always.
    """
    colour_key, motion_key = jax.random.split(key)
    scene, colour, species = clip.scene, clip.scene.colour[0], clip.scene.species[0]
    padding = WORDS.index(prompts.PAD)

    def word(*words: str) -> jax.Array:
        return prompts.token_table(words, WORDS)

    def unless(hidden: jax.Array, tokens: jax.Array) -> jax.Array:
        return jnp.where(hidden, padding, tokens)

    told_colour = (colour >= NUM_NATURAL) | jax.random.bernoulli(colour_key, 0.5)
    told_motion = (clip.motion != _USUAL) | jax.random.bernoulli(motion_key, 0.5)
    longest = max(len(phrase.split()) for phrase in MOTIONS)
    motions = jnp.stack(
        [word(*phrase.split(), *(prompts.PAD,) * longest)[:longest] for phrase in MOTIONS]
    )
    article = word(*("an" if name[0] in "aeiou" else "a" for name in ANIMALS))[species]
    preposition = word(*("in" if name == "sky" else "on" for name in PLACES))[scene.place]
    tokens = jnp.concatenate(
        [
            word(prompts.BOS),
            jnp.where(told_colour, word("a")[0], article)[None],
            unless(~told_colour, word(*COLOURS)[colour])[None],
            word(*ANIMALS)[species][None],
            unless(~told_motion, motions[clip.motion]),
            preposition[None],
            word("the"),
            word(*PLACES)[scene.place][None],
            word(prompts.EOS),
        ]
    )
    # Words that are not told go behind the end.
    return tokens[jnp.argsort(tokens == padding, stable=True)]
