"""Losses: one file a family. A loss gives one number a sample, see ARCHITECTURE.md."""

from cnnrun.losses import classification

__all__ = ["classification"]
