"""Returns, advantages and discounts against their sums written out."""

import pytest
import torch

import pgplugins as pg
from pgplugins import rl

T, N = 7, 5


def recording(seed=0):
    """Random episodes with both kinds of ends, and reset steps that hold rubbish."""
    torch.manual_seed(seed)
    rewards, values, following = torch.randn(3, T, N).double()
    ends = torch.rand(T, N)
    terminated, truncated = ends < 0.2, (ends > 0.2) & (ends < 0.4)
    ended = terminated | truncated
    for t in range(1, T):  # a reset step is not the end of an episode
        ended[t] &= ~ended[t - 1]
    terminated, truncated = terminated & ended, truncated & ended
    mask = ~rl.reset_steps(ended)
    assert terminated.any() and truncated.any() and not mask.all()
    for tensor in (rewards, values, following):
        tensor[~mask] = torch.nan
    following[terminated] = torch.nan
    flags = {"terminated": terminated, "truncated": truncated, "mask": mask}
    return rewards, values, following, flags


def episode(t, n, flags):
    """The steps from t to the end of its episode, and whether a value follows."""
    steps = [t]
    while steps[-1] + 1 < T:
        if (flags["terminated"] | flags["truncated"])[steps[-1], n]:
            break
        steps.append(steps[-1] + 1)
    return steps, not flags["terminated"][steps[-1], n]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bootstrap", [True, False])
def test_returns_written_out(bootstrap, seed):
    rewards, _, following, flags = recording(seed)
    found = rl.returns(
        rewards,
        discount=0.9,
        next_values=following if bootstrap else None,
        **flags,
    )
    for t in range(T):
        for n in range(N):
            want = 0.0
            if flags["mask"][t, n]:
                steps, goes_on = episode(t, n, flags)
                want = sum(0.9 ** (k - t) * rewards[k, n] for k in steps)
                if bootstrap and goes_on:
                    want = want + 0.9 ** len(steps) * following[steps[-1], n]
            assert float(found[t, n]) == pytest.approx(float(want), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0])
def test_advantages_written_out(decay, seed):
    rewards, values, following, flags = recording(seed)
    found = rl.gae(rewards, values, following, discount=0.9, decay=decay, **flags)
    for t in range(T):
        for n in range(N):
            want = 0.0
            if flags["mask"][t, n]:
                for k in episode(t, n, flags)[0]:
                    ahead = 0.0 if flags["terminated"][k, n] else following[k, n]
                    error = rewards[k, n] + 0.9 * ahead - values[k, n]
                    want = want + (0.9 * decay) ** (k - t) * error
            assert float(found[t, n]) == pytest.approx(float(want), abs=1e-12)


def test_lambda_one_is_returns_less_values_and_zero_the_errors():
    rewards, values, following, flags = recording()
    mask, ended = flags["mask"], flags["terminated"] | flags["truncated"]
    # A step leads to the next one's state, except at an episode's end.
    following[:-1] = following[:-1].where(ended[:-1], values[1:])
    whole = rl.gae(rewards, values, following, discount=0.9, decay=1.0, **flags)
    sums = rl.returns(rewards, discount=0.9, next_values=following, **flags)
    torch.testing.assert_close(whole, (sums - values).where(mask, 0.0))
    errors = rl.gae(rewards, values, following, discount=0.9, decay=0.0, **flags)
    ahead = following.where(~flags["terminated"], 0.0)
    torch.testing.assert_close(
        errors, (rewards + 0.9 * ahead - values).where(mask, 0.0)
    )


def test_a_truncated_episode_keeps_the_value_of_what_follows():
    rewards, values = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])
    following, over = torch.tensor([5.0, 7.0]), torch.tensor([True, False])
    for end, ahead in (("terminated", 0.0), ("truncated", 5.0)):
        found = rl.gae(
            rewards, values, following, discount=0.5, decay=1.0, **{end: over}
        )
        assert found.tolist() == [1 + 0.5 * ahead, 1 + 0.5 * 7.0]
        assert rl.returns(
            rewards, discount=0.5, next_values=following, **{end: over}
        ).tolist() == [1 + 0.5 * ahead, 1 + 0.5 * 7.0]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_time_is_first_and_any_batch_follows(batch):
    rewards = torch.ones(4, *batch)
    found = rl.returns(rewards, discount=1.0)
    want = torch.tensor([4.0, 3.0, 2.0, 1.0]).reshape(4, *(1,) * len(batch))
    assert torch.equal(found, want.expand(4, *batch))


