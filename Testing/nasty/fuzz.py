"""Readers, cards, lines to ``serve`` and recipes, given what nobody would write, for a fixed time.

    python -m Testing.nasty.fuzz [--seconds 60] [--seed 17] [--only recipe] [--rounds 1]

Whatever goes in, the answer is a result or one sentence; no other exception, nothing that runs on.
The seed is printed; a round that fails says how to run it again alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from Testing.nasty.fuzz_targets import TARGETS, Target

EXAMPLES = 100  # of a round
MOST_SHOWN = 1000  # characters of a finding
SLOW_S = 20.0  # of processor time that no answer may take


def run_round(strategy: SearchStrategy[Any], check: Callable[[Any], None], number: int,
              examples: int = EXAMPLES) -> None:  # fmt: skip
    """Raises what ``check`` raises, with the smallest input that makes it."""

    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, print_blob=False,
              suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(strategy)
    def round_(value: Any) -> None:
        started = time.process_time()
        check(value)
        assert time.process_time() - started < SLOW_S, "it took too long"

    round_()


def _passes(name: str, target: Target, number: int) -> bool:
    try:
        run_round(*target, number)
    except Exception as error:
        for each in getattr(error, "exceptions", [error]):
            print(f"{name}: {type(each).__name__}: {str(each)[:MOST_SHOWN]}")
            print("".join(traceback.format_tb(each.__traceback__)[-2:]))
            print("\n".join(getattr(each, "__notes__", []))[:MOST_SHOWN])
        print(f"  again: python -m Testing.nasty.fuzz --only {name} --seed {number} --rounds 1")
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="altogether (default: 60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", choices=TARGETS, help="one target")
    parser.add_argument("--rounds", type=int, default=0, help="end after so many, whatever time")
    options = parser.parse_args()
    names = [options.only] if options.only else list(TARGETS)
    print(f"seed {options.seed}, rounds of {EXAMPLES}")
    end, found = time.monotonic() + options.seconds, 0
    rounds = dict.fromkeys(names, 0)
    last = options.seed + (options.rounds or sys.maxsize)
    with tempfile.TemporaryDirectory() as folder:
        targets = {name: TARGETS[name](Path(folder)) for name in names}
        for number in range(options.seed, last):
            for name in names:
                if time.monotonic() > end:
                    break
                rounds[name] += 1
                found += not _passes(name, targets[name], number)
            if time.monotonic() > end:
                break
    for name, count in rounds.items():
        print(f"{name}: {EXAMPLES * count} inputs")
    print(f"{found} findings")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
