"""Begins a model of clips, or of scenes, with what one of images has learned. Spec 3.6.

Text-to-video models are made so: what looks along time is the identity at first, all else is the
model of images, which then draws every frame (Wang et al. 2023, https://arxiv.org/abs/2308.06571).
A model of the same layers goes on with all weights of the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import traverse_util

from ai_econ_jax.envs.diffusion.prompt_model import PromptModel

_WORDS, _PLACES = "token_embedding", "position_embedding"  # of the text encoder
_ALONG_TIME = ("temp_convs", "temp_attentions", "transformer_in")  # what images have not


def inflate(model: PromptModel, weights: Any, start: PromptModel, learned: Any) -> Any:
    """Fresh weights of a model, with those of another, mostly of images, wherever it has them.

    The 1 x 1 convolutions around its attention become dense layers, and the words that both know
    keep their embeddings. Heads may be of other sizes: then attention begins with the same matrices
    and is not what it was.

    Raises:
      ValueError: The other model is not made of the same layers, or was trained on another
        schedule.
    """
    if start.schedule != model.schedule:
        raise ValueError(
            f"model to start from: has schedule {start.schedule}, the new one needs "
            f"{model.schedule}"
        )
    fresh = traverse_util.flatten_dict(weights)
    known = traverse_util.flatten_dict(learned)
    for path in fresh:
        if path not in known and not any(part.startswith(_ALONG_TIME) for part in path):
            raise ValueError(
                f"model to start from: has no {'/'.join(path)}, which the new one needs"
            )
    for path, value in known.items():
        mine = fresh.get(path)
        name = "/".join(path)
        if mine is None:
            raise ValueError(f"model to start from: has {name}, which the new one has not")
        if _WORDS in path:
            both = [word for word in start.tokenizer.words if word in model.tokenizer.words]
            here, there = (
                np.array([each.tokenizer.words.index(word) for word in both])
                for each in (model, start)
            )
            fresh[path] = mine.at[here].set(value[there])
        elif _PLACES in path:
            count = min(len(mine), len(value))
            fresh[path] = mine.at[:count].set(value[:count])
        elif mine.size == value.size and mine.shape[-1] == value.shape[-1]:
            fresh[path] = value.reshape(mine.shape)
        else:
            raise ValueError(
                f"model to start from: its {name} has shape {value.shape}, the new one needs "
                f"{mine.shape}"
            )
    return traverse_util.unflatten_dict(fresh)
