"""What one run of a program has drawn and what it costs."""

from __future__ import annotations

from typing import NamedTuple

from pgplugins.core.fold import CostTerm, Site


class Run(NamedTuple):
    """The sites that need a correction or have rows, and all cost terms."""

    sites: list[Site]
    costs: list[CostTerm]
