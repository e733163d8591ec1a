"""Estimators with one fault each, and the right ones that they were made from."""

import dataclasses
import random

import torch
from torch.distributions import Bernoulli, Gamma, Independent, Normal

import pgplugins as pg

LOG_PROB = frozenset({"log_prob"})


class Score(pg.Estimator):
    """Right: the score function without a baseline."""

    name = "planted"
    traits = pg.Traits(unbiased=True, needs=LOG_PROB)

    def draw(self, dist):
        return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost)[0]


class Path(pg.Estimator):
    """Right: the pathwise estimator."""

    name = "planted"
    traits = pg.Traits(
        unbiased=True, needs=frozenset({"rsample", "differentiable_cost"})
    )

    def draw(self, dist):
        return pg.Draw(dist=dist, value=dist.rsample().unsqueeze(0))

    def gradient_term(self, draw, cost):
        return None


class Sum(pg.Estimator):
    """Right: enumeration."""

    name = "planted"
    traits = pg.Traits(
        unbiased=True,
        needs=frozenset({"enumerate_support"}),
        independent_rows=False,
        cost_evaluations="support",
    )

    def draw(self, dist):
        points = dist.enumerate_support()
        return pg.Draw(dist=dist, value=points, weight=dist.log_prob(points).exp())

    def gradient_term(self, draw, cost):
        return None

    def refusal(self, dist):
        return "joined events" if isinstance(dist, Independent) else None


class WeakDerivative(pg.Estimator):
    """Right: ``p (1 - p) (f(1) - f(0))`` on two rows of weight zero."""

    name = "planted"
    traits = pg.Traits(
        unbiased=True,
        needs=LOG_PROB,
        independent_rows=False,
        cost_evaluations=3,
    )
    weights = (1.0, 0.0, 0.0)

    def draw(self, dist):
        value = dist.sample()
        rows = torch.stack([value, torch.ones_like(value), torch.zeros_like(value)])
        weight = rows.new_tensor(self.weights).reshape(3, *[1] * value.dim())
        return pg.Draw(dist=dist, value=rows, weight=weight)

    def gradient_term(self, draw, cost):
        p = draw.dist.probs
        return (p - p.detach()) * (cost[1] - cost[2]).detach()

    def refusal(self, dist):
        return None if isinstance(dist, Bernoulli) else "only coins have one here"


class Disarm(pg.Estimator):
    """Right: draws in a way of its own, from uniform numbers."""

    name = "planted"
    traits = pg.Traits(
        unbiased=True, needs=LOG_PROB, independent_rows=False, cost_evaluations=2
    )

    def draw(self, dist):
        u = torch.rand_like(dist.logits.detach())
        p = dist.logits.detach().sigmoid()
        rows = torch.stack([u > 1 - p, 1 - u > 1 - p])
        return pg.Draw(dist=dist, value=rows.to(p))

    def gradient_term(self, draw, cost):
        b, other = draw.value
        logits = draw.dist.logits
        g = 0.5 * (cost[0] - cost[1]).detach() * self.sign(other) * (b != other)
        return g * logits.detach().abs().sigmoid() * (logits - logits.detach())

    def sign(self, other):
        return 1 - 2 * other

    def refusal(self, dist):
        return None if isinstance(dist, Bernoulli) else "only coins"


class MovingAverage(Score):
    """Right: a baseline that is read before it is updated."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost - self.mean.to(cost))[0]

    def update(self, draw, cost):
        self.mean = 0.9 * self.mean + 0.1 * cost.detach().mean().to(self.mean)


class ScoreOfGammas(Score):
    """Right: serves one family, which no script can tell."""

    def refusal(self, dist):
        return None if isinstance(dist, Gamma) else "only Gammas"


RIGHT = [Score, Path, Sum, WeakDerivative, Disarm, MovingAverage, ScoreOfGammas]


class SmallScale(Score):
    """A thousandth too small."""

    def gradient_term(self, draw, cost):
        return 0.999 * super().gradient_term(draw, cost)


class ScaleSign(Score):
    """The sign is wrong for one parameter of one family."""

    def gradient_term(self, draw, cost):
        d = draw.dist
        if isinstance(d, Normal):
            d = Normal(d.loc, 2 * d.scale.detach() - d.scale)
        return pg.Draw(dist=d, value=draw.value).score_term(cost)[0]


class BatchMean(Score):
    """Right without a batch."""

    def gradient_term(self, draw, cost):
        return draw.score_term(cost.mean(-1, keepdim=True).expand_as(cost))[0]


class BatchBaseline(Score):
    """The other batch elements' mean cost, which may know of this one's draw."""

    def gradient_term(self, draw, cost):
        n = cost.shape[-1]
        if cost.dim() > 2 and n > 1:
            cost = cost - ((cost.sum(-1, keepdim=True) - cost) / (n - 1)).detach()
        return draw.score_term(cost)[0]


class Leak(MovingAverage):
    """The average has taken in the current cost, all of it together."""

    def gradient_term(self, draw, cost):
        fresh = 0.99 * self.mean.to(cost) + 0.01 * cost.detach().mean()
        return draw.score_term(cost - fresh)[0]


class LearnsInDraw(MovingAverage):
    """Reads a state that the draw itself has changed."""

    def draw(self, dist):
        drawn = super().draw(dist)
        self.mean = drawn.value.float().mean()
        return drawn


class LateBias(MovingAverage):
    """Right until it has learned."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def gradient_term(self, draw, cost):
        term = super().gradient_term(draw, cost)
        return term if self.seen < 20 else 0.97 * term

    def update(self, draw, cost):
        super().update(draw, cost)
        self.seen = self.seen + 1


