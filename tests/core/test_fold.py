"""The fold by hand: plates, rows, shared costs, and what cannot be folded."""

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal

import pgplugins as pg
from pgplugins.core.algebra import zero_valued
from pgplugins.core.draw import Draw
from pgplugins.core.fold import average_rows, fold
from pgplugins.core.terms import CostTerm, Plate, Site

N = Plate("N", -1, 3)
M = Plate("M", -2, 2)
THETA = torch.tensor([0.3, -0.4, 1.1], dtype=torch.float64, requires_grad=True)
POINT = torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64)


class Recorder(pg.Estimator):
    """A plain score function that shows the signal it was given."""

    name = "recorder"
    traits = pg.Traits(unbiased=True, needs=frozenset({"log_prob"}), own_score="drop")

    def __init__(self):
        super().__init__()
        self.seen, self.calls = None, []

    def draw(self, dist):
        raise NotImplementedError

    def gradient_term(self, draw, cost):
        self.seen = cost.detach()
        self.calls.append("term")
        return draw.score_term(cost)[0]

    def update(self, draw, cost):
        assert torch.equal(cost.detach(), self.seen)
        self.calls.append("update")


def site(name, bit, law, value, plates=(), upstream=0, row_dim=None, weight=None):
    draw = Draw(dist=law, value=value, weight=weight)
    return Site(name, Recorder(), draw, frozenset(plates), bit, upstream, row_dim)


def term(name, value, plates, upstream):
    return CostTerm(name, value, frozenset(plates), upstream)


def score(x, theta=THETA, scale=1.0):
    return (x - theta.detach()) / scale**2


def total(costs):
    return sum(cost.value.sum() for cost in costs)


def gradient(costs):
    (found,) = torch.autograd.grad(total(costs), THETA)
    return found


def plated():
    return site("z", 1, Normal(THETA, 1.0), POINT.unsqueeze(0), [N])


def test_a_site_sees_only_what_is_downstream():
    z = plated()
    down, up = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])
    costs = fold([z], [term("d", down, [N], 1), term("u", up, [N], 0)])
    assert torch.equal(z.estimator.seen, down.unsqueeze(0))
    assert z.estimator.calls == ["term", "update"]
    assert total(costs).item() == 66.0
    torch.testing.assert_close(gradient(costs), down * score(POINT))


def test_plates_foreign_to_a_site_are_summed_out():
    z = plated()
    value = torch.arange(6.0).reshape(2, 3)
    costs = fold([z], [term("c", value, [N, M], 1)])
    torch.testing.assert_close(gradient(costs), value.sum(0) * score(POINT))


def test_a_site_outside_the_plate_sees_the_whole_sum():
    z = site("z", 1, Normal(THETA[0], 1.0), POINT[:1])
    costs = fold([z], [term("c", torch.tensor([1.0, 2.0, 3.0]), [N], 1)])
    want = torch.zeros(3, dtype=torch.float64)
    want[0] = 6 * score(POINT)[0]
    torch.testing.assert_close(gradient(costs), want)


def test_a_cost_shared_by_a_plate_meets_every_score_whole():
    z = plated()
    costs = fold([z], [term("c", torch.tensor(5.0), [], 1)])
    torch.testing.assert_close(gradient(costs), 5 * score(POINT))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)])
def test_a_shared_cost_counts_once_in_value_and_path(shape):
    z = plated()
    shared = (THETA.prod() * 2).reshape(shape)
    costs = fold([z], [term("c", shared, [], 1)])
    assert total(costs).item() == pytest.approx(shared.item())
    path = 2 * THETA.detach().prod() / THETA.detach()
    torch.testing.assert_close(gradient(costs), path + shared.item() * score(POINT))


def test_a_term_made_of_the_signals_own_path_counts_a_shared_cost_once():
    class Path(Recorder):
        def gradient_term(self, draw, cost):
            self.seen = cost.detach()
            return zero_valued(cost[0])

    z = plated()
    z.estimator = Path()
    costs = fold([z], [term("c", THETA.prod(), [], 1)])
    path = THETA.detach().prod() / THETA.detach()
    torch.testing.assert_close(gradient(costs), 2 * path)  # the cost's own and the term


