"""Waiting calls: all of them are handed over once, also from a checkpoint."""

import copy

import torch

from pgplugins.core.waiting import WaitingCalls


def call(rows, width=2, dtype=torch.float32):
    return [torch.randn(rows, width, dtype=dtype) for _ in range(3)]


def test_calls_are_handed_over_once_in_their_order():
    torch.manual_seed(0)
    waiting, first, second = WaitingCalls(), call(4), call(1)
    waiting.add(first)
    waiting.add(second)
    assert waiting.calls == 2 and waiting.rows == 5
    parts, sizes = waiting.take()
    assert sizes == [4, 1] and waiting.calls == waiting.rows == 0
    assert parts.dtype == torch.float64
    for part, a, b in zip(parts, first, second, strict=True):
        assert torch.equal(part, torch.cat([a, b]).double())


def test_calls_of_another_width_start_afresh():
    torch.manual_seed(0)
    waiting, wide = WaitingCalls(), call(3, width=5)
    waiting.add(call(4))
    waiting.add(wide)
    parts, sizes = waiting.take()
    assert sizes == [3]
    assert torch.equal(parts, torch.stack(wide).double())


def test_a_checkpoint_holds_what_waits():
    torch.manual_seed(0)
    waiting, other = WaitingCalls(), WaitingCalls()
    for rows in (2, 3, 1):
        waiting.add(call(rows))
    other.add(call(7, width=9))  # gives way
    other.load_state_dict(copy.deepcopy(waiting.state_dict()))
    assert other.rows == 6
    later = call(2)
    for each in (waiting, other):
        each.add(later)
    (parts, sizes), (again, sizes_again) = waiting.take(), other.take()
    assert sizes == sizes_again == [2, 3, 1, 2]
    assert torch.equal(parts, again)


def test_a_checkpoint_of_nothing_leaves_nothing():
    waiting = WaitingCalls()
    assert waiting.state_dict() == {}
    other = WaitingCalls()
    other.add(call(2))
    other.load_state_dict(waiting.state_dict())
    assert other.calls == other.rows == 0
