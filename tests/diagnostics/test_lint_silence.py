"""Right programs that lint has to leave alone."""

import copy

import numpy as np
import pyro
import pyro.distributions as pdist
import pytest
import torch
import torch.distributions as dist
import torch.nn.functional as F
from pyro import infer, poutine
from torch import nn

import pgplugins as pg

PROGRAMS = []


def right(program):
    PROGRAMS.append(pytest.param(program, id=program.__name__))
    return program


def normal(n=8):
    mu = torch.tensor(0.7, requires_grad=True)
    s = torch.tensor(1.3, requires_grad=True)
    return dist.Normal(mu.expand(n) if n else mu, s)


def cost_of(x):
    return (x - 2) ** 2


# --- REINFORCE ------------------------------------------------------------------------


@right
def reinforce_without_a_detach_of_a_plain_cost():
    d = normal()
    x = d.sample()
    (cost_of(x) * d.log_prob(x)).mean().backward()


@right
def reinforce_with_a_detached_rsample():
    d = normal()
    x = d.rsample().detach()
    (cost_of(x) * d.log_prob(x)).mean().backward()


@right
def reinforce_with_a_sample_detached_in_the_density():
    d = normal()
    x = d.rsample()
    (cost_of(x).detach() * d.log_prob(x.detach())).mean().backward()


@right
def reinforce_with_leave_one_out():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    baseline = (f.sum() - f) / (f.numel() - 1)
    ((f - baseline) * d.log_prob(x)).mean().backward()


@right
def reinforce_with_leave_one_out_over_particles():
    d = normal(4)
    x = d.sample((10,))
    f = cost_of(x)
    baseline = (f.sum(0, keepdim=True) - f) / 9
    ((f - baseline).detach() * d.log_prob(x)).mean().backward()


@right
def reinforce_with_leave_one_out_in_lists():
    d, draws = normal(0), []
    for _ in range(4):
        draws.append(d.sample())
    costs = [cost_of(x) for x in draws]
    loss = 0.0
    for x, f in zip(draws, costs, strict=True):
        loss = loss + 0.5 * (f - (sum(costs) - f) / 3) * d.log_prob(x)
    loss.backward()


@right
def reinforce_with_half_of_leave_one_out():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    (0.5 * (f - (f.sum() - f) / 7) * d.log_prob(x)).mean().backward()


@right
def rebar_by_hand():
    logits = torch.zeros(5, requires_grad=True)

    def control(z):
        return cost_of(torch.sigmoid(z / 0.5))

    u, v = torch.rand(2, 5)
    z = logits + torch.logit(u)
    b = (z > 0).float().detach()
    p = torch.sigmoid(logits)
    given = torch.where(b > 0, 1 - p + v * p, v * (1 - p))
    conditional = control(logits + torch.logit(given))
    logp = dist.Bernoulli(logits=logits).log_prob(b)
    loss = (cost_of(b) - conditional).detach() * logp + control(z) - conditional
    loss.sum().backward()


@right
def reinforce_with_leave_one_out_as_a_rescaled_mean():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    ((f - f.mean()) * (8 / 7) * d.log_prob(x)).mean().backward()


@right
def reinforce_with_leave_one_out_in_one_fraction():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    advantage = (8 * f - f.sum()) / 7
    (advantage * d.log_prob(x)).mean().backward()


@right
def reinforce_with_a_running_average():
    d = normal()
    baseline = torch.zeros(())
    for _ in range(4):
        x = d.sample()
        f = cost_of(x)
        ((f - baseline) * d.log_prob(x)).mean().backward()
        baseline = 0.9 * baseline + 0.1 * f.mean()


@right
def reinforce_with_a_running_average_in_place():
    d = normal()
    baseline = torch.zeros(())
    for _ in range(4):
        x = d.sample()
        f = cost_of(x)
        ((f - baseline) * d.log_prob(x)).mean().backward()
        baseline.mul_(0.9).add_(f.mean(), alpha=0.1)


