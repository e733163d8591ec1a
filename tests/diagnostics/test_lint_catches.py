"""Mistakes that lint has to find, each written in several ways.

A program marks the line that is to be blamed with ``# here``.
"""

import inspect
import warnings

import numpy as np
import pyro
import pyro.distributions as pdist
import pytest
import torch
import torch.distributions as dist
from pyro import poutine
from torch import nn

import pgplugins as pg

PROGRAMS = []


def breaks(rule, severity="error"):
    """Say which rule a program breaks."""

    def add(program):
        PROGRAMS.append(pytest.param(program, rule, severity, id=program.__name__))
        return program

    return add


def normal(n=8):
    mu = torch.tensor(0.7, requires_grad=True)
    s = torch.tensor(1.3, requires_grad=True)
    return dist.Normal(mu.expand(n) if n else mu, s)


def cost_of(x):
    return (x - 2) ** 2


# --- log_prob of an attached sample, used as a score ----------------------------------


@breaks("attached-score")
def one_sample():
    d = normal(0)
    x = d.rsample()
    (cost_of(x).detach() * d.log_prob(x)).backward()  # here


@breaks("attached-score")
def cost_of_detached_sample():
    d = normal()
    x = d.rsample()
    f = cost_of(x.detach())
    loss = (d.log_prob(x) * f).mean()  # here
    loss.backward()


@breaks("attached-score")
def minus_reward_with_baseline():
    d = normal()
    x = d.rsample()
    reward = -cost_of(x).detach()
    logp = d.log_prob(x)
    loss = -logp * (reward - 0.3)  # here
    loss.sum().backward()


@breaks("attached-score")
def divided_before():
    d = normal()
    x = d.rsample()
    with torch.no_grad():
        f = cost_of(x)
    logp = d.log_prob(x) / 8
    torch.dot(logp, f).backward()  # here


@breaks("attached-score")
def with_einsum():
    d = normal()
    x = d.rsample()
    f = cost_of(x).detach()
    torch.einsum("i,i->", d.log_prob(x), f).backward()  # here


@breaks("attached-score")
def stored_in_lists():
    d = normal(0)
    logps, costs = [], []
    for _ in range(5):
        x = d.rsample()
        logps.append(d.log_prob(x))
        costs.append(cost_of(x).item())
    returns = torch.tensor(costs)
    (torch.stack(logps) * returns).sum().backward()  # here


@breaks("attached-score")
def a_sum_over_a_list():
    d = normal(0)
    terms = []
    for _ in range(5):
        x = d.rsample()
        terms.append(d.log_prob(x) * cost_of(x).item())  # here
    sum(terms).backward()


@breaks("attached-score")
def through_numpy():
    d = normal()
    x = d.rsample()
    reward = np.square(x.detach().numpy() - 2)
    (d.log_prob(x) * torch.from_numpy(reward)).mean().backward()  # here


@breaks("attached-score")
def a_second_distribution_of_the_same_parameters():
    net = nn.Linear(3, 2)
    obs = torch.ones(4, 3)
    x = dist.Normal(net(obs), 1.0).rsample()
    f = cost_of(x).sum(-1).detach()
    logp = dist.Normal(net(obs), 1.0).log_prob(x).sum(-1)
    (logp * f).mean().backward()  # here


@breaks("attached-score")
def independent():
    loc = torch.zeros(4, 3, requires_grad=True)
    d = dist.Independent(dist.Normal(loc, 1.0), 1)
    x = d.rsample()
    f = cost_of(x).sum(-1).detach()
    (f * d.log_prob(x)).mean().backward()  # here


@breaks("attached-score")
def expanded_and_drawn_often():
    d = normal(0).expand([6])
    x = d.rsample((10,))
    loss = d.log_prob(x) * cost_of(x).detach()  # here
    loss.sum(-1).mean(0).backward()


@breaks("attached-score")
def transformed():
    base = normal()
    d = dist.TransformedDistribution(base, [dist.TanhTransform(cache_size=1)])
    x = d.rsample()
    (d.log_prob(x) * cost_of(x).detach()).mean().backward()  # here


@breaks("attached-score")
def tanh_by_hand():
    d = normal()
    u = d.rsample()
    a = torch.tanh(u)
    logp = d.log_prob(u) - torch.log(1 - a.pow(2) + 1e-6)
    (logp * cost_of(a).detach()).mean().backward()  # here


