"""Does a test notice when a rule of gather-trade-build is wrong? Flips rules one at a time.

    python benchmarks/gtb_mutations.py              # all, in a copy of the repository
    python benchmarks/gtb_mutations.py escrow gini  # those whose name contains a word

Each mutant changes one place of one file; the tests named beside it must then fail, and they must
pass without the change. Prints for each the first test that failed. Exit code 0 only if every mutant
was noticed; one whose tests do not end within ``--timeout`` was not. Needs the extra ``test`` and the
official package. 15 to 40 minutes.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SOURCE = pathlib.Path("envs/gather_trade_build")
TESTS = pathlib.Path("tests/envs/gather_trade_build")
COPIED = ("agents", "ai_econ_jax", "envs", "launch", "tests", "pyproject.toml")

AUCTION = (f"{TESTS}/test_auction.py",)


RULES = (f"{TESTS}/test_rules.py",)
SEEN = (f"{TESTS}/test_observation.py",)
REGROWTH = (
    f"{TESTS}/test_procedural.py::test_regrowth_hangs_on_the_sources_around[file-halfwidth0]",
)
WELFARE = ("tests/envs/test_welfare.py",)
LAWS = (f"{TESTS}/test_laws.py",)
AUTO_RESET = (
    f"{TESTS}/test_environment.py::test_auto_reset_keeps_curricula_and_starts_a_new_episode",
)


def parity(name: str) -> tuple[str, ...]:
    """The lockstep of one case."""
    test = "test_every_step_is_that_of_the_official_economy"
    return (f"{TESTS}/test_parity.py::{test}[{name}]",)


class Mutant(NamedTuple):
    """One wrong rule: in ``file``, ``old`` (which must occur once) becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant("price rule", "auction.py", "ask_age <= bid_age", "ask_age < bid_age", AUCTION),
    Mutant(
        "self-match",
        "auction.py",
        "ask = jnp.where(is_best_seller, second_ask, best_ask)",
        "ask = best_ask",
        AUCTION,
    ),
    Mutant("expiry", "auction.py", ">= params.order_duration", "> params.order_duration", AUCTION),
    Mutant(
        "excess of the bid returns",
        "auction.py",
        "jnp.where(is_bid, bid_price - paid, 0)",
        "jnp.where(is_bid, 0, 0)",
        AUCTION,
    ),
    Mutant(
        "bid escrow",
        "auction.py",
        "coin = coin - jnp.where(opens",
        "coin = coin - 0 * jnp.where(opens",
        AUCTION,
    ),
    Mutant(
        "history decay", "auction.py", "_HISTORY_DECAY = 0.995", "_HISTORY_DECAY = 1.0", AUCTION
    ),
    Mutant(
        "history of the seller",
        "auction.py",
        "jnp.sum(sold[..., None]",
        "jnp.sum(bought[..., None]",
        AUCTION,
    ),
    Mutant(
        "bids are opened before asks",
        "auction.py",
        "((BID, action.bid[kind]), (ASK, action.ask[kind]))",
        "((ASK, action.ask[kind]), (BID, action.bid[kind]))",
        parity("multi_action"),
    ),
    Mutant(
        "gathering without a move",
        "gather.py",
        "is_found = state.resources[kind, row, column] > 0",
        "is_found = (state.resources[kind, row, column] > 0) & has_moved",
        RULES,
    ),
    Mutant(
        "bonus",
        "gather.py",
        "noise.gather < state.bonus",
        "noise.gather > state.bonus",
        RULES,
    ),
    Mutant(
        "move order",
        "gather.py",
        "turn = jnp.argsort(order)",
        "turn = jnp.arange(order.shape[0])",
        RULES,
    ),
    Mutant(
        "labor of a failed move",
        "gather.py",
        "jnp.where(has_moved, params.move_labor, 0.0)",
        "jnp.where(action.move > 0, params.move_labor, 0.0)",
        RULES,
    ),
    Mutant(
        "sources block building",
        "ground.py",
        "63 | _HOUSE | _WATER | _SOURCES",
        "63 | _HOUSE | _WATER",
        RULES,
    ),
    Mutant(
        "foreign houses block",
        "ground.py",
        "is_dry & (own | (house_of == 0))",
        "is_dry",
        RULES,
    ),
    Mutant(
        "resources needed to build",
        "build.py",
        "inventory >= 1",
        "inventory >= 0",
        RULES,
    ),
    Mutant(
        "escrow is not taxed away",
        "tax.py",
        "jnp.minimum(state.coin, due)",
        "jnp.minimum(state.total_coin, due)",
        RULES,
    ),
    Mutant(
        "income base",
        "tax.py",
        "income = state.total_coin - state.last_coin\n    if",
        "income = state.coin - state.last_coin\n    if",
        RULES,
    ),
    Mutant(
        "rebate divisor",
        "tax.py",
        "jnp.sum(paid) / paid.shape[0]",
        "jnp.sum(paid) / (paid.shape[0] + 1)",
        RULES,
    ),
    Mutant(
        "lump sum is no income",
        "tax.py",
        "last_coin=coin + state.escrow_coin",
        "last_coin=coin - lump_sum + state.escrow_coin",
        RULES,
    ),
    Mutant(
        "tax day",
        "tax.py",
        "state.tax_position >= params.tax_period",
        "state.tax_position > params.tax_period",
        parity("houses"),
    ),
    Mutant(
        "regeneration",
        "regeneration.py",
        "noise.regeneration < ",
        "noise.regeneration > ",
        REGROWTH,
    ),
    Mutant(
        "regeneration by resource",
        "regeneration.py",
        "params.regeneration[kind]",
        "params.regeneration[1 - kind] * 0.5",
        REGROWTH,
    ),
    Mutant(
        "window channel",
        "ground.py",
        "np.array([0, 3, 6, 7, 8, 9, 10], np.int32)",
        "np.array([3, 0, 6, 7, 8, 9, 10], np.int32)",
        SEEN,
    ),
    Mutant(
        "observation ids",
        "observation.py",
        "jnp.where(codes == own, 1, codes)",
        "codes",
        SEEN,
    ),
    Mutant(
        "column before row",
        "observation.py",
        "[_column(place[:, 1] / world.width), _column(place[:, 0] / world.height)]",
        "[_column(place[:, 0] / world.width), _column(place[:, 1] / world.height)]",
        SEEN,
    ),
    Mutant(
        "first day",
        "observation.py",
        "position == 1, position >= period",
        "position == 0, position >= period",
        SEEN,
    ),
    Mutant(
        "gini scale",
        "../economy/welfare.py",
        "((num_workers - 1) * (total",
        "((num_workers) * (total",
        WELFARE,
    ),
    Mutant(
        "reward weight",
        "rewards.py",
        "params.labor_cost * labor_weight(state.meta, params, world)",
        "params.labor_cost",
        parity("curricula"),
    ),
    Mutant(
        "planner mask",
        "masks.py",
        "(state.tax_position == 1)",
        "(state.tax_position >= 1)",
        SEEN,
    ),
    Mutant(
        "bids one can pay",
        "masks.py",
        "state.coin[:, None] >= prices",
        "state.total_coin[:, None] >= prices",
        SEEN,
    ),
    Mutant(
        "curricula survive a reset",
        "environment.py",
        "self.reset_with_noise(state.meta, noise, params)",
        "self.reset_with_noise(initial_meta(params, self.world), noise, params)",
        AUTO_RESET,
    ),
    Mutant(
        "completions",
        "environment.py",
        "state.meta.completions + stepped.terminated",
        "state.meta.completions + 0 * stepped.terminated",
        AUTO_RESET,
    ),
    Mutant(
        "whole map",
        "observation.py",
        "border : border + world.height",
        "border - 1 : border - 1 + world.height",
        parity("curricula"),
    ),
    Mutant(
        "places in the halves of a split",
        "reset.py",
        "< world.split_row",
        "> world.split_row",
        LAWS,
    ),
    Mutant("law of bonuses", "reset.py", "4.0, 3.0", "4.0, 4.0", LAWS),
    Mutant(
        "turns are independent of other noise",
        "environment.py",
        "jax.random.uniform(order_key",
        "jax.random.uniform(uniform_key",
        LAWS,
    ),
)