@right
def reinforce_with_a_running_average_of_numbers():
    d = normal()
    baseline = 0.0
    for _ in range(4):
        x = d.sample()
        f = cost_of(x)
        ((f - baseline) * d.log_prob(x)).mean().backward()
        baseline = 0.9 * baseline + 0.1 * f.mean().item()


@right
def reinforce_in_a_gym():
    policy = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(policy.parameters())
    for _ in range(3):
        logps, rewards = [], []
        for _ in range(6):
            d = dist.Categorical(logits=policy(torch.ones(3)))
            a = d.sample()
            logps.append(d.log_prob(a))
            rewards.append(float(a.item()) + 0.1)
        returns = torch.tensor(np.cumsum(rewards[::-1])[::-1].copy())
        loss = -(torch.stack(logps) * returns).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@right
def actor_critic_with_detached_values():
    actor, critic = nn.Linear(3, 2), nn.Linear(3, 1)
    obs = torch.randn(6, 3)
    d = dist.Categorical(logits=actor(obs))
    a = d.sample()
    reward = a.float() + obs[:, 0]
    value = critic(obs).squeeze(-1)
    advantage = reward - value
    actor_loss = -(advantage.detach() * d.log_prob(a)).mean()
    loss = actor_loss + 0.5 * advantage.pow(2).mean() - 0.01 * d.entropy().mean()
    loss.backward()


@right
def actor_critic_with_time_differences():
    actor, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    state, logps, values, rewards = torch.ones(4, 2), [], [], []
    for _ in range(5):
        d = dist.Independent(dist.Normal(actor(state), 0.3), 1)
        a = d.sample()
        logps.append(d.log_prob(a))
        values.append(critic(state).squeeze(-1))
        state = 0.9 * state + 0.1 * a
        rewards.append(-state.pow(2).sum(-1))
    logps, values, rewards = map(torch.stack, (logps, values, rewards))
    after = torch.cat([values[1:], critic(state).T]).detach()
    delta = rewards + 0.99 * after - values
    (-(logps * delta.detach()).mean() + delta.pow(2).mean()).backward()


@right
def policy_gradient_with_a_learned_action_value():
    critic, value = nn.Linear(1, 1), nn.Linear(1, 1)
    d = normal()
    x = d.sample()
    q = critic(x.unsqueeze(-1)).squeeze(-1)
    advantage = q - value(torch.ones(8, 1)).squeeze(-1)
    (-(d.log_prob(x) * advantage.detach()).mean()).backward()


@right
def rollout_with_a_value_network_afterwards():
    actor, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    state, states, logps, rewards = torch.ones(4, 2), [], [], []
    for _ in range(5):
        d = dist.Independent(dist.Normal(actor(state), 0.3), 1)
        a = d.sample()
        states.append(state)
        logps.append(d.log_prob(a))
        state = 0.9 * state + 0.1 * a
        rewards.append(-state.pow(2).sum(-1))
    returns = torch.stack(rewards).flip(0).cumsum(0).flip(0)
    values = critic(torch.stack(states)).squeeze(-1)
    advantage = (returns - values).detach()
    (-(torch.stack(logps) * advantage).mean() + F.mse_loss(values, returns)).backward()


@right
def cost_with_parameters_learned_beside_the_score():
    d = normal()
    w = torch.tensor(2.0, requires_grad=True)
    x = d.sample()
    f = (x - w) ** 2
    (f.detach() * d.log_prob(x) + f).mean().backward()


@right
def regularised_rewards():
    policy, reference = normal(), normal()
    x = policy.sample()
    logp = policy.log_prob(x)
    reward = -cost_of(x) - 0.1 * (logp - reference.log_prob(x)).detach()
    (-(reward * logp).mean()).backward()


@right
def dice():
    d = normal()
    x = d.sample()
    logp = d.log_prob(x)
    w = torch.tensor(2.0, requires_grad=True)
    box = torch.exp(logp - logp.detach())
    (box * (x - w) ** 2).mean().backward()


