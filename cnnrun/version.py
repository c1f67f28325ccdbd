"""The version of cnnrun, importable from everywhere in the package."""

__version__ = "0.1.0"

RESULTS = 1
"""Increased with each version in which older configs give other results."""