@pytest.mark.parametrize("first_order", [False, True])
def test_a_fold_for_first_derivatives_has_the_same_ones(first_order):
    z = plated()
    value = THETA * torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    costs = fold([z], [term("c", value, [N], 1)], first_order=first_order)
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    want = weights + weights * THETA.detach() * score(POINT)
    torch.testing.assert_close(gradient(costs), want)


def test_a_cost_that_lacks_one_of_the_plates_is_shared_along_it_only():
    law = Normal(THETA.expand(2, 3), 1.0)
    value = torch.stack([POINT, POINT + 1])
    z = site("z", 1, law, value.unsqueeze(0), [N, M])
    along_m = torch.tensor([[7.0], [9.0]])
    costs = fold([z], [term("c", along_m, [M], 1)])
    assert torch.equal(z.estimator.seen, along_m.expand(2, 3).unsqueeze(0))
    assert total(costs).item() == 16.0
    torch.testing.assert_close(gradient(costs), (along_m * score(value)).sum(0))


def test_terms_of_later_sites_reach_attached_parents():
    x = THETA.exp()  # a pathwise value, upstream of z's parameters
    z = site("z", 2, Normal(x, 1.0), POINT.unsqueeze(0), [N], upstream=1)
    costs = fold([z], [term("c", torch.tensor([1.0, 2.0, 3.0]), [N], 3)])
    s = POINT - x.detach()
    torch.testing.assert_close(
        gradient(costs), torch.tensor([1.0, 2.0, 3.0]) * s * x.detach()
    )


def test_a_term_is_downstream_of_its_sites_parents_and_no_longer_of_the_site():
    a = site("a", 1, Normal(THETA[0], 1.0), POINT[:1])
    z = site("z", 2, Normal(THETA, 1.0), POINT.unsqueeze(0), [N], upstream=1)
    costs = fold([a, z], [term("c", torch.ones(3), [N], 2 | 4)])
    added = {c.name: c for c in costs}
    assert added["z"].upstream == 1 | 4
    assert added["z"].plates == {N}
    assert torch.equal(added["z"].value, torch.zeros_like(added["z"].value))
    # The term is zero, so it adds nothing to the signal of a.
    assert not a.estimator.seen.any()


def test_a_site_without_downstream_costs_is_left_alone():
    z = plated()
    costs = fold([z], [term("c", torch.ones(3), [N], 0)])
    assert z.estimator.calls == []
    assert [c.name for c in costs] == ["c"]


def enumerated(bit=1, row_dim=-2, plates=(N,), law=None):
    law = law or Bernoulli(logits=THETA)
    rows = torch.tensor([0.0, 1.0], dtype=torch.float64)
    value = rows.reshape(2, *(1,) * len(law.batch_shape)).expand(2, *law.batch_shape)
    weight = law.log_prob(value).exp()
    made = site("b", bit, law, value, plates, row_dim=row_dim, weight=weight)
    made.estimator = pg.estimator("enumerate")
    return made


def test_rows_are_averaged_with_their_weights():
    b = enumerated()
    cost = torch.tensor([[1.0, 2.0, 3.0], [5.0, -6.0, 7.0]], dtype=torch.float64)
    costs = fold([b], [term("c", cost, [N], 1)])
    p = torch.sigmoid(THETA)
    want = ((1 - p) * cost[0] + p * cost[1]).sum()
    torch.testing.assert_close(total(costs), want)
    (exact,) = torch.autograd.grad(want, THETA)
    torch.testing.assert_close(gradient(costs), exact)
    assert all(c.upstream == 0 for c in costs)


def test_equal_weights_are_a_mean():
    z = site("z", 1, Normal(THETA, 1.0), torch.randn(4, 3), [N], row_dim=-2)
    cost = torch.randn(4, 3)
    (averaged,) = average_rows([z], [term("c", cost, [N], 1)])
    torch.testing.assert_close(averaged.value, cost.mean(0, keepdim=True))