@right
def dice_with_a_baseline():
    d = normal()
    x = d.sample()
    logp = d.log_prob(x)
    box = torch.exp(logp - logp.detach())
    f = cost_of(x)
    (box * f + (1 - box) * 0.3).mean().backward()


@right
def score_of_a_black_box_beside_a_path():
    d = normal()
    x = d.rsample()
    reward = (x.detach() > 0).float()
    penalty = x.pow(2)
    (reward * d.log_prob(x.detach()) + penalty).mean().backward()


@right
def indicator_with_its_score():
    d = normal()
    x = d.rsample()
    hit = (x > 0).float()
    (hit * d.log_prob(x.detach())).mean().backward()


@right
def learned_control_variate():
    net = nn.Linear(1, 1)
    d = normal()
    x = d.rsample()
    control = net(x.unsqueeze(-1)).squeeze(-1)
    weight = (cost_of(x) - control).detach()
    (weight * d.log_prob(x.detach()) + control).mean().backward()


@right
def quadratic_control_variate():
    d = normal()
    x = d.rsample()
    control = 0.5 * x**2
    weight = (torch.cos(x) - control).detach()
    (weight * d.log_prob(x.detach()) + control).mean().backward()


@right
def elite_samples():
    d = normal(64)
    x = d.sample()
    elite = (cost_of(x) < cost_of(x).median()).float()
    (-(elite * d.log_prob(x)).mean()).backward()


# --- PPO and its kind -----------------------------------------------------------------


def rollout(policy, n=16):
    obs = torch.randn(n, 3)
    with torch.no_grad():
        d = dist.Independent(dist.Normal(policy(obs), 0.5), 1)
        a = d.sample()
        return obs, a, d.log_prob(a), -a.pow(2).sum(-1)


@right
def ppo():
    policy, critic = nn.Linear(3, 2), nn.Linear(3, 1)
    obs, a, old, returns = rollout(policy)
    advantage = (returns - critic(obs).squeeze(-1)).detach()
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    for _ in range(3):
        d = dist.Independent(dist.Normal(policy(obs), 0.5), 1)
        ratio = torch.exp(d.log_prob(a) - old.detach())
        clipped = ratio.clamp(0.8, 1.2) * advantage
        loss = -torch.min(ratio * advantage, clipped).mean()
        value_loss = F.mse_loss(critic(obs).squeeze(-1), returns)
        (loss + 0.5 * value_loss - 0.01 * d.entropy().mean()).backward()


@right
def importance_weighted_policy_gradient():
    policy = nn.Linear(3, 2)
    obs, a, old, returns = rollout(policy)
    d = dist.Independent(dist.Normal(policy(obs), 0.5), 1)
    logp = d.log_prob(a)
    ratio = (logp - old).exp().detach()
    (-(ratio * logp * returns).mean()).backward()


@right
def group_relative_ratio():
    policy = nn.Linear(3, 4)
    d = dist.Categorical(logits=policy(torch.ones(2, 3)))
    a = d.sample((5,))
    reward = a.float()
    advantage = (reward - reward.mean(0)) / (reward.std(0) + 1e-4)
    logp = d.log_prob(a)
    (-(torch.exp(logp - logp.detach()) * advantage).mean()).backward()


@right
def advantage_weighted_regression():
    policy = nn.Linear(3, 2)
    obs, a, _, returns = rollout(policy)
    weight = torch.exp(returns / 2).clamp(max=20)
    d = dist.Independent(dist.Normal(policy(obs), 0.5), 1)
    (-(weight * d.log_prob(a)).mean()).backward()


# --- SAC ------------------------------------------------------------------------------


def squashed(actor, obs):
    loc, scale = actor(obs).chunk(2, -1)
    base = dist.Normal(loc, F.softplus(scale) + 0.1)
    tanh = dist.TanhTransform(cache_size=1)
    return dist.Independent(dist.TransformedDistribution(base, [tanh]), 1)


