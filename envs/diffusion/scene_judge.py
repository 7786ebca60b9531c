"""What a scene shows, by rules and one small network: the judge of images. Spec 3.3.

Place, animals and colours are read off the pixels; a network trained on silhouettes that neither
the model nor its reward has seen names the species. On the host: an image is judged once. Axes: N
images, S side, M animals found in all images, K species.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ai_econ_jax.envs.diffusion import folders, scenes
from ai_econ_jax.envs.diffusion.prompts import MAX_ANIMALS, Wanted
from ai_econ_jax.envs.diffusion.silhouettes import ANIMALS
from ai_econ_jax.networks import convolve

_DIFFERENCE = 32.0  # from the background, of 255, root of the sum over colours
_AREA = 0.015  # of the image, the least of an animal
_CORE = 0.5  # share of an animal's pixels, those that differ most, that give its colour
_ALPHAS = np.linspace(0.05, 1.0, 20)  # at which colours are compared
_LAST = 99  # sorted behind every species and colour
_MARGIN = 2  # pixels of a crop beyond the largest silhouette
# Pixels of one image touch at sides and corners, those of two images do not.
_NEIGHBOURS = np.zeros((3, 3, 3), bool)
_NEIGHBOURS[1] = True
_ORDERS = np.array(list(itertools.permutations(range(MAX_ANIMALS))))


@dataclasses.dataclass(frozen=True)
class Seen:
    """What images show; -1 where there is no animal. Animals are in order of their left edge."""

    place: NDArray  # i32[N], of PLACES
    count: NDArray  # i32[N]; those beyond four are counted, but not described
    species: NDArray  # i32[N, 4], of ANIMALS
    colour: NDArray  # i32[N, 4], of COLOURS


class Found(NamedTuple):
    """Animals cut out of images, in order of image and left edge."""

    place: NDArray  # i32[N]
    image: NDArray  # i32[M], which image an animal is in
    colour: NDArray  # i32[M]
    crop: NDArray  # f32[M, s, s, 1], how much of each pixel is animal, about 0 to 1

    @property
    def counts(self) -> NDArray:
        """i64[N], animals of each image."""
        return np.bincount(self.image, minlength=len(self.place))

    @property
    def numbers(self) -> NDArray:
        """i64[M], which of the animals of its image one is, from 0."""
        first = np.cumsum(self.counts) - self.counts
        return np.arange(len(self.image)) - first[self.image]


class SpeciesNetwork(nn.Module):
    """Two convolutions, each halving the sides, and two dense layers."""

    @nn.compact
    def __call__(self, crops: jax.Array) -> jax.Array:
        """Logits f32[M, K] of crops f32[M, s, s, 1]."""
        x = crops
        for i, width in enumerate((32, 64)):
            layer = nn.Conv(
                width, (3, 3), padding=1, conv_general_dilated=convolve, name=f"conv_{i}"
            )
            x = nn.silu(nn.GroupNorm(8, name=f"norm_{i}")(layer(x)))
            if i == 0:
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.silu(nn.Dense(128, name="hidden")(x.reshape(x.shape[0], -1)))
        return nn.Dense(len(ANIMALS), name="head")(x)


@dataclasses.dataclass(frozen=True)
class SceneJudge:
    """The judge of images of one size, with the parameters of its network."""

    params: Any

    def describe(self, images: ArrayLike) -> Seen:
        """What images f32[N, S, S, 3] in [-1, 1] show."""
        found = find_animals(images)
        names = np.full(len(found.image), -1)
        if len(names):
            # Of the next power of two, so that hardly any number of animals compiles anew.
            room = 1 << (len(names) - 1).bit_length()
            crops = np.zeros((room, *found.crop.shape[1:]), np.float32)
            crops[: len(names)] = found.crop
            logits = species_logits(self.params, jnp.asarray(crops))[: len(names)]
            names = np.asarray(logits).argmax(1)
        number = found.numbers
        described = number < MAX_ANIMALS
        tables = []
        for values in (names, found.colour):
            table = np.full((len(found.place), MAX_ANIMALS), -1)
            table[found.image[described], number[described]] = values[described]
            tables.append(table)
        return Seen(found.place, found.counts, *tables)

    def success(self, images: ArrayLike, wanted: Wanted) -> NDArray:
        """Whether images f32[N, S, S, 3] show all that a prompt names, bool[N]."""
        return matches(self.describe(images), wanted)


def matches(seen: Seen, wanted: Wanted) -> NDArray:
    """Whether images show the place and, in any order, each animal that is wanted, bool[N]."""
    count = int(wanted.count)
    place = (int(wanted.place) < 0) | (seen.place == wanted.place)
    # Axes below: images, orders, animals wanted.
    fits = np.ones((len(seen.place), len(_ORDERS), count), bool)
    for shown, asked in ((seen.species, wanted.species), (seen.colour, wanted.colour)):
        want = np.asarray(asked)[:count]
        fits &= (want < 0) | (shown[:, _ORDERS[:, :count]] == want)
    return place & (seen.count == count) & np.any(np.all(fits, axis=2), axis=1)


def find_animals(images: ArrayLike) -> Found:
    """Cuts the animals out of images f32[N, S, S, 3] in [-1, 1].

    The place is the one whose colour is nearest to the median of the border, the background that
    colour with its slope; an animal is a connected set of pixels that differ from it.
    """
    rgb, place, background = _on_place(images)
    size = rgb.shape[1]
    difference = np.linalg.norm(rgb - background, axis=-1)
    labels, large = _components(difference)
    boxes = ndimage.find_objects(labels)
    large.sort(key=lambda i: (boxes[i][0].start, boxes[i][2].start, boxes[i][1].start))
    side = scenes.SIDES[size][0] + _MARGIN
    which, colours, crops = [], [], []
    for i in large:
        image, down, across = boxes[i]
        n = image.start
        member = labels[n] == i + 1
        strength = difference[n][member]
        core = strength >= np.quantile(strength, 1 - _CORE)
        which.append(n)
        colours.append(_colour(rgb[n][member][core], background[n][member][core]))
        alpha = np.where(ndimage.binary_dilation(member, np.ones((3, 3))), difference[n], 0.0)
        alpha = np.clip(alpha / np.median(strength[core]), 0, 1.5)
        crops.append(_cut(alpha, down, across, side))
    return Found(
        place,
        np.array(which, int),
        np.array(colours, int),
        np.array(crops, np.float32).reshape(-1, side, side, 1),
    )


def centres(images: ArrayLike) -> NDArray:
    """Mean place f64[N, 2] (down, across) of the pixels of images that are an animal's.

    NaN where there is none.
    """
    rgb, _, background = _on_place(images)
    labels, large = _components(np.linalg.norm(rgb - background, axis=-1))
    there = np.isin(labels, np.array(large, int) + 1)
    cells = np.arange(rgb.shape[1])
    with np.errstate(invalid="ignore"):
        share = there / there.sum((1, 2), keepdims=True)
    return np.stack([share.sum(2) @ cells, share.sum(1) @ cells], axis=-1)


def _components(difference: NDArray) -> tuple[NDArray, list[int]]:
    """Connected sets of pixels, counted from 1, in differences f32[N, S, S] to the background.

    Returns:
      The set of each pixel i[N, S, S], 0 for none, and which are large enough, counted from 0.
    """
    labels, number = ndimage.label(difference > _DIFFERENCE, _NEIGHBOURS)
    area = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, number + 1))
    least = _AREA * difference.shape[1] * difference.shape[2]
    return labels, [i for i in range(number) if area[i] >= least]


def _on_place(images: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Pixels f32[N, S, S, 3] of 255, places i64[N], and their backgrounds f32[N, S, S, 3]."""
    rgb = (np.asarray(images, np.float32) + 1) * 127.5
    size = rgb.shape[1]
    rim = np.ones((size, size), bool)
    rim[1:-1, 1:-1] = False
    border = np.median(rgb[:, rim], axis=1)
    place = np.linalg.norm(border[:, None] - scenes.PLACE_RGB, axis=-1).argmin(1)
    background = scenes.PLACE_RGB[place][:, None, None] + scenes.slope(size)
    return rgb, place, np.broadcast_to(background, rgb.shape)


