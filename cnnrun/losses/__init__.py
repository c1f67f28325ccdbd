"""Losses: one file a family. A loss gives one number a sample, so that means are over samples."""

from cnnrun.losses import classification, pixels

__all__ = ["classification", "pixels"]
