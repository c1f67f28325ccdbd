"""The version of cnnrun, where every floor of the package can read it."""

__version__ = "0.1.0"

RESULTS = 1
"""Raised with each version in which configs of older ones give other results."""