def test_what_is_returned_is_detached():
    rewards = torch.ones(3, requires_grad=True)
    values = torch.ones(3, requires_grad=True)
    assert not rl.returns(rewards, discount=1.0, next_values=values).requires_grad
    found = rl.gae(rewards, values, values, discount=1.0, decay=1.0)
    assert not found.requires_grad


def test_integer_rewards_are_rewards():
    found = rl.returns(torch.tensor([1, 2, 3]), discount=0.5)
    assert found.tolist() == [2.75, 3.5, 3.0]


def test_discounts_count_from_the_start_of_each_episode():
    ended = torch.tensor([[0, 0], [1, 0], [0, 0], [0, 1], [0, 0]]).bool()
    mask = ~rl.reset_steps(ended)
    found = rl.discounts(
        ended.double(),
        discount=0.5,
        terminated=ended,
        mask=mask,
        elapsed=torch.tensor([3, 0]),
    )
    want = [[0.125, 1], [0.0625, 0.5], [0, 0.25], [1, 0.125], [0.5, 0]]
    assert found.tolist() == want


def test_a_discount_of_zero_leaves_the_first_step():
    assert rl.discounts(torch.zeros(3), discount=0.0).tolist() == [1, 0, 0]


def test_reset_steps_and_first_episodes():
    ended = torch.tensor([[0, 1], [1, 0], [0, 0], [0, 1]]).bool()
    assert rl.reset_steps(ended).tolist() == [
        [False, False],
        [False, True],
        [True, False],
        [False, False],
    ]
    before = torch.tensor([True, False])
    assert rl.reset_steps(ended, before=before)[0].tolist() == [True, False]
    assert rl.first_episodes(ended).tolist() == [
        [True, True],
        [True, False],
        [False, False],
        [False, False],
    ]


ONES, YES = torch.ones(3, 2), torch.ones(3, 2).bool()
GAP = torch.tensor([[True], [True], [False]])
REFUSED = {
    "shapes": (
        lambda: rl.returns(ONES, discount=1.0, terminated=YES[:2]),
        ["time first", "(3, 2)", "(2, 2)"],
    ),
    "no time": (lambda: rl.returns(torch.tensor(1.0), discount=1.0), ["time first"]),
    "no tensor": (lambda: rl.returns([1.0], discount=1.0), ["rewards", "list"]),
    "flags of numbers": (
        lambda: rl.returns(ONES, discount=1.0, terminated=ONES),
        ["terminated", "float", ".bool()"],
    ),
    "a discount above one": (lambda: rl.returns(ONES, discount=1.1), ["discount=1.1"]),
    "a decay below zero": (
        lambda: rl.gae(ONES, ONES, ONES, discount=1.0, decay=-0.1),
        ["decay=-0.1"],
    ),
    "nan": (lambda: rl.returns(ONES * torch.nan, discount=1.0), ["reward", "nan"]),
    "a value that is nan": (
        lambda: rl.gae(ONES, ONES, ONES * torch.nan, discount=1.0, decay=1.0),
        ["next value", "nan"],
    ),
    "an episode into a gap": (
        lambda: rl.returns(torch.ones(3, 1), discount=1.0, mask=GAP),
        ["step 1", "(0,)", "terminated or truncated"],
    ),
    "before of another shape": (
        lambda: rl.reset_steps(YES, before=YES[0, :1]),
        ["(1, 2)", "(1, 1)"],
    ),
    "ended of numbers": (lambda: rl.first_episodes(ONES), ["ended", ".bool()"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    call, words = REFUSED[name]
    with pytest.raises(pg.PgpluginsError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
