"""`python -m tests.fuzz --count 500 --first 0`: differences between the ways of training."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.campaign import campaign

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    sys.exit(1 if campaign(given.first, given.count) else 0)
