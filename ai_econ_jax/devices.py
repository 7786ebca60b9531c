"""Devices and processes: starting them, averaging over them, keeping what was compiled for them."""

import os
import pathlib
import resource
from typing import TypeVar

import jax

Tree = TypeVar("Tree")
AxisName = str | tuple[str, ...] | None


def mean_over(tree: Tree, axis_name: AxisName) -> Tree:
    """Averages every leaf over the named axis of the enclosing map; without a name, no change."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def initialize_distributed(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> bool:
    """Joins this process to the others of a run; call it before anything touches a device.

    Args:
        coordinator: ``host:port`` of process 0; "auto" reads all three from the cluster's
            environment (Slurm, Open MPI, Cloud TPU); None means a run of one process.
        num_processes: How many processes there are.
        process_id: Which of them this is, from 0.

    Returns:
        Whether there are other processes to join.

    Raises:
        ValueError: If only some of the three are given, or "auto" finds no cluster.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("num_processes and process_id need a coordinator, host:port")
        return False
    if coordinator == "auto":
        jax.distributed.initialize()
        return True
    if num_processes is None or process_id is None:
        raise ValueError(f"coordinator {coordinator} needs num_processes and process_id too")
    jax.distributed.initialize(coordinator, num_processes, process_id)
    return True


def virtual_cpu_devices(count: int) -> None:
    """Makes the CPU look like ``count`` devices; call it before anything touches a device."""
    jax.config.update("jax_num_cpu_devices", count)


def peak_bytes() -> int:
    """Most memory in use so far: of the first device, or of the process where that is a CPU."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics is not None:
        return int(statistics["peak_bytes_in_use"])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def cache_folder() -> pathlib.Path:
    """Where what can be made again is kept for a user: in ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "ai_econ_jax"


def enable_compilation_cache() -> pathlib.Path:
    """Keeps compiled programs between processes, in the user's cache directory.

    Returns:
        The directory: what ``JAX_COMPILATION_CACHE_DIR`` names, else ``xla`` in
        `cache_folder`.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    directory = pathlib.Path(chosen) if chosen else cache_folder() / "xla"
    jax.config.update("jax_compilation_cache_dir", str(directory))
    return directory
