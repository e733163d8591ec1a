"""Recorded episodes end where they end, and their gradient term is REINFORCE."""

import gymnasium
import pytest
import torch
from torch import nn
from torch.distributions import Categorical

from tests.examples.loading import load

cartpole = load("cartpole")


def policy():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_an_episode_is_what_one_environment_replays(mode):
    """Nothing of the reset step, or of the episode after it, is counted."""
    env = gymnasium.make_vec("CartPole-v1", num_envs=6, vectorization_mode=mode)
    env.reset(seed=0)
    found = cartpole.record(env, policy())
    env.close()
    lengths = found.live.sum(1)
    assert lengths.min() + 2 < lengths.max() == found.live.shape[1]
    assert torch.equal(found.rewards.sum(1), lengths.float())
    single = gymnasium.make("CartPole-v1").unwrapped
    for seen, actions, live, length in zip(
        found.observations, found.actions, found.live, lengths.tolist(), strict=True
    ):
        assert live[:length].all()
        single.reset(seed=0)
        single.state = tuple(seen[0].double().tolist())
        for t in range(length):
            observation, _, terminated, *_ = single.step(actions[t].item())
            assert terminated == (t == length - 1)
            if not terminated:
                torch.testing.assert_close(
                    seen[t + 1], torch.as_tensor(observation), rtol=0, atol=1e-4
                )


def test_reward_to_go_is_a_geometric_sum():
    rewards = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    to_go = cartpole.to_go(rewards.double(), 0.5)
    assert to_go.tolist() == [[1.75, 1.5, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]


def test_the_gradient_term_is_reinforce_with_the_others_as_baseline():
    torch.manual_seed(1)
    network = policy()
    live = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    found = cartpole.Episodes(
        torch.randn(3, 4, 4), torch.randint(2, (3, 4)), live.float(), live
    )
    loss = cartpole.loss_of(network, found, discount=0.9)
    assert loss.item() == 0
    got = torch.autograd.grad(loss, list(network.parameters()))
    by_hand = torch.zeros(())
    to_go = [
        [sum(0.9**k for k in range(max(n - t, 0))) for t in range(4)] for n in (4, 2, 3)
    ]
    for i in range(3):
        for t in range(int(live[i].sum())):
            others = sum(to_go[j][t] for j in range(3) if j != i) / 2
            law = Categorical(logits=network(found.observations[i, t]))
            advantage = to_go[i][t] - others
            by_hand = by_hand - advantage * law.log_prob(found.actions[i, t]) / 3
    want = torch.autograd.grad(by_hand, list(network.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
