"""No data: the data set of an imported network."""

from __future__ import annotations

from cnnrun.data.dataset import Dataset
from cnnrun.errors import UserError
from cnnrun.registry import datasets


@datasets.register("none")
def none() -> Dataset:
    """No images, for the config of an imported network: `eval` and `viz` need a data set.

    Raises:
        UserError: always, once images are needed.
    """
    raise UserError(
        "this network was imported without data; name a data set, e.g. "
        "dataset.name=folder dataset.root=FOLDER"
    )