class OnlyPairs(Score):
    """Wrong with two draws side by side alone."""

    def gradient_term(self, draw, cost):
        dim = draw.particle_dim
        if dim is not None and cost.shape[dim] == 2:
            cost = cost - cost.detach().mean(dim, keepdim=True)
        return draw.score_term(cost)[0]


class Standardised(Score):
    """Divides by the spread of the costs, as policy gradient code often does."""

    def gradient_term(self, draw, cost):
        if cost.shape[1:].numel() > 1:
            cost = cost / (cost.detach().std() + 1e-8)
        return draw.score_term(cost)[0]


class Clipped(Score):
    """Large costs count less."""

    def gradient_term(self, draw, cost):
        return draw.score_term(cost.clamp(-80, 80))[0]


class PythonRandom(Score):
    """Draws from Python's generator."""

    def draw(self, dist):
        shape = dist.batch_shape
        u = torch.tensor([random.random() for _ in range(shape.numel())])
        value = (u.reshape(shape).to(dist.probs) < dist.probs).to(dist.probs)
        return pg.Draw(dist=dist, value=value.unsqueeze(0))

    def refusal(self, dist):
        return None if isinstance(dist, Bernoulli) else "only coins"


class Reseeds(Score):
    """The same draws at every call."""

    def draw(self, dist):
        torch.manual_seed(7)
        return super().draw(dist)


class HiddenSeed(Score):
    """A generator of its own, which torch's seed does not reach."""

    generator = torch.Generator().manual_seed(0)

    def draw(self, dist):
        u = torch.rand(dist.batch_shape, generator=self.generator, dtype=torch.float64)
        value = (u < dist.probs).to(dist.probs)
        return pg.Draw(dist=dist, value=value.unsqueeze(0))

    def refusal(self, dist):
        return None if isinstance(dist, Bernoulli) else "only coins"


class SinglePrecision(Score):
    """Rows in single precision whatever the parameters."""

    def draw(self, dist):
        return pg.Draw(dist=dist, value=dist.sample().float().unsqueeze(0))


class FirstOrder(Score):
    """Promises every order and keeps one."""

    traits = dataclasses.replace(Score.traits, order="any")

    def gradient_term(self, draw, cost):
        log_prob = draw.log_prob
        return (cost.detach() * (log_prob - log_prob.detach()))[0]


class SharedDraw(Score):
    """One draw for the whole batch."""

    def draw(self, dist):
        value = dist.sample()
        batch = len(dist.batch_shape)
        if batch > 1:
            value = value.narrow(batch - 1, 0, 1).expand_as(value).clone()
        return pg.Draw(dist=dist, value=value.unsqueeze(0))


class MirroredParticles(Path):
    """Every second particle is the mirror image of the one before."""

    def draw(self, dist):
        value = dist.rsample()
        if value.dim() and value.shape[0] > 1:
            pairs = value.shape[0] // 2 * 2
            mirror = 2 * dist.loc[:pairs:2] - value[:pairs:2]
            odd = torch.stack([value[:pairs:2], mirror], 1).flatten(0, 1)
            value = torch.cat([odd, value[pairs:]])
        return pg.Draw(dist=dist, value=value.unsqueeze(0))

    def refusal(self, dist):
        return None if type(dist).__name__ in ("Normal", "Bell") else "only Normals"


