"""Does a test notice when a rule of gather-trade-build is wrong? Flips rules one at a time.

    python benchmarks/gtb_mutations.py              # all, in a copy of the repository
    python benchmarks/gtb_mutations.py escrow gini  # those whose name contains a word

Each mutant changes one place of one file; the tests named beside it must then fail, and they must
pass without the change. Exit code 0 only if every mutant was noticed. Needs the extra ``test`` and
the official package.
"""

import argparse
import os
import pathlib
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


def parity(name: str) -> tuple[str, ...]:
    """The lockstep of one case."""
    return (f"{TESTS}/test_parity.py", "-k", f"official_economy and {name}")


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
        "Stone is matched before Wood",
        "auction.py",
        "np.arange(len(RESOURCES))[:, None, None] == WOOD",
        "np.arange(len(RESOURCES))[:, None, None] > WOOD",
        parity("multi_action"),
    ),
    Mutant(
        "gathering without a move",
        "gather.py",
        "is_found = state.resources[kind, row, column] > 0",
        "is_found = (state.resources[kind, row, column] > 0) & has_moved",
        parity("houses"),
    ),
    Mutant(
        "bonus",
        "gather.py",
        "noise.gather < state.bonus",
        "noise.gather > state.bonus",
        parity("multi_action"),
    ),
    Mutant(
        "move order",
        "gather.py",
        "turn = jnp.argsort(order)",
        "turn = jnp.arange(order.shape[0])",
        parity("houses"),
    ),
    Mutant(
        "labor of a failed move",
        "gather.py",
        "jnp.where(has_moved, params.move_labor, 0.0)",
        "jnp.where(action.move > 0, params.move_labor, 0.0)",
        parity("houses"),
    ),
    Mutant(
        "sources block building",
        "ground.py",
        "63 | _HOUSE | _WATER | _SOURCES",
        "63 | _HOUSE | _WATER",
        parity("houses"),
    ),
    Mutant(
        "foreign houses block",
        "ground.py",
        "is_dry & (own | (house_of == 0))",
        "is_dry",
        parity("houses"),
    ),
    Mutant(
        "resources needed to build",
        "build.py",
        "inventory >= 1",
        "inventory >= 0",
        parity("houses"),
    ),
    Mutant(
        "escrow is not taxed away",
        "tax.py",
        "jnp.minimum(state.coin, due)",
        "jnp.minimum(state.total_coin, due)",
        parity("multi_action"),
    ),
    Mutant(
        "income base",
        "tax.py",
        "income = state.total_coin - state.last_coin\n    if",
        "income = state.coin - state.last_coin\n    if",
        parity("multi_action"),
    ),
    Mutant(
        "rebate divisor",
        "tax.py",
        "jnp.sum(paid) / paid.shape[0]",
        "jnp.sum(paid) / (paid.shape[0] + 1)",
        parity("houses"),
    ),
    Mutant(
        "lump sum is no income",
        "tax.py",
        "last_coin=coin + state.escrow_coin",
        "last_coin=coin - lump_sum + state.escrow_coin",
        parity("houses"),
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
        parity("houses"),
    ),
    Mutant(
        "regeneration by resource",
        "regeneration.py",
        "params.regeneration[kind]",
        "params.regeneration[1 - kind] * 0.5",
        parity("houses"),
    ),
    Mutant(
        "window channel",
        "ground.py",
        "np.array([0, 3, 6, 7, 8, 9, 10], np.int32)",
        "np.array([3, 0, 6, 7, 8, 9, 10], np.int32)",
        parity("houses"),
    ),
    Mutant(
        "observation ids",
        "observation.py",
        "jnp.where(codes == own, 1, codes)",
        "codes",
        parity("houses"),
    ),
    Mutant(
        "column before row",
        "observation.py",
        "[_column(place[:, 1] / world.width), _column(place[:, 0] / world.height)]",
        "[_column(place[:, 0] / world.width), _column(place[:, 1] / world.height)]",
        parity("houses"),
    ),
    Mutant(
        "first day",
        "observation.py",
        "position == 1, position >= period",
        "position == 0, position >= period",
        parity("houses"),
    ),
    Mutant(
        "gini scale",
        "../economy/welfare.py",
        "((num_workers - 1) * (total",
        "((num_workers) * (total",
        parity("multi_action"),
    ),
    Mutant(
        "reward weight",
        "rewards.py",
        "params.labor_cost * labor_weight(state.meta, params, world)",
        "params.labor_cost",
        (f"{TESTS}/test_parity.py", "-k", "curricula"),
    ),
    Mutant(
        "planner mask",
        "masks.py",
        "(state.tax_position == 1)",
        "(state.tax_position >= 1)",
        parity("multi_action"),
    ),
    Mutant(
        "bids one can pay",
        "masks.py",
        "state.coin[:, None] >= prices",
        "state.total_coin[:, None] >= prices",
        parity("multi_action"),
    ),
    Mutant(
        "curricula survive a reset",
        "environment.py",
        "self.reset_with_noise(state.meta, noise, params)",
        "self.reset_with_noise(initial_meta(params, self.world), noise, params)",
        (f"{TESTS}/test_environment.py", "-k", "auto_reset"),
    ),
    Mutant(
        "completions",
        "environment.py",
        "state.meta.completions + stepped.terminated",
        "state.meta.completions + 0 * stepped.terminated",
        (f"{TESTS}/test_environment.py", "-k", "auto_reset"),
    ),
)


def run_tests(folder: pathlib.Path, tests: tuple[str, ...]) -> tuple[bool, bool]:
    """Whether the tests passed, and whether any ran to a verdict."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return result.returncode == 0, result.returncode in (0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants whose name contains one of these")
    words = parser.parse_args().words
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
        for tests in sorted({mutant.tests for mutant in chosen}):
            passed, _ = run_tests(folder, tests)
            if not passed:
                sys.exit(f"without a mutant, these fail: {' '.join(tests)}")
        for mutant in chosen:
            path = folder / SOURCE / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                sys.exit(f"{mutant.name}: {mutant.old!r} occurs {text.count(mutant.old)} times")
            path.write_text(text.replace(mutant.old, mutant.new))
            passed, ran = run_tests(folder, mutant.tests)
            path.write_text(text)
            if passed or not ran:
                survivors.append(mutant.name)
            print(f"{'SURVIVED' if passed else 'noticed' if ran else 'DID NOT RUN'}  {mutant.name}")
            sys.stdout.flush()
    print(f"mutants={len(chosen)} survivors={len(survivors)}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