@right
def sac():
    actor, log_alpha = nn.Linear(3, 4), torch.zeros((), requires_grad=True)
    critic = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
    target = copy.deepcopy(critic)
    optimizer = torch.optim.Adam([*actor.parameters(), log_alpha])
    for _ in range(3):
        obs, after, reward = torch.randn(6, 3), torch.randn(6, 3), torch.randn(6)
        done = (torch.rand(6) < 0.1).float()
        d = squashed(actor, after)
        with torch.no_grad():
            a = d.rsample()
            q = target(torch.cat([after, a], -1)).squeeze(-1)
            y = reward + 0.99 * (1 - done) * (q - log_alpha.exp() * d.log_prob(a))
        acted = torch.randn(6, 2)
        F.mse_loss(critic(torch.cat([obs, acted], -1)).squeeze(-1), y).backward()
        d = squashed(actor, obs)
        a = d.rsample()
        logp = d.log_prob(a)
        q = critic(torch.cat([obs, a], -1)).squeeze(-1)
        actor_loss = (log_alpha.exp().detach() * logp - q).mean()
        alpha_loss = -(log_alpha.exp() * (logp + 2.0).detach()).mean()
        optimizer.zero_grad()
        (actor_loss + alpha_loss).backward()
        optimizer.step()
        assert actor_loss.item() is not None


@right
def sac_with_numbers_and_priorities():
    actor = nn.Linear(3, 4)
    critic = nn.Linear(5, 1)
    seen = []
    for _ in range(3):
        obs = torch.randn(6, 3)
        priorities = torch.tensor(np.random.default_rng(0).random(6)).float()
        d = squashed(actor, obs)
        a = d.rsample()
        seen.append(a.detach().numpy().mean())
        logp = d.log_prob(a)
        seen.append(logp.mean().item())
        q = critic(torch.cat([obs, a], -1)).squeeze(-1)
        (priorities * (0.2 * logp - q)).mean().backward()


@right
def sac_with_the_correction_by_hand():
    actor, critic = nn.Linear(3, 4), nn.Linear(5, 1)
    obs = torch.randn(6, 3)
    loc, scale = actor(obs).chunk(2, -1)
    d = dist.Normal(loc, scale.clamp(-5, 2).exp())
    u = d.rsample()
    a = torch.tanh(u)
    logp = d.log_prob(u) - torch.log(1 - a.pow(2) + 1e-6)
    logp = logp.sum(-1, keepdim=True)
    q = critic(torch.cat([obs, a], -1))
    (0.2 * logp - q).mean().backward()


@right
def one_scalar_of_sac():
    d = normal(0)
    x = d.rsample()
    (0.2 * d.log_prob(x) + cost_of(x)).backward()


@right
def pathwise_rollout_with_entropy():
    actor = nn.Linear(1, 1)
    state, loss = torch.ones(4, 1), 0.0
    for t in range(4):
        d = dist.Normal(actor(state), 0.5)
        a = d.rsample()
        state = state + 0.1 * a
        loss = loss + 0.9**t * (state.pow(2) + 0.1 * d.log_prob(a)).mean()
    loss.backward()


@right
def deterministic_policy_with_noise():
    actor, critic = nn.Linear(3, 2), nn.Linear(5, 1)
    obs = torch.randn(6, 3)
    a = actor(obs) + 0.1 * torch.randn(6, 2)
    (-critic(torch.cat([obs, a.clamp(-1, 1)], -1)).mean()).backward()


# --- Evidence bounds ------------------------------------------------------------------


@right
def bound_by_hand():
    q = normal()
    z = q.rsample()
    likelihood = dist.Normal(z, 1.0).log_prob(torch.ones(8))
    kl = q.log_prob(z) - dist.Normal(0.0, 1.0).log_prob(z)
    (-(likelihood - 0.5 * kl).mean()).backward()


