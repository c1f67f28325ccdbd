"""Optimizers: the usual ones, newer ones, and every other one of torch by its own name."""

from cnnrun.components.optimizers import from_torch, newer, usual

__all__ = ["from_torch", "newer", "usual"]
