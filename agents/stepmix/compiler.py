"""What XLA is told when it compiles a run."""

from __future__ import annotations

import jax

# XLA hands larger sums on CPU to a library that is three times slower at ours than its own loops.
_OWN_LOOPS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def options() -> dict[str, str] | None:
    """Options that make runs faster, or None: on other devices, or for an XLA without them."""
    return _OWN_LOOPS if jax.default_backend() == "cpu" and accepted(_OWN_LOOPS) else None


def accepted(options: dict[str, str]) -> bool:
    """Whether this XLA knows the options; experimental ones may go."""
    try:
        return jax.jit(lambda: True, compiler_options=options)().item()
    except jax.errors.JaxRuntimeError:
        return False
