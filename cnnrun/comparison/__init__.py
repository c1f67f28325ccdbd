"""Many runs: finding them, grouping them by what differs, and what can be claimed of them.

    comparison = compare(group_runs(find_runs(["runs"])))
    print(comparison.as_text())

Whatever left the runs behind: a shell loop, a study, a sweep. Needs neither torch nor the data.
"""

from cnnrun.comparison.compare import Comparison, Difference, Result, compare
from cnnrun.comparison.groups import Group, group_runs
from cnnrun.comparison.runs import Run, find_runs, read_run

__all__ = [
    "Comparison",
    "Difference",
    "Group",
    "Result",
    "Run",
    "compare",
    "find_runs",
    "group_runs",
    "read_run",
]
