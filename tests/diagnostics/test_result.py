"""What is shown of a comparison: table, verdict, picture, JSON."""

import json
import math
from io import StringIO

import pytest
from rich.console import Console

from pgplugins.diagnostics.plots import new_axes
from pgplugins.diagnostics.result import Comparison, Row
from pgplugins.diagnostics.table import verdict


def row(estimator, *, variance=1.0, seconds=1e-3, unbiased=True, p=0.5, spread=0.1):
    """A row whose intervals reach ``spread`` to both sides."""

    def around(value):
        return (value * (1 - spread), value * (1 + spread))

    efficiency = 1 / (variance * seconds) if variance else math.inf
    return Row(
        objective="toy",
        estimator=estimator,
        unbiased=unbiased,
        bias_z=1.25,
        bias_p=p,
        bias_limit=5.25,
        variance=variance,
        variance_interval=around(variance),
        snr=2.0,
        snr_interval=around(2.0),
        seconds=seconds,
        seconds_interval=around(seconds),
        efficiency=efficiency,
        efficiency_interval=around(efficiency),
        memory=81_920,
    )


def comparison(*rows):
    return Comparison("toy", rows, reference="the truth", notes=["a note"])


@pytest.fixture
def mixed():
    return comparison(
        row("noisy", variance=100.0),
        row("good", variance=4.0, seconds=2e-3),
        row("soft", variance=0.01, unbiased=False),
        row("caught", variance=0.01, p=1e-9),
    )


def test_best_is_the_most_efficient_without_bias(mixed):
    assert mixed.best == "good"
    assert [r.estimator for r in mixed.ranked] == ["good", "noisy"]
    assert comparison(row("a", variance=0.0), row("b", variance=1e-9)).best == "a"
    assert comparison(row("a", p=1e-9)).best is None


def test_table_marks_every_row(mixed):
    lines = str(mixed.table()).splitlines()
    marks = {line.split()[0]: line for line in lines[2:6]}
    assert marks["good"].rstrip().endswith("best")
    assert marks["soft"].rstrip().endswith("biased by design")
    assert marks["caught"].rstrip().endswith("biased here")
    assert marks["noisy"].split() == ["noisy", "+1.2", "2", "100", "±10%", "1", "ms",
                                      "±10%", "81.9", "kB", "10"]  # fmt: skip


def test_what_is_printed_names_the_reference_and_the_notes(mixed):
    printed = " ".join(str(mixed.table()).split())
    assert "good wins" in printed
    assert "measured against the truth; beyond ±5.2, bias z is no chance" in printed
    assert printed.endswith("Note: a note")


def headings(comparison, width):
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(comparison.table())
    line = next(s for s in console.file.getvalue().splitlines() if "bias z" in s)
    return [cell.strip() for cell in line.split("│")[1:-2]]


def test_memory_and_snr_stand_where_they_fit(mixed):
    kept = ["estimator", "bias z", "variance", "time", "efficiency"]
    assert headings(mixed, 83) == kept
    assert headings(mixed, 90) == [*kept[:2], "SNR", *kept[2:]]
    assert headings(mixed, 100) == [*kept[:2], "SNR", *kept[2:4], "memory", kept[4]]


def test_rows_that_cannot_be_told_from_the_best_are_said_to_be_so():
    # Efficiencies 1000, 952, 500 and 100; 10% to both sides of the first two overlap.
    found = comparison(
        row("third", variance=2.0),
        row("second", variance=1.05),
        row("first", variance=1.0),
        row("biased", variance=0.01, p=0.0),
    )
    assert found.best == "first"
    assert [r.estimator for r in found.leaders] == ["first", "second"]
    assert found.to_dict()["leaders"] == ["first", "second"]
    lines = {s.split()[0]: s for s in str(found.table()).splitlines()[2:6]}
    assert lines["first"].endswith("ahead, not clearly")
    assert lines["second"].endswith("close to best")
    assert not lines["third"].endswith("best")
    said = verdict(found)
    assert said.startswith("first and second are too close to call")
    exact = comparison(
        row("slow", variance=0.0, seconds=2e-3), row("fast", variance=0.0), row("c")
    )
    assert [r.estimator for r in exact.leaders] == ["fast"]
    assert verdict(exact).startswith("fast and slow are exact")
    assert comparison(row("b", p=0.0)).leaders == []


def test_verdict_names_winner_and_margin(mixed):
    said = verdict(mixed)
    assert said.startswith("good wins: 12.5 times as efficient as noisy")
    assert "0.04 times its variance in 2 times its time" in said
    assert "measured against the truth; beyond ±5.2" in said


def test_verdict_does_not_claim_more_than_the_intervals():
    close = comparison(row("a", variance=1.0), row("b", variance=1.05))
    assert "too close to call" in verdict(close)
    assert "only one without bias" in verdict(comparison(row("a"), row("b", p=0.0)))
    assert "none can be recommended" in verdict(comparison(row("b", p=0.0)))
    assert "no variance" in verdict(comparison(row("a", variance=0.0), row("b")))


def test_plot_puts_every_estimator_at_its_time_and_variance(mixed):
    ax = new_axes()
    assert mixed.plot(ax) is ax
    drawn = {
        container.get_label(): container.lines[0].get_xydata()[0].tolist()
        for container in ax.containers
    }
    assert drawn["good"] == pytest.approx([2.0, 4.0])
    assert drawn["noisy"] == pytest.approx([1.0, 100.0])
    assert {"soft (biased)", "caught (biased)"} < set(drawn)


def test_plot_shows_an_estimator_without_variance_below_all_others():
    ax = comparison(row("exact", variance=0.0), row("b", variance=3.0)).plot()
    heights = {c.get_label(): c.lines[0].get_ydata()[0] for c in ax.containers}
    assert 0 < heights["exact"] < heights["b"]


def test_json_is_strict_and_complete(mixed):
    shown = json.loads(json.dumps(mixed.to_dict(), allow_nan=False))
    assert (shown["best"], shown["reference"]) == ("good", "the truth")
    assert shown["notes"] == ["a note"]
    assert shown["rows"][1] == {
        "objective": "toy",
        "estimator": "good",
        "unbiased": True,
        "biased": False,
        "bias_z": 1.25,
        "bias_p": 0.5,
        "bias_limit": 5.25,
        "variance": 4.0,
        "variance_interval": pytest.approx([3.6, 4.4]),
        "snr": 2.0,
        "snr_interval": pytest.approx([1.8, 2.2]),
        "seconds": 0.002,
        "seconds_interval": pytest.approx([0.0018, 0.0022]),
        "efficiency": pytest.approx(125.0),
        "efficiency_interval": pytest.approx([112.5, 137.5]),
        "memory": 81_920,
    }
