"""Source text of third-party plugins."""


def estimator(name: str, cls: str = "Outsider") -> str:
    """Return a module that registers one score function under ``name``."""
    return f'''
import pgplugins as pg


class {cls}(pg.Estimator):
    """Score function, written elsewhere."""

    name = "{name}"
    traits = pg.Traits(unbiased=True, needs=frozenset({{"log_prob"}}))

    def draw(self, dist):
        return pg.Draw(dist=dist, value=dist.sample().unsqueeze(0))

    def gradient_term(self, draw, cost):
        return draw.score_term(cost)[0]


@pg.hookimpl
def pgplugins_register_estimators():
    return [{cls}]
'''
