"""Noise from a table: the particles of all ranks draw what those of one process do.

The k-th draw of a step has one row for every particle, from a seed of its own; a rank
takes the rows of its particles. So pooled results can be compared to rounding.
"""

from contextlib import contextmanager

import pyro.distributions as dist
import torch

from pgplugins.core import gumbel


class Table:
    """What is drawn next.

    Args:
        rows: The particles of this rank, out of all.
        total: How many there are on all ranks.
        alone: One particle runs alone: its draws have no dimension for particles.
    """

    def __init__(self, rows, total, alone):
        self.rows, self.total, self.alone = rows, total, alone
        self.generator = torch.Generator()
        self.step(0)

    def step(self, seed):
        """Begin another step."""
        self.generator.manual_seed(1000 + seed)

    def uniform(self, shape):
        """Return this rank's rows of a draw of all, shape ``(particles, *same)``."""
        assert self.alone or shape[0] == len(self.rows)
        same = shape if self.alone else shape[1:]
        everyones = torch.rand(
            self.total, *same, generator=self.generator, dtype=torch.float64
        )
        return everyones[self.rows[0] if self.alone else self.rows]


table = None


def use(rows, total, *, alone=False):
    """Set the particles of this rank."""
    global table
    table = Table(rows, total, alone)


class Bell(dist.Normal):
    """A Normal that draws from the table."""

    def rsample(self, sample_shape=()):
        uniform = table.uniform(self._extended_shape(torch.Size(sample_shape)))
        noise = torch.distributions.Normal(0.0, 1.0).icdf(uniform)
        return self.loc + self.scale * noise

    def sample(self, sample_shape=()):
        with torch.no_grad():
            return self.rsample(sample_shape)


class Coin(dist.Bernoulli):
    """A Bernoulli that draws from the table."""

    def sample(self, sample_shape=()):
        shape = self._extended_shape(torch.Size(sample_shape))
        probs = torch.as_tensor(self.probs.detach())
        return (table.uniform(shape) < probs).to(probs.dtype)


@contextmanager
def gumbel_from_the_table():
    """Let relaxed choices draw from the table as well."""
    usual = gumbel.exponential
    gumbel.exponential = lambda like: -table.uniform(like.shape).log()
    try:
        yield
    finally:
        gumbel.exponential = usual
