"""Knowing instead of guessing: which estimator is right for the problem at hand."""