@breaks("attached-score")
def gamma():
    rate = torch.tensor(2.0, requires_grad=True)
    d = dist.Gamma(torch.full((5,), 3.0), rate)
    x = d.rsample()
    (cost_of(x).detach() * d.log_prob(x)).mean().backward()  # here


@breaks("attached-score")
def dirichlet():
    alpha = torch.ones(3, requires_grad=True)
    d = dist.Dirichlet(alpha)
    x = d.rsample((5,))
    (x[..., 0].detach() * d.log_prob(x)).mean().backward()  # here


@breaks("attached-score")
def sample_by_hand():
    mu, s = torch.zeros(5, requires_grad=True), torch.ones(5, requires_grad=True)
    x = mu + s * torch.randn(5)
    logp = dist.Normal(mu, s).log_prob(x)
    (logp * cost_of(x).detach()).mean().backward()  # here


@breaks("attached-score")
def probability_ratio():
    d = normal()
    x = d.rsample()
    advantage = -cost_of(x).detach()
    logp = d.log_prob(x)
    ratio = torch.exp(logp - logp.detach())
    surrogate = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)  # here
    (-surrogate.mean()).backward()


@breaks("attached-score")
def weight_given_to_backward():
    d = normal()
    x = d.rsample()
    d.log_prob(x).backward(cost_of(x).detach())  # here


@breaks("attached-score")
def weight_given_to_grad():
    mu = torch.zeros(4, requires_grad=True)
    d = dist.Normal(mu, 1.0)
    x = d.rsample()
    torch.autograd.grad(d.log_prob(x), mu, cost_of(x).detach())  # here


@breaks("attached-score")
def a_path_beside_it():
    d = normal()
    x = d.rsample()
    f = cost_of(x)
    score = f.detach() * d.log_prob(x)  # here
    (f + score).mean().backward()


@breaks("attached-score")
def in_place():
    d = normal(0)
    loss = torch.zeros(())
    for _ in range(3):
        x = d.rsample()
        loss += cost_of(x).detach() * d.log_prob(x)  # here
    loss.backward()


@breaks("attached-score")
def a_pyro_trace():
    loc = torch.tensor(0.3, requires_grad=True)

    def program():
        with pyro.plate("n", 6):
            return pyro.sample("x", pdist.Normal(loc, 1.0))

    trace = poutine.trace(program).get_trace()
    trace.compute_log_prob()
    site = trace.nodes["x"]
    f = cost_of(site["value"]).detach()
    (site["log_prob"] * f).sum().backward()  # here


@breaks("attached-score")
def a_pyro_sites_distribution():
    loc = torch.zeros(6, 2, requires_grad=True)
    d = pdist.Normal(loc, 1.0).to_event(1)
    x = pyro.sample("x", d)
    loss = d.log_prob(x) * cost_of(x).sum(-1).detach()  # here
    loss.mean().backward()


@breaks("attached-score")
def pyros_log_prob_sum():
    def guide():
        loc = pyro.param("loc", torch.zeros(()))
        pyro.sample("x", pdist.Normal(loc, 1.0))

    trace = poutine.trace(guide).get_trace()
    f = cost_of(trace.nodes["x"]["value"]).detach()
    (f * trace.log_prob_sum()).backward()  # here


@breaks("attached-score")
def recurrent_policy():
    net = nn.Linear(1, 1)
    state, logps, costs = torch.ones(4, 1), [], []
    for _ in range(3):
        d = dist.Normal(net(state), 0.5)
        a = d.rsample()
        logps.append(d.log_prob(a).squeeze(-1))
        state = state + 0.1 * a.detach()
        costs.append(state.pow(2).squeeze(-1))
    to_go = torch.stack(costs).flip(0).cumsum(0).flip(0).detach()
    (torch.stack(logps) * to_go).sum(0).mean().backward()  # here


# --- nothing detached -----------------------------------------------------------------


@breaks("undetached-score")
def nothing_detached():
    d = normal(0)
    x = d.rsample()
    (cost_of(x) * d.log_prob(x)).backward()  # here


@breaks("undetached-score")
def nothing_detached_in_a_batch():
    d = normal()
    x = d.rsample()
    reward = -cost_of(x)
    loss = -(d.log_prob(x) * (reward - reward.detach().mean())).mean()  # here
    loss.backward()


