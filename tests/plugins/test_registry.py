"""Estimators by name: look-up, options, registration by hand."""

import pytest

import pgplugins as pg
from pgplugins.errors import (
    InputError,
    PluginWarning,
    RegistrationError,
    UnknownEstimatorError,
)
from pgplugins.plugins import estimator_class, owner_of
from tests.plugins.sources import estimator


def define(name="mine", cls="Mine", **members):
    """Return a new estimator class; a member that is ``None`` is left out."""
    complete = {
        "name": name,
        "traits": pg.Traits(unbiased=True, needs=frozenset({"log_prob"})),
        "draw": lambda self, dist: pg.Draw(dist, dist.sample().unsqueeze(0)),
        "gradient_term": lambda self, draw, cost: draw.score_term(cost)[0],
        **members,
    }
    kept = {key: value for key, value in complete.items() if value is not None}
    return type(cls, (pg.Estimator,), kept)


class WithOptions(pg.Estimator):
    """Has one option that must be given and one that need not."""

    name = "with_options"
    traits = pg.Traits(unbiased=True)

    def __init__(self, size, *, temperature=0.5):
        super().__init__()
        self.size, self.temperature = size, temperature

    def draw(self, dist):
        raise NotImplementedError

    def gradient_term(self, draw, cost):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("reinforce", "score_function"),
        ("pathwise", "reparameterized"),
        ("reparam", "reparameterized"),
    ],
)
def test_aliases_stand_for_an_estimator_but_are_not_listed(alias, name):
    assert type(pg.estimator(alias)) is type(pg.estimator(name))
    assert pg.estimator(alias).name == name
    assert owner_of(alias) == "pgplugins"
    assert name in pg.available()
    assert alias not in pg.available()


def test_every_name_gives_a_new_instance_of_its_class():
    for name in pg.available():
        one, two = pg.estimator(name), pg.estimator(name)
        assert one.name == name
        assert one is not two


def test_an_instance_is_returned_as_it_is():
    instance = pg.estimator("hybrid")
    assert pg.estimator(instance) is instance
    with pytest.raises(InputError, match=r"size.*configured already"):
        pg.estimator(instance, size=3)


def test_a_class_is_instantiated_without_being_registered(manager):
    made = pg.estimator(WithOptions, size=3)
    assert isinstance(made, WithOptions)
    assert (made.size, made.temperature) == (3, 0.5)
    assert "with_options" not in pg.available()


def test_options_reach_the_constructor(manager):
    pg.register(WithOptions)
    made = pg.estimator("with_options", size=7, temperature=2.0)
    assert (made.size, made.temperature) == (7, 2.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"size": 1, "temprature": 1.0},
            ["'temprature'", "mean 'temperature'", "size"],
        ),
        ({"size": 1, "xyzzy": 1.0}, ["'xyzzy'", "size, temperature"]),
        ({"temperature": 1.0}, ["'size'", "size=..."]),
    ],
)
def test_wrong_options_are_named(manager, options, words):
    pg.register(WithOptions)
    with pytest.raises(InputError) as caught:
        pg.estimator("with_options", **options)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_estimator_without_options_says_so(manager):
    pg.register(define("bare"))
    with pytest.raises(InputError, match=r"'size'.*no options"):
        pg.estimator("bare", size=1)


def test_a_constructor_that_takes_anything_is_trusted(manager):
    def __init__(self, **options):
        pg.Estimator.__init__(self)
        self.options = options

    pg.register(define("open_ended", __init__=__init__))
    assert pg.estimator("open_ended", anything=1).options == {"anything": 1}


def test_an_unknown_name_is_corrected():
    with pytest.raises(UnknownEstimatorError) as caught:
        pg.estimator("score_functoin")
    message = str(caught.value)
    assert "'score_functoin'" in message
    assert "Did you mean 'score_function'?" in message
    assert all(name in message for name in pg.available())


