"""Errors of sweeps, cross-validation, and runs on other machines."""

from __future__ import annotations

from tests.errors import Case

SWEEPS = [
    Case("name a sweep file, or one to work on with --join URL|DIR",
         "You gave neither of them, or both.",
         "Give exactly one.",
         "sweep"),
    Case("--dry-run needs a sweep file",
         "A sweep that has started already has its trials.",
         "Pass the sweep file.",
         "sweep --join run --dry-run"),
    Case("no sweep (no sweep.yaml in it); start one: cnnrun sweep FILE",
         "The folder is not a sweep's folder.",
         "Pass the folder of a sweep.",
         "sweep --join run", code=1),
]  # fmt: skip

CROSSVAL = [
    Case("dataset.fold: crossval trains every fold; leave it out",
         "`dataset.fold` selects a single fold.",
         "Leave it out; set the number of folds with `--folds`.",
         "crossval x.yaml dataset.fold=1/5"),
    Case("fold 1, seed 0 failed: …: fold 1/500: 60 training images are too few for 500 folds",
         "Each fold needs at least one image.",
         "Use fewer folds.",
         "crossval x.yaml --folds 500", code=1),
    Case("there is no option --fold; did you mean '--folds'?",
         "The command has no option with this name.",
         "Use the suggested option; `cnnrun crossval -h` shows all.",
         "crossval x.yaml --fold 3"),
]  # fmt: skip

CLUSTERS = [
    Case("--on dask: expected local, ray, ray://HOST:PORT or slurm",
         "Runs are trained on this machine, on a Ray cluster, or by Slurm.",
         "Use one of the values shown.",
         "sweep digits_lr --on dask"),
    Case("--on ray needs the package `ray`: pip install 'cnnrun[ray]'",
         "Ray is an optional dependency.",
         "Run the command shown, on every machine.",
         "sweep digits_lr --on ray", code=1, without=("ray",)),
    Case("--on slurm needs the package `submitit`: pip install 'cnnrun[slurm]'",
         "Slurm jobs are submitted by an optional dependency.",
         "Run the command shown.",
         "sweep digits_lr --on slurm", code=1, without=("submitit",)),
    Case("--on slurm: this machine has no `srun` and `sbatch`",
         "Slurm's commands are not on the `PATH`.",
         "Start the sweep on a login node of the cluster.",
         "sweep digits_lr --on slurm", code=1),
    Case("--slurm gpu: write OPTION=VALUE, as in --slurm partition=gpu",
         "The option of sbatch has no value.",
         "Write its name and value.",
         "sweep digits_lr --on slurm --slurm gpu"),
    Case("--gpus: only works with --on ray or --on slurm",
         "On this machine, each run picks its GPU by itself.",
         "Leave the option out, or add `--on`.",
         "sweep digits_lr --gpus 1"),
    Case("--gpus 0.5: Slurm allocates whole GPUs; fractions of one need --on ray",
         "Several runs can share a GPU only on Ray.",
         "Use `--gpus 1`, or `--on ray`.",
         "sweep digits_lr --on slurm --gpus 0.5"),
]  # fmt: skip
