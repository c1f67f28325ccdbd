"""The data report: counts, duplicates, leakage and examples of a data set."""
