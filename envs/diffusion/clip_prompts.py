"""Prompts about clips: as those about scenes, of one animal, and how it moves. Spec 3.6."""

from __future__ import annotations

import numpy as np
from flax import struct
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion import prompts
from ai_econ_jax.envs.diffusion.prompts import PromptError, Tokenizer, Wanted
from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS

MOTIONS = (
    "moving from left to right",
    "moving from right to left",
    "moving up",
    "moving down",
    "standing still",
)
# Of each motion, what the animal does from a frame to the next, in pixels down and across.
VELOCITY = np.array([(0, 1), (0, -1), (-1, 0), (1, 0), (0, 0)])
MOTION_WORDS = tuple(dict.fromkeys(" ".join(MOTIONS).split()))
LENGTH = 13  # L: begin, eleven words, end
_FILLERS = ("a", "an", "on", "in", "the")
WORDS = (
    *prompts.SPECIAL,
    *_FILLERS,
    *MOTION_WORDS,
    *prompts.COLOURS,
    *ANIMALS,
    *prompts.PLACES,
)
TOKENIZER = Tokenizer(WORDS, LENGTH)
# Three of the paper's difficulties of clips; its fourth is a monkey with a guitar.
EVALUATION_PROMPTS = {
    "colour": ("a green dog on the grass", "a blue horse on the snow"),
    "location": ("a dog on the moon", "a cow on the moon"),
    "displacement": (
        "a dog moving from left to right on the grass",
        "a horse moving from left to right on the sand",
        "a bear moving from left to right on the snow",
    ),
}

_EXAMPLES = "a green dog moving up on the grass, a cat standing still, a bear on the moon"


@struct.dataclass
class WantedClip:
    """What a prompt asks for; -1 stands for what it does not say."""

    scene: Wanted  # of every frame, with one animal
    motion: NDArray  # i32[], of MOTIONS


def parse(prompt: str) -> WantedClip:
    """What a prompt such as "a green dog moving up on the grass" asks for.

    Raises:
      PromptError: It has an unknown word, or is no such sentence.
    """
    words, place = TOKENIZER.split(prompt), []
    if len(words) >= 3 and words[-2] == "the":  # on the grass, in the sky
        words, place = words[:-3], words[-3:]
    motion = -1
    for number, phrase in enumerate(MOTIONS):  # where captions have it: behind the animal
        said = phrase.split()
        if words[-len(said) :] == said:
            motion, words = number, words[: -len(said)]
            break
    words += place
    left = [word for word in words if word in MOTION_WORDS]
    if left:
        raise PromptError(
            f"prompt {prompt!r}: cannot read {' '.join(left)!r}; a motion is one of: "
            f"{', '.join(MOTIONS)}, behind the animal"
        )
    return WantedClip(prompts.read(words, prompt, _EXAMPLES), np.array(motion, np.int32))
