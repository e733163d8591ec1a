"""Losses that are no mean over particles."""
