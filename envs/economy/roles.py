"""The two roles of the AI Economist: workers, and a planner that sets taxes."""

from typing import Any

from flax import struct


@struct.dataclass
class PerRole:
    """One entry for the workers (leading axis N where it is an array) and one for the planner."""

    workers: Any
    planner: Any
