"""What lint says: findings with a rule, a place and a remedy, and their report."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pgplugins.diagnostics.lint.places import Place
from pgplugins.errors import LintWarning

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One mistake.

    Attributes:
        rule: The rule's name; ``docs/lint.md`` lists them.
        message: What is wrong.
        remedy: What to write instead.
        file: The file of the user's code.
        line: The line in it.
        severity: ``"error"`` for a gradient that is wrong, ``"warning"`` for one that
            is off by a factor or term that shrinks with the number of samples.

    Example:
        >>> print(Finding("flat-cost", "It is flat.", "Do not round.", "run.py", 7))
        run.py:7: flat-cost: It is flat. Do not round.
    """

    rule: str
    message: str
    remedy: str
    file: str
    line: int
    severity: Severity = "error"

    def __str__(self) -> str:
        """Write place, rule, mistake and remedy in one line."""
        return f"{self.file}:{self.line}: {self.rule}: {self.message} {self.remedy}"


class LintReport:
    """The findings of one :func:`~pgplugins.lint`, in the order of their discovery.

    It has a length, and one can iterate over it.

    Attributes:
        findings: The findings, of type :class:`Finding`.

    Example:
        A baseline that has seen the sample, which biases the gradient by 1 - 1/n:

        >>> import torch, warnings, pgplugins as pg
        >>> mu = torch.tensor(0.7, requires_grad=True)
        >>> policy = torch.distributions.Normal(mu.expand(8), 1.3)
        >>> warnings.simplefilter("ignore")
        >>> with pg.lint() as report:
        ...     x = policy.sample()
        ...     cost = (x - 2) ** 2
        ...     ((cost - cost.mean()) * policy.log_prob(x)).mean().backward()
        >>> len(report), [(f.rule, f.severity) for f in report]
        (1, [('baseline-sees-sample', 'warning')])
        >>> print(report.findings[0].remedy)
        Leave the own cost out, (costs.sum() - costs) / (n - 1), or update a running ...
    """

    def __init__(self) -> None:
        """Start without any."""
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Add a finding, unless the same has been found on its line before."""
        if (finding.rule, finding.file, finding.line) not in {
            (known.rule, known.file, known.line) for known in self.findings
        }:
            self.findings.append(finding)

    def warn(self) -> None:
        """Issue one :class:`~pgplugins.errors.LintWarning` per finding, at its line."""
        for finding in self.findings:
            text = f"{finding.rule}: {finding.message} {finding.remedy}"
            warnings.warn_explicit(text, LintWarning, finding.file, finding.line)

    def __iter__(self) -> Iterator[Finding]:
        """Iterate over the findings."""
        return iter(self.findings)

    def __len__(self) -> int:
        """Count the findings."""
        return len(self.findings)

    def __str__(self) -> str:
        """One line per finding."""
        if not self.findings:
            return "lint: nothing found"
        return "\n".join(map(str, self.findings))


@dataclass(frozen=True)
class Rule:
    """The texts of one rule."""

    name: str
    message: str
    remedy: str
    severity: Severity = "error"

    def at(self, place: Place) -> Finding:
        """State that the rule is broken at a place."""
        return Finding(
            self.name, self.message, self.remedy, *place, severity=self.severity
        )


ATTACHED_SCORE = Rule(
    "attached-score",
    "A cost is multiplied with log_prob(x), but x = rsample() is attached, so it moves "
    "along with the density: the gradient is not that of the score function.",
    "Write x = d.sample(), or cost.detach() * d.log_prob(x.detach()).",
)
UNDETACHED_SCORE = Rule(
    "undetached-score",
    "A cost of x = rsample() is multiplied with log_prob(x), and nothing is detached: "
    "this is the gradient of E[cost * log_prob], not of E[cost].",
    "Write cost.detach() * d.log_prob(x.detach()), or cost alone, whose gradient runs "
    "through rsample().",
)
DOUBLE_COUNTING = Rule(
    "double-counting",
    "The loss holds a cost of x = rsample(), whose gradient runs through x, and a "
    "score term that is weighted with the same cost: its gradient is counted twice.",
    "Keep one of the two: the cost alone, or cost.detach() * d.log_prob(x) with "
    "x = d.sample().",
)
ATTACHED_COST = Rule(
    "attached-cost",
    "The cost that weights log_prob(x) requires grad, so what it depends on gets its "
    "gradient multiplied by the log-density, which estimates nothing.",
    "Write cost.detach() * d.log_prob(x), and add cost itself to the loss if its "
    "parameters are to learn from it.",
)
LEARNED_BASELINE = Rule(
    "baseline-sees-sample",
    "The baseline is computed from the sample x that its log_prob(x) belongs to, so "
    "subtracting it changes the expected gradient.",
    "Give the baseline what was known before x was drawn, or add its expectation's own "
    'gradient back, as pg.estimator("lax") does.',
)
BATCH_BASELINE = Rule(
    "baseline-sees-sample",
    "The baseline is an average that contains the sample's own cost, so the gradient "
    "is biased by a factor such as 1 - 1/n.",
    "Leave the own cost out, (costs.sum() - costs) / (n - 1), or update a running "
    "average after it was used.",
    "warning",
)
BATCH_SCALE = Rule(
    "baseline-sees-sample",
    "The costs are divided by a statistic of the batch that they belong to, so each "
    "sample's own cost changes its weight: a bias of order 1/n.",
    "Divide by a running statistic of earlier batches, or not at all.",
    "warning",
)
FLAT_COST = Rule(
    "flat-cost",
    "The cost varies with x = rsample(), but its gradient with respect to x is zero "
    "everywhere (rounding, a sign, a comparison), so nothing is learned from it.",
    "Write x = d.sample() and cost.detach() * d.log_prob(x).",
)
SATURATED_ACTION = Rule(
    "saturated-action",
    "An action at the edge of tanh is inverted: its preimage cannot be recovered, so "
    "its log-density is infinite or wrong.",
    "Keep the preimage: u = base.rsample(), a = tanh(u), or "
    "TanhTransform(cache_size=1) and the very tensor that was drawn.",
)
RULES = (
    ATTACHED_SCORE,
    UNDETACHED_SCORE,
    DOUBLE_COUNTING,
    ATTACHED_COST,
    LEARNED_BASELINE,
    BATCH_BASELINE,
    BATCH_SCALE,
    FLAT_COST,
    SATURATED_ACTION,
)