class RemembersOnItself(Score):
    """Keeps the draw on the estimator: two draws and the first is lost."""

    def draw(self, dist):
        self.last = super().draw(dist)
        return self.last

    def gradient_term(self, draw, cost):
        return pg.Draw(dist=draw.dist, value=self.last.value).score_term(cost)[0]


class InPlace(Score):
    """Centres the caller's costs in place."""

    def gradient_term(self, draw, cost):
        term = super().gradient_term(draw, cost)
        with torch.no_grad():
            cost -= cost.mean()
        return term


class HiddenState(MovingAverage):
    """State that ``state_dict`` does not know of."""

    def __init__(self):
        super().__init__()
        del self.mean
        self.mean = torch.zeros(())


class SizedState(MovingAverage):
    """State with the shape of the first batch."""

    def update(self, draw, cost):
        self.mean = (0.9 * self.mean + 0.1 * cost.detach()[0]).float()


class ServesAll(Sum):
    """Says that it serves what it then cannot draw."""

    def refusal(self, dist):
        return None


class LateRefusal(Path):
    """Leaves a need out, and fails with an error that is not the library's."""

    traits = pg.Traits(unbiased=True, needs=frozenset({"differentiable_cost"}))


class HidesDifferentiability(Path):
    """Needs a differentiable cost and does not say so."""

    traits = pg.Traits(unbiased=True, needs=frozenset({"rsample"}))


class HidesDensity(Score):
    """Needs a density and does not say so."""

    traits = pg.Traits(unbiased=True)


class WeightsDetached(Sum):
    """The weights carry no gradient."""

    def draw(self, dist):
        drawn = super().draw(dist)
        drawn.weight = drawn.weight.detach()
        return drawn


class WeightsOfOneRow(Sum):
    """One row's weight carries no gradient."""

    def draw(self, dist):
        drawn = super().draw(dist)
        weight = drawn.weight
        drawn.weight = torch.cat([weight[:1].detach(), weight[1:]])
        return drawn


class CountsAuxiliaryRows(WeakDerivative):
    """Auxiliary rows are taken for draws."""

    weights = (1 / 3, 1 / 3, 1 / 3)


class WrongRowCount(WeakDerivative):
    """Declares fewer rows than it draws."""

    traits = dataclasses.replace(WeakDerivative.traits, cost_evaluations=2)


class RowsTooMany(WeakDerivative):
    """Declares one or two rows for a parameter, and draws one more."""

    traits = dataclasses.replace(WeakDerivative.traits, cost_evaluations="parameters")

    def draw(self, dist):
        draw = super().draw(dist)
        draw.value = torch.cat([draw.value, draw.value[:2]])
        draw.weight = torch.cat([draw.weight, torch.zeros_like(draw.weight[:2])])
        return draw


class RowsOfNoSize(WeakDerivative):
    """Declares as many rows as its size, and has another."""

    size = 5
    traits = dataclasses.replace(WeakDerivative.traits, cost_evaluations="size")


class CoupledRows(pg.Estimator):
    """Antithetic rows that are declared independent."""

    name = "planted"
    traits = pg.Traits(
        unbiased=True,
        needs=frozenset({"rsample", "differentiable_cost"}),
        cost_evaluations=2,
    )

    def draw(self, dist):
        value = dist.rsample()
        return pg.Draw(dist=dist, value=torch.stack([value, 2 * dist.loc - value]))

    def gradient_term(self, draw, cost):
        return None

    def refusal(self, dist):
        return None if type(dist).__name__ in ("Normal", "Bell") else "only Normals"


class WrongSignOfOneRow(Disarm):
    """DisARM that forgets the sign of the second row."""

    def sign(self, other):
        return torch.ones_like(other)


class HalfDisarm(Disarm):
    """DisARM without the one half, made up for by another factor."""

    def gradient_term(self, draw, cost):
        return 1.1 * super().gradient_term(draw, cost)


class LogitsOnly(Score):
    """Right where the law was built from logits."""

    def gradient_term(self, draw, cost):
        d = draw.dist
        if isinstance(d, Bernoulli) and "probs" in d.__dict__:
            d = Bernoulli(probs=d.probs.detach() + 0.9 * (d.probs - d.probs.detach()))
        return pg.Draw(dist=d, value=draw.value).score_term(cost)[0]