@breaks("undetached-score")
def nothing_detached_through_a_critic():
    critic = nn.Linear(1, 1)
    loc = torch.zeros(4, 1, requires_grad=True)
    d = dist.Independent(dist.Normal(loc, 1.0), 1)
    x = d.rsample()
    loss = d.log_prob(x) * critic(x).squeeze(-1)  # here
    loss.sum().backward()


@breaks("undetached-score")
def black_box_elbo_with_an_attached_sample():
    q, p = normal(), dist.Normal(0.0, 1.0)
    z = q.rsample()
    elbo = p.log_prob(z) - q.log_prob(z)
    (-(elbo * q.log_prob(z)).mean()).backward()  # here


# --- counted twice --------------------------------------------------------------------


@breaks("double-counting")
def path_and_score():
    d = normal(0)
    x = d.rsample()
    f = cost_of(x)
    (f + f.detach() * d.log_prob(x.detach())).backward()  # here


@breaks("double-counting")
def path_and_score_in_means():
    d = normal()
    x = d.rsample()
    f = cost_of(x)
    score = (f.detach() * d.log_prob(x.detach())).mean()
    loss = f.mean() + score
    loss.backward()  # here


@breaks("double-counting")
def rewards_and_a_baseline():
    d = normal()
    x = d.rsample()
    reward = -cost_of(x)
    advantage = (reward - 0.5).detach()
    loss = -(reward + advantage * d.log_prob(x.detach())).mean()
    loss.backward()  # here


@breaks("double-counting")
def cost_computed_again():
    d = normal()
    x = d.rsample()
    held = x.detach()
    loss = cost_of(x) + cost_of(held) * d.log_prob(held)
    loss.mean().backward()  # here


@breaks("double-counting")
def two_passes():
    d = normal()
    x = d.rsample()
    f = cost_of(x)
    f.mean().backward()
    (f.detach() * d.log_prob(x.detach())).mean().backward()  # here


@breaks("double-counting")
def bound_and_its_score():
    q, p = normal(), dist.Normal(0.0, 1.0)
    z = q.rsample()
    elbo = p.log_prob(z) - q.log_prob(z)
    loss = -(elbo + elbo.detach() * q.log_prob(z.detach())).mean()
    loss.backward()  # here


@breaks("double-counting")
def path_and_score_of_a_sample_by_hand():
    mu = torch.zeros(5, requires_grad=True)
    x = mu + torch.randn(5)
    f = cost_of(x)
    score = f.detach() * dist.Normal(mu, 1.0).log_prob(x.detach())
    (f + score).mean().backward()  # here


@breaks("double-counting")
def magic_box_of_a_path():
    d = normal()
    x = d.rsample()
    logp = d.log_prob(x.detach())
    box = torch.exp(logp - logp.detach())
    (box * cost_of(x)).mean().backward()  # here


# --- attached costs -------------------------------------------------------------------


@breaks("attached-cost")
def cost_with_parameters():
    d = normal()
    x = d.sample()
    w = torch.tensor(2.0, requires_grad=True)
    f = (x - w) ** 2
    (f * d.log_prob(x)).mean().backward()  # here


@breaks("attached-cost")
def critic_in_the_advantage():
    actor, critic = nn.Linear(3, 2), nn.Linear(3, 1)
    obs = torch.ones(6, 3)
    d = dist.Categorical(logits=actor(obs))
    a = d.sample()
    reward = a.float()
    advantage = reward - critic(obs).squeeze(-1)
    actor_loss = -(advantage * d.log_prob(a)).mean()  # here
    (actor_loss + advantage.pow(2).mean()).backward()


@breaks("attached-cost")
def critic_in_the_advantage_of_a_gym():
    actor, critic = nn.Linear(3, 2), nn.Linear(3, 1)
    rewards, logps, values = [], [], []
    for _ in range(5):
        obs = torch.ones(3)
        d = dist.Categorical(logits=actor(obs))
        a = d.sample()
        rewards.append(float(a.item()))
        logps.append(d.log_prob(a))
        values.append(critic(obs).squeeze(-1))
    returns = torch.tensor(rewards)
    advantage = returns - torch.stack(values)
    (-(advantage * torch.stack(logps)).sum()).backward()  # here


@breaks("attached-cost")
def black_box_elbo():
    q, p = normal(), dist.Normal(0.0, 1.0)
    z = q.sample()
    elbo = p.log_prob(z) - q.log_prob(z)
    (-(elbo * q.log_prob(z)).mean()).backward()  # here


