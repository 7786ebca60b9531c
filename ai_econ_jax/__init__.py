"""ai_econ_jax: published decision systems on one functional JAX core.

The floors, each importing only from those below it: ``ai_econ_jax.launch`` (command line),
``ai_econ_jax.agents`` (learners), ``ai_econ_jax.envs`` (decision problems), ``ai_econ_jax`` (core).
"""

import os
import sys
import warnings

# The XLA CPU client sizes its thread pool by NPROC. On machines with two cores, large vmapped scans
# can dead-lock: two pool threads each wait for work that only a third thread could do. A pool of
# eight costs nothing and removes the hang (BUILD_NOTES.md, "The two-core hang"). It must be set
# before JAX starts its CPU client, hence here; a value that the user has set is left alone.
if "NPROC" not in os.environ:
    os.environ["NPROC"] = "8"
    _bridge = sys.modules.get("jax._src.xla_bridge")
    _affinity = getattr(os, "sched_getaffinity", lambda process: range(os.cpu_count() or 1))
    if _bridge is not None and _bridge.backends_are_initialized() and len(_affinity(0)) <= 2:
        warnings.warn(
            "JAX has started with a pool of two threads, in which large vmapped scans can stop for "
            "good: import ai_econ_jax first, or set NPROC=8",
            RuntimeWarning,
            stacklevel=2,
        )

__version__ = "0.1.0"
