"""Sweeps: many runs, shared by any number of processes and machines.

spec, space     the YAML file: what varies, over which values
plan, job       every point resolved to complete experiments and commands
workers, queue  processes side by side, given jobs by a queue (a list, or a sweep's trials)
storage, trial_queue, liveness   the trials in Optuna's storage, claimed, continued, given back
results         the table
sweep           the whole of it

Every run is a plain `cnnrun train`, so each can be repeated alone.
"""
