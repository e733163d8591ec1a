"""Gymnasium's vector environments in both modes of autoreset, as docs/rl.md says."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from pgplugins import rl

STEPS, ENVIRONMENTS = 60, 4


def recorded(mode):
    """Random actions; returns what the loop in docs/rl.md keeps."""
    env = gymnasium.make_vec(
        "CartPole-v1",
        num_envs=ENVIRONMENTS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
    )
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    seen, following, rewards, ends = [], [], [], []
    for _ in range(STEPS):
        seen.append(observation)
        observation, reward, terminated, truncated, info = env.step(
            env.action_space.sample()
        )
        ahead = observation.copy()
        for i in np.flatnonzero(info.get("_final_obs", [])):
            ahead[i] = info["final_obs"][i]
        following.append(ahead)
        rewards.append(reward)
        ends.append(terminated | truncated)
    env.close()
    parts = (seen, following, rewards, ends)
    return [torch.as_tensor(np.stack(part)) for part in parts]


def test_the_step_after_an_end_only_resets():
    seen, following, rewards, ended = recorded(AutoresetMode.NEXT_STEP)
    reset = rl.reset_steps(ended)
    assert reset.sum() >= ENVIRONMENTS
    assert torch.equal(rewards == 0, reset)
    # CartPole starts within 0.05 of the origin, and ends far from it.
    assert (following[reset].abs() <= 0.05).all()
    assert (following[ended].abs().amax(-1) > 0.05).all()
    # Every step leads to the next one's state, the episode's last one included.
    assert torch.equal(following[:-1], seen[1:])


def test_in_the_same_step_the_last_observation_is_apart():
    seen, following, rewards, ended = recorded(AutoresetMode.SAME_STEP)
    assert ended.sum() >= ENVIRONMENTS and (rewards == 1).all()
    assert (seen[1:][ended[:-1]].abs() <= 0.05).all()
    assert (following[ended].abs().amax(-1) > 0.05).all()
    live = ~ended[:-1]
    assert torch.equal(following[:-1][live], seen[1:][live])


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_returns_are_the_lengths_of_episodes(mode):
    _, _, rewards, ended = recorded(mode)
    same = mode is AutoresetMode.SAME_STEP
    mask = torch.ones_like(ended) if same else ~rl.reset_steps(ended)
    found = rl.returns(rewards, discount=1.0, terminated=ended, mask=mask)
    for n in range(ENVIRONMENTS):
        ends = ended[:, n].nonzero().flatten().tolist()
        starts = [0, *(end + (1 if same else 2) for end in ends)]
        for start, end in zip(starts, ends, strict=False):
            assert found[start, n] == end - start + 1
