"""The table of families in docs/families.md, in Markdown."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from tests.families.catalogue import CATALOGUE
from tests.families.family import Family
from tests.families.measure import ESTIMATORS, reason, refusal_of

SHORT = {"score_function": "score", "reparameterized": "path", "hybrid": "hybrid"}
VERDICTS = {
    (True, True, True): "all three",
    (True, True, False): "both gradients",
    (True, False, False): "score function",
    (False, True, False): "pathwise",
    (False, False, False): "none",
}
Refusals = Mapping[str, str | None]


def refusals(family: Family) -> dict[str, str | None]:
    """Return the library's reason against each estimator, ``None`` where it serves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: refusal_of(family, name) for name in ESTIMATORS}


def verdict(found: Refusals) -> str:
    """Name what a family can be used with."""
    return VERDICTS[tuple(found[name] is None for name in ESTIMATORS)]


def markdown() -> str:
    """Return counts and table; nothing in them is random."""
    found = {family.label: refusals(family) for family in CATALOGUE}
    lines = [summary(found), ""]
    heads = ["distribution", "score function", "pathwise", "hybrid", "verdict", "why"]
    lines += [_line(heads), _line(["---"] * len(heads))]
    lines += [_row(family, found[family.label]) for family in CATALOGUE]
    return "\n".join(lines)


def summary(found: Mapping[str, Refusals]) -> str:
    """Count distributions, each by the best of its rows."""
    order = list(VERDICTS.values())
    best: dict[str, str] = {}
    for family in CATALOGUE:
        now = verdict(found[family.label])
        before = best.get(family.exported, order[-1])
        best[family.exported] = min(now, before, key=order.index)
    able = {f.exported for f in CATALOGUE if f.law().has_rsample}

    def counts(names: set[str]) -> str:
        kinds = [best[name] for name in names]
        return ", ".join(f"{kinds.count(k)} {k}" for k in order if k in kinds)

    return (
        f"Pyro exports {len(best)} distributions. {len(able)} have `rsample`: "
        f"{counts(able)}. {len(best) - len(able)} have none: "
        f"{counts(set(best) - able)}."
    )


def _row(family: Family, found: Refusals) -> str:
    able = family.law().has_rsample
    cells = []
    for name in ESTIMATORS:
        out = "**no**" if able or name == "score_function" else ""
        cells.append("yes" if found[name] is None else out)
    why: dict[str, list[str]] = {}
    for name in ESTIMATORS:
        if found[name] is not None and (able or name == "score_function"):
            why.setdefault(reason(found[name] or ""), []).append(SHORT[name])
    said = [f"{', '.join(names)}: {text}" for text, names in why.items()]
    if not able and not said:
        said.append("no rsample")
    if family.remark:
        said.append(family.remark)
    text = "; ".join(said).replace("|", r"\|").replace("``", "`")
    label = f"`{family.exported}`" + (f" ({family.note})" if family.note else "")
    return _line([label, *cells, verdict(found), text])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
