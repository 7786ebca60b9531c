"""ai_econ_jax: published decision systems on one functional JAX core.

The floors, each importing only from those below it: ``ai_econ_jax.launch`` (command line),
``ai_econ_jax.agents`` (learners), ``ai_econ_jax.envs`` (decision problems), ``ai_econ_jax`` (core).
"""

import os

# The XLA CPU client sizes its thread pool by NPROC. On machines with two cores, large vmapped scans
# can dead-lock: two pool threads each wait for work that only a third thread could do. A pool of
# eight costs nothing and removes the hang (BUILD_NOTES.md, "The two-core hang"). It must be set
# before JAX starts its CPU client, hence here; a value that the user has set is left alone.
os.environ.setdefault("NPROC", "8")

__version__ = "0.1.0"
