"""Where pictures come from. Each source is a function that returns a `Dataset`.

A new one is a file here with `@datasets.register("name")` over a function whose keyword-only
parameters are its YAML keys, and a line below.
"""

from cnnrun.data.sources import cifar, digits, idx

__all__ = ["cifar", "digits", "idx"]
