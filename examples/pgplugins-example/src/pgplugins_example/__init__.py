"""Pathwise gradients from stratified rows, as a plugin of pgplugins."""

import pgplugins as pg

from pgplugins_example.stratified import Stratified

__all__ = ["Stratified", "pgplugins_register_estimators"]


@pg.hookimpl
def pgplugins_register_estimators() -> list[type[pg.Estimator]]:
    """Offer the estimator to pgplugins."""
    return [Stratified]
