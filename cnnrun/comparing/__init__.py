"""Many runs: finding them, grouping them by what differs, and what can be claimed of them.

Whatever left the runs behind: a shell loop, a sweep. Needs neither torch nor the data.
"""
