"""What the exact bits of a result may depend on besides the config."""

from __future__ import annotations

import platform
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

EQUAL_BITS = (
    "The same config gives the same bits on a machine of the same kind with the same versions, "
    "device and number of threads. On a GPU some algorithms add in any order: "
    "training.deterministic=true takes others or fails. Elsewhere figures differ in their last "
    "digits, and training enlarges that."
)
"""What `environment.json` says about exact repeatability."""


def describe_environment(device: str) -> dict[str, Any]:
    """What the exact bits of a result may depend on: versions, machine, device, command."""
    import numpy
    import torch

    from cnnrun.version import __version__

    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "directory": str(Path.cwd()),
        "cnnrun": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if device.startswith("cuda") else None,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": device,
        "bits": EQUAL_BITS,
    }
