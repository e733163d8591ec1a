"""Measure the kit: ``python -m tests.testing [--seeds N] [--first SEED]``.

For right estimators, how many kits fail, and how the deviations of all comparisons are
spread: far out they have to be as rare as those of a normal variable. For two faults
of a tenth, how many kits see them.
"""

import argparse
import math
import time
import warnings

import torch

import pgplugins as pg
from pgplugins.testing.evidence import LIMIT
from pgplugins.testing.registry import checks_for
from pgplugins.testing.subject import Subject
from tests.testing.faults import Disarm, Score


class Tenth(Disarm):
    """Nine tenths of the gradient, from draws that no script tells."""

    def gradient_term(self, draw, cost):
        return 0.9 * super().gradient_term(draw, cost)


class Leaky(Score):
    """A baseline that has seen the current cost, one of ten parts."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def draw(self, dist):
        torch.rand(())  # so that no script tells the draws
        return super().draw(dist)

    def gradient_term(self, draw, cost):
        held = cost.detach()
        fresh = 0.9 * self.mean.to(cost) + 0.1 * held
        return draw.score_term(cost - fresh)[0]

    def update(self, draw, cost):
        self.mean = 0.9 * self.mean + 0.1 * cost.detach().mean().to(self.mean)


def kit(estimator, seed):
    """Run every check; return the failures and all deviations."""
    subject = Subject(estimator)
    failed = []
    for check in checks_for(subject):
        try:
            check.run(subject, seed)
        except Exception as error:
            failed.append((check.name, str(error)))
    return failed, subject.ledger.deviations


def seen(estimator, seed):
    """Whether check_estimator refuses."""
    try:
        pg.testing.check_estimator(estimator, seed=seed)
    except AssertionError:
        return True
    return False


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seeds = range(options.first, options.first + options.seeds)
    right = [*pg.available(), Disarm]
    deviations, kits, failures = [], 0, []
    start = time.perf_counter()
    for seed in seeds:
        for one in right:
            failed, found = kit(pg.estimator(one), seed)
            kits += 1
            failures += [(seed, one, *f) for f in failed]
            deviations += found
    seconds = (time.perf_counter() - start) / kits
    z = torch.tensor(deviations).abs()
    print(f"{kits} kits of right estimators, {seconds:.1f} s each on average")
    print(f"failed: {len(failures)} {failures}")
    print(f"{len(z):,} comparisons; the limit is {LIMIT:.2f} standard errors")
    for bound in (2.0, 3.0, 4.0, 5.0):
        share = float((z > bound).double().mean())
        expected = math.erfc(bound / math.sqrt(2))
        print(f"  beyond {bound:.0f}: {share:.2e}, normal {expected:.2e}")
    print(f"  largest: {float(z.max()):.2f}")
    for fault in (Tenth, Leaky):
        caught = sum(seen(fault(), seed) for seed in seeds)
        print(f"{fault.__name__}: seen by {caught} of {len(seeds)} kits")


if __name__ == "__main__":
    main()