def test_costs_without_the_rows_are_not_averaged():
    b = enumerated()
    cost = torch.ones(3, dtype=torch.float64)
    (left,) = average_rows([b], [term("c", cost, [N], 1)])
    assert torch.equal(left.value, cost)


def test_a_later_site_sees_the_rows_of_an_earlier_one_apart():
    b = enumerated(row_dim=-2)
    x = POINT.expand(2, 3)
    z = site("z", 2, Normal(THETA.expand(2, 3), 1.0), x.unsqueeze(0), [N], upstream=1)
    cost = torch.tensor([[1.0, 2.0, 3.0], [5.0, -6.0, 7.0]], dtype=torch.float64)
    costs = fold([b, z], [term("c", cost, [N], 3)])
    assert torch.equal(z.estimator.seen, cost.unsqueeze(0))
    p = torch.sigmoid(THETA.detach())
    by_weight = p * (1 - p) * (cost[1] - cost[0])
    by_score = ((1 - p) * cost[0] + p * cost[1]) * score(POINT)
    torch.testing.assert_close(gradient(costs), by_weight + by_score)


def test_two_enumerated_sites_make_the_product():
    first = enumerated(bit=1, row_dim=-2)
    second = enumerated(bit=2, row_dim=-3)
    cost = torch.randn(2, 2, 3, dtype=torch.float64)  # (second, first, N)
    costs = fold([first, second], [term("c", cost, [N], 3)])
    p = torch.stack([1 - torch.sigmoid(THETA), torch.sigmoid(THETA)])
    want = (p[:, None] * p[None] * cost).sum()
    torch.testing.assert_close(total(costs), want)
    (exact,) = torch.autograd.grad(want, THETA)
    torch.testing.assert_close(gradient(costs), exact)


def test_a_global_cost_on_an_enumerated_plate_is_refused():
    b = enumerated()
    cost = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    with pytest.raises(pg.PgpluginsError) as caught:
        fold([b], [term("joint", cost, [], 1)])
    for word in ("'b'", "enumerate", "'N'", "'joint'", "to_event", "score_function"):
        assert word in str(caught.value)


def test_the_same_site_with_to_event_is_averaged():
    law = Independent(Bernoulli(logits=THETA), 1)
    rows = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    b = site("b", 1, law, rows, row_dim=-1, weight=law.log_prob(rows).exp())
    b.estimator = pg.estimator("enumerate")
    cost = rows.prod(-1)
    costs = fold([b], [term("joint", cost, [], 1)])
    torch.testing.assert_close(total(costs), torch.sigmoid(THETA).prod())


def test_a_dimension_that_is_not_the_sites_rows_is_refused():
    b = enumerated()
    cost = torch.ones(5, 3, dtype=torch.float64)
    with pytest.raises(pg.PgpluginsError, match=r"size 5.*2 rows.*'b'"):
        fold([b], [term("c", cost, [N], 1)])


def test_a_term_of_the_wrong_shape_is_refused():
    class Summed(Recorder):
        def gradient_term(self, draw, cost):
            self.seen = cost.detach()
            return draw.score_term(cost).sum()

    z = plated()
    z.estimator = Summed()
    with pytest.raises(pg.PgpluginsError, match=r"Summed.*\(\).*'z'.*\(3,\)"):
        fold([z], [term("c", torch.ones(3), [N], 1)])


def test_many_sites_and_costs_in_any_order_sum_what_is_downstream():
    torch.manual_seed(1)
    count = 7
    sites = [
        site(f"z{i}", 1 << i, Normal(THETA, 1.0), torch.randn(1, 3), [N])
        for i in range(count)
    ]
    masks = torch.randint(0, 2**count, (20,)).tolist()
    values = [torch.randn(3, dtype=torch.float64) for _ in masks]
    fold(sites, [term(str(m), v, [N], m) for m, v in zip(masks, values, strict=True)])
    for i, z in enumerate(sites):
        want = sum(v for m, v in zip(masks, values, strict=True) if m >> i & 1)
        torch.testing.assert_close(z.estimator.seen[0], want)
