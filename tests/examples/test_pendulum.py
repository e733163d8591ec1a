"""The torch copy of the pendulum is Gymnasium's, and roll-outs are cut where said."""

import math

import gymnasium
import pytest
import torch

import pgplugins as pg
from tests.examples.loading import load

pendulum = load("pendulum")


@pytest.mark.parametrize("push", [-1.0, 0.0, 1.0])
def test_the_dynamics_are_gymnasiums(push):
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = torch.tensor([2.5, 0.5], dtype=torch.float64).numpy()
    own = torch.Generator().manual_seed(0)
    torques = push + torch.randn(200, dtype=torch.float64, generator=own)
    angle, speed = torch.as_tensor(env.state.copy())
    angles, speeds = [], []
    for torque in torques:
        angle, speed, cost = pendulum.step(angle, speed, torque)
        _, reward, *_ = env.step(torque.unsqueeze(0).numpy())
        want_angle, want_speed = env.state
        assert angle.item() == pytest.approx(want_angle, abs=1e-6)
        assert speed.item() == pytest.approx(want_speed, abs=1e-6)
        assert cost.item() == pytest.approx(-reward, abs=1e-6)
        angles.append(angle.item())
        speeds.append(abs(speed.item()))
    # The torque is clipped, and the angle leaves (-pi, pi).
    assert torques.abs().max() > 2
    assert max(map(abs, angles)) > math.pi


def test_the_speed_is_clipped_as_gymnasiums_is():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = torch.tensor([1.5, 7.9], dtype=torch.float64).numpy()
    angle, speed = torch.as_tensor(env.state.copy())
    angle, speed, _ = pendulum.step(angle, speed, torch.tensor(2.0).double())
    env.step(torch.tensor([2.0]).double().numpy())
    assert (angle.item(), speed.item()) == pytest.approx(tuple(env.state), abs=1e-12)
    assert speed.item() == 8.0


@pytest.mark.parametrize("steps", [50, 200])
def test_pieces_go_on_until_the_episode_ends(steps):
    torch.manual_seed(0)
    program = pendulum.Pieces(pendulum.Policy(), rollouts=6, steps=steps)
    assert program.particles * steps == 6 * 200
    objective = pg.ExpectedCost(
        estimators="reparameterized",
        num_particles=program.particles,
        max_plate_nesting=0,
    )
    begun = torch.zeros(program.particles, dtype=torch.long)
    for _ in range(2 * 200 // steps):
        before = program.angle.clone()
        objective(program)
        # No step turns the pendulum by more than 8 * 0.05 radians.
        far = (program.angle - before).abs() > steps * 0.4
        new = program.clock == 0
        assert not (far & ~new).any()
        assert (program.speed[new].abs() <= 1).all()
        assert (program.angle[new].abs() <= math.pi).all()
        assert not program.angle.requires_grad
        begun += new
    # Two episodes each, however they are cut.
    assert (begun == 2).all()


def test_a_cut_path_is_backpropagation_through_a_piece():
    """The gradient over one piece is that of its own costs, written by hand."""
    torch.manual_seed(0)
    policy = pendulum.Policy()
    program = pendulum.Pieces(policy, rollouts=2, steps=50)
    angle, speed = program.angle, program.speed
    objective = pg.ExpectedCost(
        estimators="reparameterized",
        num_particles=program.particles,
        max_plate_nesting=0,
    )
    torch.manual_seed(1)
    found = torch.autograd.grad(objective(program), list(policy.parameters()))
    torch.manual_seed(1)
    total = torch.zeros(())
    for _ in range(50):
        torque = policy(angle, speed).rsample()
        angle, speed, cost = pendulum.step(angle, speed, torque)
        total = total + cost.mean()
    wanted = torch.autograd.grad(total, list(policy.parameters()))
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
