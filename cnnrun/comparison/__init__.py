"""Many runs: find them, group them by what differs, and say what can be claimed.

    print(to_text(compare(group_runs(find_runs(["runs"])))))

For any runs: of a shell loop, a study, a sweep. Needs neither torch nor the data.
"""

from cnnrun.comparison.compare import compare
from cnnrun.comparison.groups import Group, group_runs
from cnnrun.comparison.results import Comparison, Difference, Result
from cnnrun.comparison.runs import RunRecord, find_runs, read_run
from cnnrun.comparison.text import to_dict, to_text

__all__ = [
    "Comparison",
    "Difference",
    "Group",
    "Result",
    "RunRecord",
    "compare",
    "find_runs",
    "group_runs",
    "read_run",
    "to_dict",
    "to_text",
]
