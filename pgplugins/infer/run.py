"""What one run of a program has drawn and what it costs."""

from __future__ import annotations

from typing import NamedTuple

from pgplugins.core.terms import CostTerm, Site


class Run(NamedTuple):
    """What one run has drawn and what it costs.

    Args:
        sites: Those that need a correction or have rows.
        costs: All cost terms.
        counts: Whether it counts; else another process needs company.
    """

    sites: list[Site]
    costs: list[CostTerm]
    counts: bool = True
