"""Errors of what a compiled program calls on the host, as themselves and in one line.

The runtime passes on the text of an exception and not the exception: it is kept here on its way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


class HostError(ValueError):
    """What is called on the host failed; the message is one line that says what and why."""


_raised: list[HostError] = []  # on the host, since `plain_errors` began


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Around what runs on the host: its `HostError` can be had again from `plain_errors`."""
    try:
        yield
    except HostError as error:
        _raised.append(error)
        raise


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Around the compiled program: a `HostError` inside it comes out as itself."""
    _raised.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if not _raised:
            raise
        raise _raised[0] from None
    finally:
        _raised.clear()