def test_an_unknown_name_close_to_an_alias_is_corrected():
    with pytest.raises(UnknownEstimatorError, match="mean 'reinforce'"):
        pg.estimator("reinforced")


def test_an_unknown_name_mentions_the_plugins_that_were_left_out(install):
    install("boom", "raise RuntimeError('boom')")
    with (
        pytest.warns(PluginWarning),
        pytest.raises(UnknownEstimatorError, match=r"pgplugins list.*boom"),
    ):
        pg.estimator("xyzzy")


@pytest.mark.parametrize("what", [None, 3, ["hybrid"], int])
def test_what_is_neither_name_nor_estimator_is_refused(what):
    with pytest.raises(pg.PgpluginsError, match=r"name|subclass"):
        pg.estimator(what)


def test_register_is_a_decorator_and_keeps_to_this_process(manager):
    @pg.register
    class Mine(pg.Estimator):
        name = "mine"
        traits = pg.Traits(unbiased=True)

        def draw(self, dist):
            raise NotImplementedError

        def gradient_term(self, draw, cost):
            raise NotImplementedError

    assert estimator_class("mine") is Mine
    assert "mine" in pg.available()
    assert owner_of("mine") == "this process"


def test_registering_a_class_twice_does_nothing(manager):
    cls = define()
    assert pg.register(cls) is cls
    assert pg.register(cls) is cls
    hybrid = estimator_class("hybrid")
    assert pg.register(hybrid) is hybrid
    assert owner_of("hybrid") == "pgplugins"


def test_a_cell_that_is_run_again_replaces_its_class(manager):
    first, second = define(), define()
    pg.register(first)
    pg.register(second)
    assert estimator_class("mine") is second


def test_a_taken_name_is_refused_with_both_owners(manager):
    before = estimator_class("hybrid")
    with pytest.raises(RegistrationError) as caught:
        pg.register(define("hybrid", "Twin"))
    message = str(caught.value)
    for word in ("'hybrid'", "Twin", "this process", "Hybrid", "pgplugins)"):
        assert word in message
    assert estimator_class("hybrid") is before


def test_a_name_taken_by_hand_is_refused_to_another_class(manager):
    first = pg.register(define(cls="First"))
    with pytest.raises(RegistrationError, match=r"Second.*First"):
        pg.register(define(cls="Second"))
    assert estimator_class("mine") is first


def test_an_alias_is_refused_as_a_name(manager):
    with pytest.raises(RegistrationError, match="alias of 'score_function'"):
        pg.register(define("reinforce"))


def test_a_plugin_cannot_take_what_was_registered_by_hand(install):
    mine = pg.register(define("shared"))
    install("late", estimator("shared"))
    with pytest.warns(PluginWarning, match="this process"):
        assert estimator_class("shared") is mine


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"name": None}, ["Mine", "name"]),
        ({"name": ""}, ["Mine", "name = ''"]),
        ({"name": "two words"}, ["Mine", "'two words'", "identifier"]),
        ({"name": 3}, ["Mine", "name = 3"]),
        ({"traits": None}, ["Mine", "no traits", "pgplugins.Traits"]),
        ({"traits": {"unbiased": True}}, ["Mine", "traits", "pgplugins.Traits"]),
        ({"draw": None}, ["Mine", "abstract", "draw"]),
        (
            {"draw": None, "gradient_term": None},
            ["Mine", "abstract", "draw, gradient_term"],
        ),
    ],
)
def test_an_incomplete_class_is_refused(manager, members, words):
    cls = define(**members) if "name" not in members else define(members["name"])
    with pytest.raises(RegistrationError) as caught:
        pg.register(cls)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "mine" not in pg.available()


@pytest.mark.parametrize("thing", [int, 3, "hybrid", lambda: None])
def test_what_is_no_estimator_class_is_refused(manager, thing):
    with pytest.raises(RegistrationError, match="class"):
        pg.register(thing)


def test_an_instance_is_refused_in_favour_of_its_class(manager):
    with pytest.raises(RegistrationError, match="by its class"):
        pg.register(define()())
