"""Stands for `cnnrun train CONFIG key=value ...` where a test is about who trains what and when.

It leaves the same files in the same places, but knows the score at once: 1 - optimizer.lr. With
lr > 1 it fails as a diverged run does. `SECONDS` of an epoch and a list of starts are in the
environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from cnnrun.config.document import read
from cnnrun.config.yaml_words import dump
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime.files import write_json


def before_epoch(epoch: int, lr: float) -> None:  # noqa: ARG001 (a test may put another here)
    time.sleep(float(os.environ.get("SECONDS", "0")))


def main(arguments: list[str]) -> None:
    assert arguments[0] == "train"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "--seeds" in arguments:
        place = arguments.index("--seeds")
        if os.environ.get("TOGETHER") == "fails":
            sys.exit("error: seeds: not this model")
        for seed in arguments[place + 1].split(","):
            main([*arguments[:place], f"seed={seed}", *arguments[place + 2 :]])
        return
    if arguments[1] == "--resume":
        run = RunDirectory(Path(arguments[2]))
    else:
        document = read(Path(arguments[1]))
        for change in arguments[2:]:
            if "=" in change:
                document.override(change)
        values = document.values
        run = RunDirectory.create(Path(values["output"]), values["name"])
        run.config.write_text(dump(values))
    values = read(run.config).values
    with Path(os.environ["STARTS"]).open("a") as starts:
        starts.write(f"{values['optimizer']['lr']} {values['seed']} {arguments[1]}\n")
    lr = values["optimizer"]["lr"]
    if lr > 1:
        sys.exit("error: the loss is not a number")
    row = {}
    for epoch in range(len(run.read_metrics()), values["training"]["epochs"]):
        before_epoch(epoch, lr)
        row = {"epoch": epoch + 1, "validation_accuracy": 1 - lr, "validation_loss": lr}
        run.append_metrics(row)
    write_json(run.summary, {"best": {} if os.environ.get("SCORE") == "none" else row})
    if os.environ.get("SAYS") != "nothing":
        print(run.path)


if __name__ == "__main__":
    main(sys.argv[1:])
