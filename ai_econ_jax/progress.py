"""Progress on the host: a bar on a terminal, else a line now and then, with rate and time left."""

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import jax
import tqdm

_PLAIN_LINE_SECONDS = 10.0


class Show(Protocol):
    """Shows how many units are done, and metrics beside that."""

    def __call__(self, done: int, metrics: Mapping[str, float]) -> None: ...  # noqa: D102


@contextlib.contextmanager
def progress(total: int, unit: str, done: int = 0, title: str = "") -> Iterator[Show]:
    """Shows on stderr how far something is; of several processes only the first does.

    Args:
        total: How many units there are.
        unit: What they are called, in the singular.
        done: How many are done already.
        title: What is being done; stands in front.

    Yields:
        ``show(done, metrics)``, with metrics to name beside the count.
    """
    if jax.process_index() != 0:
        yield lambda done, metrics: None
    elif sys.stderr.isatty():
        with tqdm.tqdm(
            desc=title or None, total=total, initial=done, unit=unit, dynamic_ncols=True
        ) as bar:

            def show_bar(done: int, metrics: Mapping[str, float]) -> None:
                bar.set_postfix(metrics, refresh=False)
                bar.update(done - bar.n)

            yield show_bar
    else:
        yield _plain_lines(done, total, unit, f"{title}: " if title else "")


def _plain_lines(begin: int, total: int, unit: str, title: str) -> Show:
    before, then = begin, time.perf_counter()
    printed = then
    rates: list[float] = []

    def show_line(done: int, metrics: Mapping[str, float]) -> None:
        nonlocal before, then, printed
        now = time.perf_counter()
        rates.append((done - before) / (now - then))
        before, then = done, now
        # Not after the first call alone: most of its time went into compilation.
        if done == total or (len(rates) > 1 and now - printed >= _PLAIN_LINE_SECONDS):
            printed = now
            rate = statistics.median(rates)  # whatever else was compiled on the way
            left = tqdm.tqdm.format_interval((total - done) / rate)
            shown = "".join(f", {name}={value:.4g}" for name, value in metrics.items())
            print(
                f"{title}{unit} {done}/{total}, {rate:.4g} {unit}s/s, {left} left{shown}",
                file=sys.stderr,
                flush=True,
            )

    return show_line
