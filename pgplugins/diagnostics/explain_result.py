"""What an explanation says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from pgplugins.diagnostics.explain_table import ExplanationTable


@dataclass(frozen=True)
class Part:
    """A part of a gradient, by parameter name, in the parameters' shapes.

    Args:
        mean: Its mean over the runs, by the parameters' names, in their shapes.
        se: The standard error of that mean, likewise.

    Example:
        >>> import torch
        >>> part = Part({"mu": torch.tensor([1.0])}, {"mu": torch.tensor([0.5])})
        >>> part.mean["mu"] / part.se["mu"]  # in standard errors
        tensor([2.])
        >>> part.to_dict()
        {'mean': {'mu': [1.0]}, 'se': {'mu': [0.5]}}
    """

    mean: dict[str, Tensor]
    se: dict[str, Tensor]

    def to_dict(self) -> dict[str, Any]:
        """Return both as nested lists."""
        return {
            "mean": {name: value.tolist() for name, value in self.mean.items()},
            "se": {name: value.tolist() for name, value in self.se.items()},
        }


@dataclass(frozen=True)
class ExplainedSite:
    """One random choice of the objective.

    Args:
        name: The site's name; ``"expectation"`` for the only one of an expectation.
        estimator: The name of the estimator that serves it.
        reason: Why it is this one.
        warnings: What is worth a look.
        score: The score part, ``None`` if the density has no score.
        pathwise: The pathwise part, ``None`` if the draw has no path.
        explicit: The explicit part.
        reaches: The parameters that the site's distribution was seen to depend on.
        choice: The name of the estimator that draws, if ``estimator`` chooses among
            others.

    Example:
        A score function where the support could be enumerated:

        >>> import torch, pgplugins as pg
        >>> p = torch.tensor(0.5, requires_grad=True)
        >>> found = pg.explain(
        ...     (lambda b: 4 * b, lambda: torch.distributions.Bernoulli(p)),
        ...     params={"p": p},
        ...     num_samples=100,
        ...     seed=0,
        ... )
        >>> (site,) = found.sites
        >>> site.in_words, site.reason, site.reaches
        ('score_function', 'default: it has no rsample', ['p'])
        >>> round(site.score.mean["p"].item(), 1), site.pathwise
        (4.0, None)
        >>> site.warnings
        [...enumerate...]
        >>> site.to_dict()["explicit"]["mean"]
        {'p': 0.0}
    """

    name: str
    estimator: str
    reason: str
    warnings: list[str]
    score: Part | None
    pathwise: Part | None
    explicit: Part
    reaches: list[str]
    choice: str | None = None

    @property
    def in_words(self) -> str:
        """The estimator, with what it has chosen."""
        return self.estimator + (f" ({self.choice})" if self.choice else "")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "name": self.name,
            "estimator": self.estimator,
            "choice": self.choice,
            "reason": self.reason,
            "warnings": self.warnings,
            "reaches": self.reaches,
            "score": None if self.score is None else self.score.to_dict(),
            "pathwise": None if self.pathwise is None else self.pathwise.to_dict(),
            "explicit": self.explicit.to_dict(),
        }


class Explanation:
    """An objective's gradient, taken apart site by site.

    Args:
        objective: The objective's name.
        sites: Its random choices, in the order in which they were met.
        explicit: The gradient of all costs with all draws held.
        gradient: What the estimators in use give; ``None`` where they raise.
        runs: How many calls the means are over.
        warnings: What belongs to no site.

    Example:
        ``E[(x - k)^2]`` with x ~ N(mu, 1) depends on mu through the draw, and on k
        directly; at mu = 1 and k = 3 the gradients are -4 and 4.

        >>> import torch, pgplugins as pg
        >>> mu, k = (torch.tensor(v, requires_grad=True) for v in (1.0, 3.0))
        >>> found = pg.explain(
        ...     (lambda x: (x - k) ** 2, lambda: torch.distributions.Normal(mu, 1.0)),
        ...     params={"mu": mu, "k": k},
        ...     num_samples=1000,
        ...     seed=0,
        ... )
        >>> found
        <Explanation of expectation: expectation: reparameterized>
        >>> {name: round(g.item(), 1) for name, g in found.gradient.mean.items()}
        {'mu': -4.0, 'k': 4.0}
        >>> {name: round(g.item(), 1) for name, g in found.explicit.mean.items()}
        {'mu': 0.0, 'k': 4.0}
        >>> print(found.table())
        expectation (200 runs)
        site         estimator        parameter  score  pathwise  explicit
        expectation  reparameterized  mu         -4...  -4...     0
        ...
        >>> found.to_dict()["sites"][0]["reaches"]
        ['mu']
    """

    def __init__(
        self,
        objective: str,
        sites: Sequence[ExplainedSite],
        *,
        explicit: Part,
        gradient: Part | None,
        runs: int,
        warnings: Sequence[str] = (),
    ) -> None:
        """Keep what was found."""
        self.objective = objective
        self.sites = list(sites)
        self.explicit = explicit
        self.gradient = gradient
        self.runs = runs
        self.warnings = list(warnings)

    def table(self) -> ExplanationTable:
        """Return a table for rich to print; ``str`` of it is plain text."""
        from pgplugins.diagnostics.explain_table import ExplanationTable

        return ExplanationTable(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "objective": self.objective,
            "runs": self.runs,
            "warnings": self.warnings,
            "gradient": None if self.gradient is None else self.gradient.to_dict(),
            "explicit": self.explicit.to_dict(),
            "sites": [site.to_dict() for site in self.sites],
        }

    def __str__(self) -> str:
        """The table as plain text."""
        return str(self.table())

    def __repr__(self) -> str:
        """Name the objective and its sites."""
        chosen = ", ".join(f"{s.name}: {s.in_words}" for s in self.sites)
        return f"<Explanation of {self.objective}: {chosen or 'no random site'}>"
