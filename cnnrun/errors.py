"""What a person sees when something is wrong: one short message, and an exit code for scripts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right. The command line prints the message, never a traceback.

    Bugs in cnnrun are ordinary exceptions and asserts.
    """

    exit_code = 1


class ConfigError(UserError):
    """The experiment or the command is written wrongly; every problem found is in the message."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class Interrupted(UserError):
    """SIGINT (130) or SIGTERM (143) ended the run after its state was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest of `choices`, or nothing when none is near.

    Hyphens and case are forgiven before the distance is measured.
    """
    plain = {choice.lower().replace("-", "_"): choice for choice in choices}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=0.55)
    return f"; did you mean '{plain[near[0]]}'?" if near else ""
