"""REINFORCE learns, repeatably, and leaves the caller's random stream alone."""

import torch

from pgplugins.diagnostics.main_job.cartpole import train


def test_cartpole_is_solved_within_the_known_number_of_steps():
    torch.manual_seed(7)
    want = torch.rand(2)
    torch.manual_seed(7)
    curve = train(seed=0)
    assert torch.equal(torch.rand(2), want)
    assert curve.solved
    assert curve.recent_return >= 475
    # Seeds 0 to 7 took 133k to 190k steps. Another torch rounds otherwise, which
    # changes the whole path, so the bound leaves room.
    assert curve.env_steps[-1] <= 340_000
    assert curve.env_steps == sorted(curve.env_steps)
    assert curve.mean_return[0] < 60  # a random policy lasts about 22 steps