@right
def annealed_bound_with_a_logged_loss():
    q = normal()
    log = []
    for step in range(3):
        z = q.rsample()
        beta = torch.tensor(step / 3)
        kl = q.log_prob(z) - dist.Normal(0.0, 1.0).log_prob(z)
        loss = (beta * kl + cost_of(z)).mean()
        log.append(loss.item())
        loss.backward()


@right
def importance_weighted_bound_by_hand():
    q = normal(4)
    z = q.rsample((5,))
    weight = dist.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    (-torch.logsumexp(weight, 0).mean()).backward()


@right
def self_normalised_weights_by_hand():
    q = normal(4)
    z = q.rsample((5,))
    log_weight = dist.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    weight = torch.softmax(log_weight, 0).detach()
    (-(weight * log_weight).sum(0).mean()).backward()


@right
def doubly_reparameterized_by_hand():
    q = normal(4)
    z = q.rsample((5,))
    held = dist.Normal(q.loc.detach(), q.scale.detach())
    log_weight = dist.Normal(0.0, 1.0).log_prob(z) - held.log_prob(z)
    weight = torch.softmax(log_weight, 0).detach()
    (-(weight**2 * log_weight).sum(0).mean()).backward()


@right
def sticking_the_landing():
    q = normal(4)
    z = q.rsample()
    held = dist.Normal(q.loc.detach(), q.scale.detach())
    target = dist.Normal(0.7, 1.3)
    (held.log_prob(z) - target.log_prob(z)).mean().backward()


@right
def log_variance_loss():
    q = normal(16)
    z = q.sample()
    log_weight = dist.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    centred = log_weight - log_weight.mean()
    (centred * centred).mean().backward()


@right
def entropy_of_what_is_finite():
    d = normal()
    logp = d.log_prob(d.rsample())
    (logp * torch.isfinite(logp).float()).mean().backward()


@right
def spread_of_the_log_density():
    d = normal()
    logp = d.log_prob(d.rsample())
    (logp * logp).mean().backward()


@right
def black_box_variational_inference():
    q = normal()
    z = q.sample()
    logq = q.log_prob(z)
    elbo = dist.Normal(0.0, 2.0).log_prob(z) - logq
    (-(elbo.detach() * logq).mean()).backward()


@right
def reweighted_wake_sleep_by_hand():
    q = normal(4)
    z = q.sample((6,))
    logq = q.log_prob(z)
    weight = torch.softmax(dist.Normal(0.0, 1.0).log_prob(z) - logq, 0).detach()
    (-(weight * logq).sum(0).mean()).backward()


@right
def mixture_prior_with_responsibilities():
    encoder, prior = nn.Linear(2, 2), nn.Parameter(torch.randn(3))
    data = torch.randn(5, 2)
    loc, scale = encoder(data).chunk(2, -1)
    q = dist.Normal(loc, F.softplus(scale) + 0.1)
    z = q.rsample()
    components = dist.Normal(prior, 1.0).log_prob(z)
    share = torch.softmax(components, -1)
    expected = (share * (components - share.log())).sum(-1)
    (q.log_prob(z).sum(-1) - expected).mean().backward()


@right
def variational_autoencoder():
    encoder, decoder = nn.Linear(4, 4), nn.Linear(2, 4)
    data = torch.rand(6, 4)
    mu, log_var = encoder(data).chunk(2, -1)
    z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
    nll = F.binary_cross_entropy_with_logits(decoder(z), data, reduction="sum")
    kl = -0.5 * (1 + log_var - mu.pow(2) - log_var.exp()).sum()
    (nll + kl).backward()


@right
def straight_through_rounding():
    x = normal().rsample()
    hard = x + (x.round() - x).detach()
    cost_of(hard).mean().backward()


@right
def one_sample_of_a_hinge():
    d = dist.Normal(torch.tensor(-5.0, requires_grad=True), 1.0)
    x = d.rsample()
    torch.where(x > 0, x, torch.zeros(())).backward()


