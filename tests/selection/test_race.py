"""The race by hand: moments, who drops out, and when nothing changes."""

import pytest
import torch

from pgplugins.core.circumstances import Circumstances
from pgplugins.selection.audit import FEWEST, FLAT, JUMPS, MOST, OPEN, SMOOTH, Audit
from pgplugins.selection.race import MARGIN, ROUNDS, SHARE, Race


def call(variance, mean=0.0):
    """Gradients of a thousand particles with exactly this mean and this variance."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(500)
    return (mean + variance**0.5 * signs).unsqueeze(-1)


def run(race, variances, incumbent=None, rows=(1, 1), mean=0.0):
    """Run a race to its end, and return its winner."""
    race.start(range(len(variances)))
    for _ in range(500):
        index = race.whose_turn([True] * len(variances))
        race.add(index, call(variances[index], mean), rows[index])
        winner = race.advance(incumbent)
        if winner is not None:
            return winner
    raise AssertionError("no winner")


@pytest.mark.parametrize(
    ("variances", "incumbent", "winner"),
    [
        # The one that comes first keeps its place up to the margin.
        ((1.1, 1.0), 0, 0),
        ((1.19, 1.0), 0, 0),
        ((1.25, 1.0), 0, 1),
        # And takes it back only if it is no worse.
        ((1.1, 1.0), 1, 1),
        ((1.02, 1.0), 1, 1),
        ((0.95, 1.0), 1, 0),
        # At first there is nobody to be kept.
        ((1.05, 1.0), None, 0),
        ((1.3, 1.0), None, 1),
    ],
)
def test_between_two_limits_nothing_changes(variances, incumbent, winner):
    assert run(Race(2), variances, incumbent) == winner


def test_the_criterion_is_the_second_moment_times_the_cost():
    race = Race(2)
    run(race, (4.0, 1.0), rows=(1, 5), mean=2.0)
    first, second = race.standing(0), race.standing(1)
    assert first.variance == pytest.approx(4.0, rel=1e-3)
    assert second.variance == pytest.approx(1.0, rel=1e-3)
    assert (first.cost, second.cost) == (11.0, 15.0)
    assert first.criterion == pytest.approx((4 + 4) * 11, rel=1e-3)
    assert second.criterion == pytest.approx((4 + 1) * 15, rel=1e-3)


def test_rows_decide_where_the_signal_is_large_and_noise_where_it_is_not():
    assert run(Race(2), (1.0, 0.01), rows=(1, 10), mean=10.0) == 0
    assert run(Race(2), (1.0, 0.01), rows=(1, 10), mean=0.1) == 1


def test_who_is_much_worse_drops_out_early_and_equals_go_to_the_end():
    race = Race(3)
    run(race, (1.0, 100.0, 1.001), rows=(1, 1, 1))
    warm_up = 4
    assert race.calls.tolist()[1] == warm_up + ROUNDS[0]
    short = Race(2)
    run(short, (1.0, 50.0))
    assert short.calls.tolist() == [warm_up + ROUNDS[0]] * 2


def test_leave_one_out_counts_for_what_it_adds():
    """Over n - 1, in squared gradients: the particles' scatter does not show it."""
    race = Race(2)
    race.start([0, 1])
    while (winner := race.advance(None)) is None:
        index = race.whose_turn([True, True])
        race.add(index, call(1.0, mean=3.0), 1, left_out=index == 1)
    assert winner == 0
    difference = race.standing(1).variance - race.standing(0).variance
    assert difference == pytest.approx(9 / 999, rel=1e-2)


def test_calls_that_are_not_finite_do_not_count():
    race = Race(2)
    race.start([0, 1])
    race.add(0, torch.tensor([[float("nan")], [1.0]]), 1)
    assert race.calls.tolist() == [0, 0]


def test_patience_grows_with_how_much_worse_one_was():
    race = Race(2)
    run(race, (1.0, 4.0))
    calls = float(race.calls[1])
    assert race.patience(1, 0, 1) == pytest.approx(4 * calls / SHARE, rel=1e-2)


def test_an_exact_incumbent_that_cannot_be_beaten_is_left_alone():
    race = Race(2)
    run(race, (0.0, 1.0), rows=(2, 1), mean=1.0)
    assert 12 <= MARGIN * 11
    assert race.patience(1, 0, 1) > 1e6


def test_a_minibatch_of_another_size_joins_the_scatter_and_not_the_mean():
    race = Race(2)
    race.start([0, 1])
    sizes = (3, 5)
    winner = None
    for number in range(400):
        index = race.whose_turn([True, True])
        shape = (1, sizes[number // 2 % 2], 1)
        scatter = call((1.0, 9.0)[index], mean=0.0).unsqueeze(1).expand(-1, *shape[1:])
        race.add(index, scatter, 1)
        winner = race.advance(None)
        if winner is not None:
            break
    assert winner == 0


# The audit ----------------------------------------------------------------------------


def feed(audit, calls, gap, seed=0):
    """Calls of ten rows whose score and path gradients differ by ``gap`` in mean."""
    own = torch.Generator().manual_seed(seed)
    for _ in range(calls):
        score = torch.randn(10, 2, generator=own)
        noise = torch.randn(10, 2, generator=own)
        path = 0.3 + torch.randn(10, 2, generator=own)
        audit.add(score, path + noise + 7 * score + gap, path)


def test_score_and_path_that_agree_are_smooth_whatever_the_cost_is_on_average():
    found = []
    for seed in range(40):
        audit = Audit()
        feed(audit, FEWEST - 1, 0.0, seed)
        assert int(audit.verdict) == OPEN
        feed(audit, 1, 0.0, seed + 100)
        found.append(int(audit.verdict))
    # A doubt below three standard errors for two parameters: 40 * 0.0027 expected.
    assert found.count(SMOOTH) >= 38


def test_a_large_difference_is_a_jump_at_once_and_a_doubt_becomes_one():
    audit = Audit()
    feed(audit, FEWEST, 1.0)
    assert int(audit.verdict) == JUMPS
    audit = Audit()
    feed(audit, FEWEST, 0.19)
    assert int(audit.verdict) == OPEN
    feed(audit, MOST - FEWEST, 0.1, seed=1)
    assert int(audit.verdict) == JUMPS


def test_a_path_that_never_moves_is_flat():
    audit = Audit()
    for _ in range(FEWEST):
        score = torch.randn(4, 1)
        audit.add(score, 2 * score + 0.1, torch.zeros(4, 1))
    assert int(audit.verdict) == FLAT


def test_rows_are_shared_out_evenly():
    assert Circumstances(False, False, shared_by=4, taken=1).room(256) == 4
    assert Circumstances(False, False, shared_by=1, taken=64).room(256) == 4
