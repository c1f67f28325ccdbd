"""From an experiment to a finished run directory: start, resume, finish."""

from cnnrun.runner.checking import check
from cnnrun.runner.resuming import resume, resume_or_start
from cnnrun.runner.starting import train

__all__ = ["check", "resume", "resume_or_start", "train"]