@right
def gumbel_softmax():
    logits = torch.zeros(3, requires_grad=True)
    d = dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=logits)
    y = d.rsample((6,))
    prior = dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=torch.zeros(3))
    kl = d.log_prob(y) - prior.log_prob(y)
    (kl + (y * torch.arange(3.0)).sum(-1)).mean().backward()


# --- Likelihoods ----------------------------------------------------------------------


@right
def regression():
    net = nn.Linear(3, 1)
    obs, y = torch.randn(9, 3), torch.randn(9)
    weight = torch.rand(9)
    (-(weight * dist.Normal(net(obs).squeeze(-1), 1.0).log_prob(y)).mean()).backward()


@right
def classification():
    net = nn.Linear(3, 4)
    logits = net(torch.randn(9, 3))
    labels = torch.randint(4, (9,))
    (-dist.Categorical(logits=logits).log_prob(labels).mean()).backward()


@right
def fit_to_synthetic_data():
    data = dist.Normal(1.0, 2.0).sample((50,))
    model = normal(0)
    weight = 1 / (1 + data**2)
    (-(weight * model.log_prob(data)).mean()).backward()


@right
def normalising_flow():
    flow = pdist.transforms.affine_coupling(2, hidden_dims=[8])
    base = pdist.Normal(torch.zeros(2), 1.0).to_event(1)
    d = pdist.TransformedDistribution(base, [flow])
    data = torch.randn(20, 2)
    (-d.log_prob(data).mean()).backward()


@right
def expectation_maximisation():
    means = torch.randn(3, requires_grad=True)
    data = torch.randn(30, 1)
    joint = dist.Normal(means, 1.0).log_prob(data)
    share = torch.softmax(joint, -1).detach()
    (-(share * joint).sum(-1).mean()).backward()


@right
def squashed_density_with_its_preimage():
    mu = torch.full((4,), 20.0, requires_grad=True)
    d = dist.TransformedDistribution(
        dist.Normal(mu, 1.0), [dist.TanhTransform(cache_size=1)]
    )
    x = d.sample()
    (cost_of(x) * d.log_prob(x)).mean().backward()


@right
def squashed_density_away_from_the_edge():
    d = dist.TransformedDistribution(normal(), [dist.TanhTransform()])
    x = d.sample()
    u = torch.atanh(x.clamp(-1 + 1e-6, 1 - 1e-6))
    (cost_of(x) * d.log_prob(x)).mean().backward()
    (cost_of(x) * d.base_dist.log_prob(u)).mean().backward()


# --- Pyro and this library ------------------------------------------------------------


DATA = torch.tensor([0.3, -1.0, 2.0, 0.5])


def model():
    k = pyro.sample("k", pdist.Bernoulli(0.4))
    z = pyro.sample("z", pdist.Normal(k, 1.0))
    with pyro.plate("data", 4):
        pyro.sample("x", pdist.Normal(z, 1.0), obs=DATA)


def guide():
    logit = pyro.param("logit", torch.tensor(0.2))
    loc = pyro.param("loc", torch.tensor(0.1))
    scale = pyro.param(
        "scale", torch.tensor(0.8), constraint=pdist.constraints.positive
    )
    k = pyro.sample("k", pdist.Bernoulli(logits=logit))
    pyro.sample("z", pdist.Normal(loc + 0.1 * k, scale))


def continuous_model():
    z = pyro.sample("z", pdist.Normal(0.0, 1.0))
    with pyro.plate("data", 4):
        pyro.sample("x", pdist.Normal(z, 1.0), obs=DATA)


def continuous_guide():
    loc = pyro.param("loc", torch.tensor(0.1))
    pyro.sample("z", pdist.Normal(loc, 0.7))


def steps(elbo, model=model, guide=guide):
    svi = infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
    for _ in range(3):
        svi.step()


