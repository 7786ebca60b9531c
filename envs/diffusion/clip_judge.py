"""What a clip shows: its frames by the judge of scenes, and its motion. Spec 3.6.

Axes: N clips, F frames, S side.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_econ_jax.envs.diffusion import scene_judge
from ai_econ_jax.envs.diffusion.clip_prompts import VELOCITY, WantedClip
from ai_econ_jax.envs.diffusion.scene_judge import SceneJudge

_SLOWEST = 0.5  # pixels a frame, of what moves; the world's animals move by 1
_MOVES = [tuple(velocity) for velocity in VELOCITY.tolist()]


@dataclasses.dataclass(frozen=True)
class ClipJudge:
    """The judge of clips, with that of their frames."""

    frames: SceneJudge

    def success(self, clips: ArrayLike, wanted: WantedClip) -> NDArray:
        """Whether clips f32[N, F, S, S, 3] show all that a prompt names, bool[N].

        The animal, its colour and the place in more than half of the frames; and the motion.
        """
        clips = np.asarray(clips)
        right = self.frames.success(fold(clips), wanted.scene).reshape(clips.shape[:2])
        return (right.mean(1) > 0.5) & moves(clips, wanted)


def fold(clips: ArrayLike) -> NDArray:
    """The frames [N F, S, S, 3] of clips [N, F, S, S, 3], one clip after the other."""
    clips = np.asarray(clips)
    return clips.reshape(-1, *clips.shape[2:])


def velocity(clips: ArrayLike) -> NDArray:
    """Pixels a frame f64[N, 2] (down, across) of what clips f32[N, F, S, S, 3] show.

    The least-squares slope of the animal's centre, over the frames in which there is any; NaN where
    there are fewer than two.
    """
    clips = np.asarray(clips)
    centre = scene_judge.centres(fold(clips)).reshape(*clips.shape[:2], 2)
    there = np.isfinite(centre)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    centre = np.where(there, centre, 0.0)
    time = np.where(there, np.arange(clips.shape[1])[:, None], 0.0)
    time = np.where(there, time - time.sum(1, keepdims=True) / count, 0.0)
    with np.errstate(invalid="ignore"):
        slope = (time * centre).sum(1) / np.square(time).sum(1)
    return slope


def motions(clips: ArrayLike) -> NDArray:
    """The motion of each clip, i64[N] of MOTIONS; -1 where there is nothing to see.

    That along the axis of the larger slope, and none where both are below half a pixel a frame.
    """
    slope = velocity(clips)
    seen = np.isfinite(slope).all(1)
    slope = np.where(seen[:, None], slope, 0.0)
    across = np.abs(slope[:, 1]) >= np.abs(slope[:, 0])
    larger = np.where(np.stack([~across, across], axis=1), slope, 0.0)
    step = np.where(np.abs(larger) > _SLOWEST, np.sign(larger), 0).astype(int)
    named = np.array([_MOVES.index(tuple(each)) for each in step.tolist()], int)
    return np.where(seen, named, -1)


def moves(clips: ArrayLike, wanted: WantedClip) -> NDArray:
    """Whether clips [N, F, S, S, 3] move as a prompt says, bool[N]; all, where it does not."""
    return (int(wanted.motion) < 0) | (motions(clips) == wanted.motion)
