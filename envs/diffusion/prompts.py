"""Prompts about scenes: the words a small model knows, and what a prompt asks for. Spec 3.2.

Axes: L tokens of a prompt, 4 animals at most.
"""

from __future__ import annotations

import dataclasses
import difflib

import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import NDArray

from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS

SPECIAL = ("<pad>", "<bos>", "<eos>", "<null>")
PAD, BOS, EOS, NULL = SPECIAL
PLACES = ("grass", "moon", "sky", "sand", "snow")
# The first four are natural colours of animals, the others are not.
COLOURS = ("brown", "black", "white", "gray", "green", "blue", "red", "pink", "yellow")
NUM_NATURAL = 4
NUMBERS = ("two", "three", "four")
PLURALS = tuple(name if name == "sheep" else f"{name}s" for name in ANIMALS)
MAX_ANIMALS = 4
LENGTH = 12  # L
_FILLERS = ("a", "an", "and", "on", "in", "the")
WORDS = tuple(dict.fromkeys((*SPECIAL, *_FILLERS, *NUMBERS, *COLOURS, *ANIMALS, *PLURALS, *PLACES)))
# Three of each of the paper's four difficulties.
EVALUATION_PROMPTS = {
    "colour": (
        "a green dog on the grass",
        "a blue horse on the snow",
        "a pink elephant on the sand",
    ),
    "composition": (
        "a dog and a cat on the grass",
        "a giraffe and a sheep on the sand",
        "a bird and a bear on the snow",
    ),
    "count": (
        "four bears on the grass",
        "three dogs on the grass",
        "four birds in the sky",
    ),
    "location": (
        "a dog on the moon",
        "a cow on the moon",
        "a cat in the sky",
    ),
}


class PromptError(ValueError):
    """A prompt that the model cannot understand."""


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Whole words to numbers. Its number is a word's place in `words`."""

    words: tuple[str, ...] = WORDS
    length: int = LENGTH

    def encode(self, prompt: str) -> NDArray:
        """Tokens i32[L] of a prompt: begin, words, end, padding.

        Raises:
          PromptError: It is empty, too long, or has an unknown word; which is named.
        """
        words = self.split(prompt)
        if len(words) > self.length - 2:
            raise PromptError(
                f"prompt {prompt!r}: has {len(words)} words, at most {self.length - 2} fit"
            )
        return self._numbers((BOS, *words, EOS))

    @property
    def null(self) -> NDArray:
        """Tokens i32[L] of the empty prompt, from which guidance leads away."""
        return self._numbers((BOS, NULL, EOS))

    def split(self, prompt: str) -> list[str]:
        """The words of a prompt, all of them known; raises as `encode`."""
        words = prompt.lower().rstrip(". ").split()
        if not words:
            raise PromptError("the prompt is empty; try: a green dog on the grass")
        known = [word for word in self.words if not word.startswith("<")]
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, n=3, cutoff=0.3)
                hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
                raise PromptError(f"prompt {prompt!r}: unknown word {word!r}; {hint}")
        return words

    def _numbers(self, words: tuple[str, ...]) -> NDArray:
        numbers = [self.words.index(word) for word in words]
        numbers += [self.words.index(PAD)] * (self.length - len(numbers))
        return np.array(numbers, np.int32)


_EXAMPLES = "a green dog on the grass, a dog and a cat on the sand, four birds in the sky"


@struct.dataclass
class Wanted:
    """What a prompt asks for; -1 stands for what it does not say."""

    place: NDArray  # i32[], of PLACES
    count: NDArray  # i32[], animals
    species: NDArray  # i32[4], of ANIMALS; the first `count` count
    colour: NDArray  # i32[4], of COLOURS


def parse(prompt: str) -> Wanted:
    """What a prompt such as "two dogs and a green cat on the grass" asks for.

    Raises:
      PromptError: It has an unknown word, or is no such sentence.
    """
    return read(Tokenizer().split(prompt), prompt, _EXAMPLES)


def read(words: list[str], prompt: str, examples: str) -> Wanted:
    """What words of a prompt ask for, in which nothing moves; an error shows examples."""
    place = -1
    if len(words) >= 3 and words[-3] in ("on", "in") and words[-2] == "the":
        if words[-1] not in PLACES:
            raise PromptError(f"prompt {prompt!r}: {words[-1]!r} is no place")
        place = PLACES.index(words[-1])
        words = words[:-3]
    animals: list[tuple[int, int]] = []
    for group in " ".join(words).split(" and "):
        animals += _animals(group.split(), prompt, examples)
    if len(animals) > MAX_ANIMALS:
        raise PromptError(
            f"prompt {prompt!r}: has {len(animals)} animals, at most {MAX_ANIMALS} fit"
        )
    rest = [(-1, -1)] * (MAX_ANIMALS - len(animals))
    species, colour = np.array(animals + rest, np.int32).T
    return Wanted(np.array(place, np.int32), np.array(len(animals), np.int32), species, colour)


def _animals(words: list[str], prompt: str, examples: str) -> list[tuple[int, int]]:
    """Species and colour of each animal of "a green dog" or "two dogs"."""
    count = 2 + NUMBERS.index(words[0]) if words and words[0] in NUMBERS else 1
    rest = words[1:] if words and words[0] in (*NUMBERS, "a", "an", "the") else words
    colour = -1
    if rest and rest[0] in COLOURS:
        colour, rest = COLOURS.index(rest[0]), rest[1:]
    names = ANIMALS if count == 1 else PLURALS
    if len(rest) != 1 or rest[0] not in names:
        raise PromptError(
            f"prompt {prompt!r}: cannot read {' '.join(words)!r}; write such as: {examples}"
        )
    return [(names.index(rest[0]), colour)] * count


def token_table(words: tuple[str, ...], known: tuple[str, ...] = WORDS) -> jnp.ndarray:
    """Tokens i32[len(words)] of single words, of those that a tokenizer knows."""
    return jnp.array([known.index(word) for word in words], jnp.int32)