def _colour(rgb: NDArray, background: NDArray) -> int:
    """The colour that, mixed with the background f32[P, 3], is nearest to pixels f32[P, 3].

    Small animals have hardly a pixel that is theirs alone: the median of their pixels names the
    wrong colour for one in ten.
    """
    solid = scenes.COLOUR_RGB[:, None] * (_ALPHAS * (0.85 + 0.15 * _ALPHAS))[:, None]
    mixed = solid + (1 - _ALPHAS)[:, None] * background[:, None, None]  # [P, colours, alphas, 3]
    error = np.square(rgb[:, None, None] - mixed).sum(-1).min(-1)
    return int(error.sum(0).argmin())


def _cut(alpha: NDArray, down: slice, across: slice, side: int) -> NDArray:
    """A square f32[s, s] around the middle of a box; what lies outside of the image is empty."""
    padded = np.pad(alpha, side)
    corner = [(part.start + part.stop - side) // 2 + side for part in (down, across)]
    return padded[corner[0] : corner[0] + side, corner[1] : corner[1] + side]


def accuracy(judge: SceneJudge, drawn: scenes.Scene, images: ArrayLike) -> dict[str, float]:
    """Share of true scenes [N] of which the judge names the place and the number rightly.

    Colours and species: share of the animals in scenes whose number is right. They are compared in
    sorted order, so one error may count twice.
    """
    seen = judge.describe(images)
    count = np.asarray(drawn.count)
    right = seen.count == count
    there = np.arange(MAX_ANIMALS) < count[:, None]

    def sorted_ones(values: NDArray) -> NDArray:
        return np.sort(np.where(there, values, _LAST)[right], axis=1)

    colours = sorted_ones(seen.colour) == sorted_ones(np.asarray(drawn.colour))
    kinds = sorted_ones(seen.species) == sorted_ones(np.asarray(drawn.species))
    return {
        "place": float((seen.place == np.asarray(drawn.place)).mean()),
        "count": float(right.mean()),
        "colour": float(colours[there[right]].mean()),
        "species": float(kinds[there[right]].mean()),
    }


@jax.jit
def species_logits(params: Any, crops: jax.Array) -> jax.Array:
    """Logits f32[M, K] of crops f32[M, s, s, 1]."""
    logits = SpeciesNetwork().apply({"params": params}, crops)
    assert isinstance(logits, jax.Array)
    return logits


def init(key: jax.Array, size: int) -> Any:
    """Fresh parameters of the network for images of a size."""
    side = scenes.SIDES[size][0] + _MARGIN
    return SpeciesNetwork().init(key, jnp.zeros((1, side, side, 1)))["params"]


def load(folder: pathlib.Path, size: int) -> SceneJudge:
    """Reads the judge of images of a size; raises as `folders.load_network`."""
    return SceneJudge(folders.load_network(folder, lambda tensors: init(jax.random.key(0), size)))