def run_tests(folder: pathlib.Path, tests: tuple[str, ...], timeout: float) -> tuple[str, str]:
    """A verdict ("passed", "failed", "did not run", "timed out"), and the first test that failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    try:
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return "timed out", ""
    verdict = {0: "passed", 1: "failed"}.get(result.returncode, "did not run")
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py::\S+)", result.stdout, re.M)
    return verdict, failed[1] if failed else result.stdout[-300:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants whose name contains one of these")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one mutant")
    arguments = parser.parse_args()
    words, timeout = arguments.words, arguments.timeout
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for entry in COPIED:
            source = REPOSITORY / entry
            if source.is_dir():
                shutil.copytree(source, folder / entry, symlinks=True)
            else:
                shutil.copy(source, folder / entry)
        tests = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
        verdict, failed = run_tests(folder, tests, timeout * len(tests))
        if verdict != "passed":
            sys.exit(f"without a mutant, the tests {verdict}: {failed}")
        for number, mutant in enumerate(chosen, start=1):
            path = folder / SOURCE / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                sys.exit(f"{mutant.name}: {mutant.old!r} occurs {text.count(mutant.old)} times")
            path.write_text(text.replace(mutant.old, mutant.new))
            verdict, failed = run_tests(folder, mutant.tests, timeout)
            path.write_text(text)
            if verdict != "failed":
                survivors.append(mutant.name)
            outcome = f"noticed   {failed}" if verdict == "failed" else f"SURVIVED  ({verdict})"
            print(f"{number:2d}/{len(chosen)}  {mutant.name:40s} {outcome}", flush=True)
    print(f"mutants={len(chosen)} survivors={len(survivors)}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