class FirstElement(Score):
    """Scores one element of a joined event alone."""

    def gradient_term(self, draw, cost):
        d = draw.dist
        if not isinstance(d, Independent):
            return super().gradient_term(draw, cost)
        log_prob = d.base_dist.log_prob(draw.value[0])[..., 0]
        return cost[0].detach() * (log_prob - log_prob.detach())


class NotANumber(Score):
    """A gradient that is not a number where a draw is zero."""

    def gradient_term(self, draw, cost):
        log_prob = draw.log_prob[0]
        root = (
            torch.where(draw.row == 0, log_prob * 0, log_prob - log_prob).abs().sqrt()
        )
        return super().gradient_term(draw, cost) + (root - root.detach())


class WideScale(Path):
    """Draws a little too widely."""

    def draw(self, dist):
        return super().draw(Normal(dist.loc, 1.1 * dist.scale))

    def refusal(self, dist):
        return None if type(dist) in (Normal, *Normal.__subclasses__()) else "Normals"


class DetachedPath(Path):
    """The path of the scale is lost."""

    def draw(self, dist):
        if isinstance(dist, Normal):
            dist = type(dist)(dist.loc, dist.scale.detach())
        return super().draw(dist)


class LearnsOnTheWay(Path):
    """A control variate, fitted in ``backward`` just before it is used there."""

    def __init__(self):
        super().__init__()
        self.register_buffer("slope", torch.zeros(()))

    def draw(self, dist):
        drawn = super().draw(dist)
        if drawn.value.requires_grad:
            noise = ((drawn.value - dist.loc) / dist.scale).detach()
            drawn.value.register_hook(lambda g: self.corrected(g, noise**2 - 1))
        return drawn

    def corrected(self, gradient, column):
        found = (gradient * column).mean().to(self.slope)
        self.slope = 0.9 * self.slope + 0.1 * found
        return gradient - self.slope * column

    def refusal(self, dist):
        return None if type(dist).__name__ in ("Normal", "Bell") else "only Normals"


class TwiceCounted(Path):
    """The path and the score."""

    def gradient_term(self, draw, cost):
        return draw.score_term(cost)[0]


class NeedsGraph(Score):
    """Right only where the cost has a gradient."""

    def gradient_term(self, draw, cost):
        return draw.score_term(cost if cost.requires_grad else 0.5 * cost)[0]


class RefusesAll(Score):
    """Serves nothing."""

    def refusal(self, dist):
        return "not this one"


class OutsideTheSupport(Score):
    """Rows that the law cannot draw."""

    def draw(self, dist):
        drawn = super().draw(dist)
        return pg.Draw(dist=dist, value=drawn.value - 0.25)

    def refusal(self, dist):
        return None if isinstance(dist, Bernoulli) else "only coins"


class TwoWholeRows(Score):
    """Weights that sum to two."""

    traits = dataclasses.replace(Score.traits, cost_evaluations=2)

    def draw(self, dist):
        rows = torch.stack([dist.sample(), dist.sample()])
        return pg.Draw(dist=dist, value=rows, weight=rows.new_ones(2, 1))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost).sum(0)

    def refusal(self, dist):
        return None if isinstance(dist, Bernoulli) else "only coins"


class ChangesWeights(Score):
    """Weighs its two rows anew once their costs are known."""

    traits = dataclasses.replace(Score.traits, cost_evaluations=2)

    def draw(self, dist):
        value = torch.stack([dist.sample(), dist.sample()])
        weight = torch.full((2, *(1,) * len(dist.batch_shape)), 0.5)
        return pg.Draw(dist=dist, value=value, weight=weight.to(torch.float64))

    def gradient_term(self, draw, cost):
        draw.weight = 0.9 * draw.weight
        return super().gradient_term(draw, cost)


class ValueLeaks(Score):
    """A term that is not zero."""

    def gradient_term(self, draw, cost):
        return super().gradient_term(draw, cost) + 1e-12


class WrongShape(Score):
    """One term for the whole batch."""

    def gradient_term(self, draw, cost):
        return super().gradient_term(draw, cost).sum()


class PathwiseInName(Score):
    """Declares a path and has none."""

    traits = dataclasses.replace(Score.traits, pathwise=True)