@right
def pyros_trace_elbo():
    steps(infer.Trace_ELBO())
    steps(infer.Trace_ELBO(num_particles=5, vectorize_particles=True))


@right
def pyros_trace_graph_elbo():
    steps(infer.TraceGraph_ELBO(num_particles=2))


@right
def pyros_trace_enum_elbo():
    steps(infer.TraceEnum_ELBO(), guide=infer.config_enumerate(guide))


@right
def pyros_mean_field_elbo():
    steps(infer.TraceMeanField_ELBO(), continuous_model, continuous_guide)


@right
def pyros_renyi_elbo():
    steps(
        infer.RenyiELBO(alpha=0.3, num_particles=4), continuous_model, continuous_guide
    )


@right
def pyros_wake_sleep():
    elbo = infer.ReweightedWakeSleep(num_particles=4, vectorize_particles=False)
    steps(elbo, continuous_model, continuous_guide)


@right
def pyros_own_guides():
    steps(
        infer.Trace_ELBO(),
        continuous_model,
        infer.autoguide.AutoNormal(continuous_model),
    )
    guide = infer.autoguide.AutoMultivariateNormal(continuous_model)
    steps(infer.Trace_ELBO(num_particles=3), continuous_model, guide)


@right
def a_custom_objective_from_pyros_tutorial():
    def simple_elbo(model, guide):
        trace = poutine.trace(guide).get_trace()
        replayed = poutine.trace(poutine.replay(model, trace=trace)).get_trace()
        return -(replayed.log_prob_sum() - trace.log_prob_sum())

    simple_elbo(continuous_model, continuous_guide).backward()


CONTINUOUS = ["score_function", "reparameterized", "hybrid", "lax"]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_an_expectation_is_left_alone(name):
    estimator = pg.estimator(name)
    d = normal(3)
    with pg.lint() as report:
        for _ in range(4):
            loss = pg.expectation(cost_of, d, estimator=estimator, num_samples=16)
            loss.sum().backward()
    assert report.findings == []


@pytest.mark.parametrize("name", ["score_function", "enumerate"])
def test_an_expectation_over_a_discrete_law_is_left_alone(name):
    d = dist.Bernoulli(logits=torch.zeros(3, requires_grad=True))
    with pg.lint() as report:
        pg.expectation(cost_of, d, estimator=name, num_samples=4).sum().backward()
    assert report.findings == []


@pytest.mark.parametrize("continuous", CONTINUOUS)
@pytest.mark.parametrize("discrete", ["score_function", "enumerate"])
@pytest.mark.parametrize("particles", [1, 4])
def test_our_elbo_is_left_alone(continuous, discrete, particles):
    pyro.clear_param_store()
    elbo = pg.ELBO(
        estimators={"k": discrete, "z": continuous},
        num_particles=particles,
        vectorize_particles=True,
    )
    with pg.lint() as report:
        steps(elbo)
    assert report.findings == []


@right
def expected_cost():
    policy = torch.tensor(0.0, requires_grad=True)

    def program():
        a = pyro.sample("a", pdist.Bernoulli(logits=policy))
        b = pyro.sample("b", pdist.Normal(policy + a, 1.0))
        pg.cost("reward", -(2 * a - 1) + cost_of(b))

    for dependencies in ("provenance", "plates", "order"):
        objective = pg.ExpectedCost(num_particles=8, dependencies=dependencies)
        objective(program).backward()


@right
def surrogate():
    policy = torch.tensor(0.0, requires_grad=True)
    d = dist.Bernoulli(logits=policy)
    a = d.sample((6,))
    f = cost_of(a)
    pg.surrogate(d.expand([6]), a, f, baseline="leave_one_out").mean().backward()
    d = normal(6)
    x = d.rsample()
    pg.surrogate(d, x, cost_of(x).detach(), baseline=None).mean().backward()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_right_program_is_left_alone(program):
    torch.manual_seed(0)
    pyro.clear_param_store()
    with pg.lint() as report:
        program()
    assert report.findings == []
