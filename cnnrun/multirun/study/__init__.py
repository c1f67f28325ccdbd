"""Studies: several variants of an experiment under several seeds, and the findings.

A study is a YAML file over the runner: `spec.py` reads it, `study.py` trains what is missing,
`findings.py` says what was found, `figures.py` draws it, `diagnosis.py` says why one didn't learn.
"""
