"""Measure every family and print the table: ``python -m tests.families [NAME ...]``.

It takes some minutes. With names, only the rows that contain one of them are measured,
and no table is printed. The docstring of ``tests/families/measure.py`` says what holds.
"""

from __future__ import annotations

import sys
import time
import warnings

import torch

from tests.families.catalogue import CATALOGUE
from tests.families.measure import ESTIMATORS, measure, refusal_of
from tests.families.table import markdown


def main(names: list[str]) -> int:
    """Print what was measured; return the number of failures."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    failures = compared = 0
    for family in CATALOGUE:
        if names and not any(name in family.label for name in names):
            continue
        truth = None if family.truth is None else family.truth(family)
        for seed, name in enumerate(ESTIMATORS):
            if truth is None or refusal_of(family, name) is not None:
                continue
            start = time.perf_counter()
            found = measure(family, name, truth, seed)
            compared += 1
            failures += not found.holds
            print(
                f"{'ok  ' if found.holds else 'FAIL'} {family.label:45s} {name:16s} "
                f"{found.distance:5.2f} of what chance allows, sees errors of "
                f"{found.precision:.1%}, {found.calls} calls of {family.samples}, "
                f"{time.perf_counter() - start:.1f} s",
                flush=True,
            )
    print(f"{compared - failures} of {compared} comparisons hold.")
    if not names:
        print(f"\n{markdown()}")
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
