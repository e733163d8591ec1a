"""Leave-one-out by group ids."""

import pytest
import torch

import pgplugins as pg
from pgplugins import rl

GROUPS = torch.tensor([4, -1, 4, 9, -1, 4, 9])


def written_out(values, groups, mask):
    found = torch.zeros_like(values)
    for i in range(len(values)):
        others = [
            values[j]
            for j in range(len(values))
            if j != i and groups[j] == groups[i] and mask[j]
        ]
        if mask[i] and others:
            found[i] = sum(others) / len(others)
    return found


def test_groups_may_be_interleaved_and_of_any_size():
    torch.manual_seed(0)
    values = torch.randn(7).double()
    want = written_out(values, GROUPS, torch.ones(7).bool())
    torch.testing.assert_close(rl.leave_one_out(values, GROUPS), want)


def test_the_order_of_members_does_not_matter():
    values, order = torch.randn(7).double(), torch.randperm(7)
    moved = rl.leave_one_out(values[order], GROUPS[order])
    torch.testing.assert_close(moved, rl.leave_one_out(values, GROUPS)[order])


def test_steps_are_treated_one_by_one_and_masked_members_are_none():
    torch.manual_seed(1)
    values = torch.randn(3, 7).double()
    mask = torch.ones(3, 7).bool()
    mask[1, [0, 3]] = False
    mask[2, [0, 2, 5]] = False
    values[~mask] = torch.nan
    found = rl.leave_one_out(values, GROUPS, mask=mask, alone=0.0)
    want = torch.stack(
        [
            written_out(v.nan_to_num(), GROUPS, m)
            for v, m in zip(values, mask, strict=True)
        ]
    )
    torch.testing.assert_close(found, want)


def test_a_member_alone_is_an_error_or_has_what_is_asked_for():
    values, groups = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 5, 0])
    with pytest.raises(pg.PgpluginsError, match=r"member 1 of group 5.*alone=0\.0"):
        rl.leave_one_out(values, groups)
    assert rl.leave_one_out(values, groups, alone=7.0).tolist() == [4.0, 7.0, 1.0]


def test_ids_of_two_dimensions():
    values, groups = (
        torch.tensor([[1.0, 2.0], [4.0, 8.0]]),
        torch.tensor([[0, 1], [1, 0]]),
    )
    assert rl.leave_one_out(values, groups).tolist() == [[8.0, 4.0], [2.0, 1.0]]


V = torch.ones(3, 4)
REFUSED = {
    "ids of numbers": (lambda: rl.leave_one_out(V, torch.ones(4)), ["integer ids"]),
    "ids of flags": (lambda: rl.leave_one_out(V, V[0].bool()), ["integer ids"]),
    "no ids": (lambda: rl.leave_one_out(V, 4), ["groups", "int"]),
    "too few": (
        lambda: rl.leave_one_out(V, torch.zeros(3).long()),
        ["(3, 4)", "(3,)"],
    ),
    "a mask of the groups": (
        lambda: rl.leave_one_out(V, torch.zeros(4).long(), mask=V[0].bool()),
        ["mask (4,)"],
    ),
    "nan": (
        lambda: rl.leave_one_out(V * torch.nan, torch.zeros(4).long()),
        ["value", "nan"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