@breaks("attached-cost")
def learned_reward_model():
    model = nn.Linear(1, 1)
    d = normal()
    with torch.no_grad():
        x = d.sample()
    loss = -d.log_prob(x) * model(x.unsqueeze(-1)).squeeze(-1)  # here
    loss.mean().backward()


# --- baselines ------------------------------------------------------------------------


@breaks("baseline-sees-sample", "warning")
def mean_of_the_batch():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    ((f - f.mean()) * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample", "warning")
def mean_of_the_particles():
    d = normal(4)
    x = d.sample((10,))
    f = cost_of(x)
    baseline = f.mean(0, keepdim=True).detach()
    (d.log_prob(x) * (f - baseline)).mean().backward()  # here


@breaks("baseline-sees-sample", "warning")
def standardised():
    d = normal()
    x = d.sample()
    reward = -cost_of(x)
    advantage = (reward - reward.mean()) / (reward.std() + 1e-8)
    (-(advantage * d.log_prob(x)).mean()).backward()  # here


@breaks("baseline-sees-sample", "warning")
def divided_by_the_spread():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    (f / f.std() * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample", "warning")
def running_mean_updated_too_early():
    d = normal()
    baseline = torch.zeros(())
    for _ in range(3):
        x = d.sample()
        f = cost_of(x)
        baseline = 0.9 * baseline + 0.1 * f.mean()
        ((f - baseline) * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample", "warning")
def running_mean_of_single_costs_updated_too_early():
    d = normal(0)
    baseline = torch.zeros(())
    for _ in range(3):
        x = d.sample()
        f = cost_of(x)
        baseline = 0.9 * baseline + 0.1 * f
        ((f - baseline) * d.log_prob(x)).backward()  # here


@breaks("baseline-sees-sample", "warning")
def standardised_returns_of_a_gym():
    actor = nn.Linear(3, 2)
    rewards, logps = [], []
    for _ in range(5):
        d = dist.Categorical(logits=actor(torch.ones(3)))
        a = d.sample()
        rewards.append(float(a.item()))
        logps.append(d.log_prob(a))
    returns = torch.tensor(rewards)
    returns = (returns - returns.mean()) / (returns.std() + 1e-6)
    loss = -torch.stack(logps) * returns  # here
    loss.sum().backward()


@breaks("baseline-sees-sample", "warning")
def mean_as_a_number():
    d = normal()
    x = d.sample()
    f = cost_of(x)
    ((f - np.mean(f.numpy())) * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample", "warning")
def sum_over_the_count():
    d = normal()
    x = d.sample()
    f = cost_of(x).detach()
    advantage = f - f.sum() / len(f)
    torch.matmul(advantage, d.log_prob(x)).backward()  # here


@breaks("baseline-sees-sample", "warning")
def mean_of_a_list():
    d = normal(0)
    draws = [d.sample() for _ in range(4)]
    costs = [cost_of(x) for x in draws]
    mean = sum(costs) / len(costs)
    loss = 0.0
    for x, f in zip(draws, costs, strict=True):
        loss = loss + (f - mean) * d.log_prob(x)  # here
    loss.backward()


@breaks("baseline-sees-sample", "warning")
def running_mean_in_a_buffer():
    d, baseline = normal(), torch.zeros(())
    for _ in range(3):
        x = d.sample()
        f = cost_of(x)
        baseline.lerp_(f.mean(), 0.1)
        ((f - baseline) * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample", "warning")
def running_mean_copied_into_a_buffer():
    d, baseline = normal(), torch.zeros(())
    for _ in range(3):
        x = d.sample()
        f = cost_of(x)
        baseline.copy_(0.9 * baseline + 0.1 * f.mean())
        ((f - baseline) * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample")
def baseline_network_of_the_action():
    net = nn.Linear(1, 1)
    d = normal()
    x = d.sample()
    f = cost_of(x)
    baseline = net(x.unsqueeze(-1)).squeeze(-1).detach()
    ((f - baseline) * d.log_prob(x)).mean().backward()  # here


@breaks("baseline-sees-sample")
def baseline_network_of_state_and_action():
    policy, net = nn.Linear(3, 1), nn.Linear(4, 1)
    obs = torch.randn(6, 3)
    d = dist.Normal(policy(obs), 1.0)
    a = d.sample()
    reward = -cost_of(a)
    baseline = net(torch.cat([obs, a], -1))
    (-(reward - baseline.detach()) * d.log_prob(a)).mean().backward()  # here


# --- flat costs -----------------------------------------------------------------------


@breaks("flat-cost")
def rounded():
    x = normal().rsample()
    torch.round(x).pow(2).mean().backward()  # here


@breaks("flat-cost")
def sign_of_one_sample():
    d = normal(0)
    x = d.rsample()
    f = torch.sign(x) * 2  # here
    f.backward()


@breaks("flat-cost")
def compared_beside_a_penalty():
    mu = torch.zeros(5, requires_grad=True)
    x = dist.Normal(mu, 1.0).rsample()
    hit = (x > 0).float()  # here
    (hit.mean() + 0.1 * mu.pow(2).sum()).backward()


@breaks("flat-cost")
def quantised_codes():
    mu = torch.zeros(5, requires_grad=True)
    x = dist.Normal(mu, 1.0).rsample()
    table = torch.arange(20.0)
    code = (x.clamp(-3, 3) + 5).long()  # here
    (table[code].mean() + mu.pow(2).sum()).backward()


@breaks("flat-cost")
def flat_beside_an_entropy():
    d = normal()
    x = d.rsample()
    hit = torch.where(x > 0, 1.0, 0.0)  # here
    (hit + 0.1 * d.log_prob(x)).mean().backward()


@breaks("flat-cost")
def gradients_of_zero():
    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return (x > 0).to(x)

        @staticmethod
        def backward(ctx, gradient):
            return torch.zeros_like(gradient)

    x = normal(64).rsample()
    Step.apply(x).mean().backward()  # here


# --- saturated actions ----------------------------------------------------------------


def squashed(cache_size=0, loc=20.0):
    mu = torch.full((4,), loc, requires_grad=True)
    return dist.TransformedDistribution(
        dist.Normal(mu, 1.0), [dist.TanhTransform(cache_size=cache_size)]
    )


@breaks("saturated-action")
def no_preimage():
    d = squashed()
    d.log_prob(d.sample())  # here


@breaks("saturated-action")
def a_copy_misses_the_cache():
    d = squashed(cache_size=1)
    d.log_prob(d.sample().clone())  # here


@breaks("saturated-action")
def behind_independent_and_affine():
    mu = torch.full((4, 2), 20.0, requires_grad=True)
    transforms = [dist.TanhTransform(cache_size=1), dist.AffineTransform(0.0, 3.0)]
    d = dist.TransformedDistribution(dist.Normal(mu, 1.0), transforms)
    d = dist.Independent(d, 1)
    d.log_prob(d.sample())  # here


@breaks("saturated-action")
def in_pyro():
    mu = torch.full((4,), 20.0, requires_grad=True)
    d = pdist.TransformedDistribution(
        pdist.Normal(mu, 1.0), [pdist.transforms.TanhTransform()]
    )
    x = pyro.sample("x", d)
    d.log_prob(x)  # here


@breaks("saturated-action")
def clamped_atanh():
    d = normal()
    a = torch.tanh(20 + d.sample())
    u = torch.atanh(a.clamp(-1 + 1e-6, 1 - 1e-6))  # here
    d.log_prob(u).sum().backward()


@breaks("saturated-action")
def infinite_atanh():
    d = normal()
    a = torch.tanh(20 + d.sample())
    u = torch.atanh(a)  # here
    d.log_prob(u.clamp(-9, 9)).sum().backward()


@breaks("saturated-action")
def inverted_by_logarithms():
    d = normal()
    a = torch.tanh(20 + d.sample())
    u = 0.5 * (torch.log1p(a) - torch.log1p(-a))  # here
    d.log_prob(u).sum().backward()


@breaks("saturated-action")
def clamped_before_the_density():
    d = squashed(cache_size=1)
    a = d.sample().clamp(-0.999, 0.999)
    (cost_of(a) * d.log_prob(a)).mean().backward()  # here


@breaks("saturated-action")
def replayed_action():
    d = squashed()
    action = torch.ones(4)
    (-d.log_prob(action).mean()).backward()  # here


@pytest.mark.parametrize("program, rule, severity", PROGRAMS)
def test_a_mistake_is_found_where_it_is_made(program, rule, severity):
    torch.manual_seed(0)
    pyro.clear_param_store()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pg.lint() as report:
            program()
    assert [(f.rule, f.severity) for f in report.findings] == [(rule, severity)]
    lines, start = inspect.getsourcelines(program)
    (here,) = [start + i for i, line in enumerate(lines) if "# here" in line]
    assert (report.findings[0].file, report.findings[0].line) == (__file__, here)