class Moody(Score):
    """Serves a law every second time."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def refusal(self, dist):
        self.asked += 1
        return None if self.asked % 2 else "not now"


class RefusalRaises(Score):
    """Refuses with an error of its own."""

    def refusal(self, dist):
        if not isinstance(dist, Bernoulli):
            raise NotImplementedError("only coins")


class BadCopies(MovingAverage):
    """A copy forgets what was learned."""

    def __deepcopy__(self, memo):
        return type(self)()


class AllOrNothing(Score):
    """Takes gradients for every parameter of the law."""

    def gradient_term(self, draw, cost):
        law = draw.dist
        if isinstance(law, Normal) and not law.loc.requires_grad:
            return None
        return super().gradient_term(draw, cost)


class WrongInSingle(Score):
    """Right in double precision alone."""

    def gradient_term(self, draw, cost):
        if cost.dtype == torch.float32:
            cost = 0.8 * cost
        return draw.score_term(cost)[0]


class SecondTime(Score):
    """Wrong at every second estimate."""

    def __init__(self):
        super().__init__()
        self.register_buffer("odd", torch.zeros(()))

    def gradient_term(self, draw, cost):
        return (1 - 0.5 * self.odd.to(cost)) * super().gradient_term(draw, cost)

    def update(self, draw, cost):
        self.odd = 1 - self.odd


class OnlyTriples(Score):
    """Wrong with three particles of a program alone."""

    def gradient_term(self, draw, cost):
        dim = draw.particle_dim
        if dim is not None and cost.shape[dim] == 3:
            cost = cost - cost.detach().mean(dim, keepdim=True)
        return draw.score_term(cost)[0]


class WrongInPrograms(ScoreOfGammas):
    """Right where there is one draw."""

    def gradient_term(self, draw, cost):
        term = super().gradient_term(draw, cost)
        return term if self.site is None else 0.7 * term


# What has to catch each fault; others may as well.
CAUGHT_BY = {
    SmallScale: "small_batches",
    ScaleSign: "unbiased_gradient",
    BatchMean: "unbiased_gradient",
    BatchBaseline: "small_batches",
    Leak: "small_batches",
    LearnsInDraw: "small_batches",
    LateBias: "small_batches",
    OnlyPairs: "unbiased_gradient",
    Standardised: "many_draws_of_one_law",
    Clipped: "small_batches",
    PythonRandom: "seeds_reproduce",
    Reseeds: "draws_are_fresh",
    HiddenSeed: "seeds_reproduce",
    SinglePrecision: "draws_have_their_shape",
    FirstOrder: "hessian",
    SharedDraw: "particles_are_independent",
    MirroredParticles: "particles_are_independent",
    RemembersOnItself: "terms_depend_on_their_draw_alone",
    InPlace: "inputs_are_left_alone",
    HiddenState: "state_dicts_carry_the_state",
    SizedState: "batch_sizes_may_change",
    ServesAll: "draws_have_their_shape",
    LateRefusal: "draws_have_their_shape",
    HidesDifferentiability: "unbiased_gradient",
    HidesDensity: "needs_name_the_density",
    WeightsDetached: "unbiased_gradient",
    WeightsOfOneRow: "unbiased_gradient",
    CountsAuxiliaryRows: "unbiased_gradient",
    WrongRowCount: "rows_are_as_declared",
    RowsTooMany: "rows_are_as_declared",
    RowsOfNoSize: "rows_are_as_declared",
    CoupledRows: "rows_are_independent",
    WrongSignOfOneRow: "unbiased_gradient",
    HalfDisarm: "unbiased_gradient",
    LogitsOnly: "unbiased_gradient",
    FirstElement: "unbiased_gradient",
    NotANumber: "composition",
    WideScale: "unbiased_gradient",
    DetachedPath: "composition",
    TwiceCounted: "unbiased_gradient",
    NeedsGraph: "costs_without_gradient",
    RefusesAll: "it_serves_a_problem",
    OutsideTheSupport: "draws_lie_in_the_support",
    TwoWholeRows: "weights_sum_to_one",
    ChangesWeights: "the_weighted_costs_are_reported",
    ValueLeaks: "terms_are_zero",
    WrongShape: "terms_have_the_batch_shape",
    PathwiseInName: "paths_need_no_term",
    Moody: "laws_are_served_alike",
    RefusalRaises: "refusals_are_errors",
    BadCopies: "copies_continue_alike",
    LearnsOnTheWay: "only_the_past_is_learned_from",
    AllOrNothing: "some_parameters_constant",
    WrongInSingle: "single_precision",
    SecondTime: "particles_one_by_one",
    OnlyTriples: "side_by_side",
    WrongInPrograms: "composition",
}
# NumPy's generator is moved, and the rows' dtype is not kept, by these as well.
ALSO = {
    PythonRandom: "other_generators_are_left_alone",
    SinglePrecision: "dtypes_are_kept",
}
