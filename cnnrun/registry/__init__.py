"""Names to factories: one `Registry` for each kind of component, all listed at the end.

A factory is a class or function. Its signature is the only place where its parameters are written:

* parameters before the `*` are *given* by cnnrun, by name (`input_shape`, `num_classes` ...);
* parameters after the `*` are the component's YAML keys; their annotations and defaults are the
  schema (pydantic), the text of `cnnrun list` and the editor's completion.

    @models.register("tiny")
    class Tiny(nn.Module):
        \"\"\"One line that `cnnrun list` prints.\"\"\"

        def __init__(self, input_shape, num_classes, *, width: int = 8): ...

A registry imports its package at the first look-up, so importing this module costs nothing heavy.
"""

from cnnrun.registry.entry import Entry as Entry
from cnnrun.registry.kind import Registry as Registry
from cnnrun.registry.nested import Named as Named
from cnnrun.registry.nested import Nested as Nested
from cnnrun.registry.options import Component as Component
from cnnrun.registry.options import Options as Options
from cnnrun.registry.options import as_mapping as as_mapping

tasks = Registry(
    "task",
    "cnnrun.components.tasks",
    product="cnnrun.components.tasks.task:Task",
    words="A task is a class derived from cnnrun.plugin.Task",
)
datasets = Registry(
    "dataset",
    "cnnrun.data.sources",
    "cnnrun.data.options:dataset_options",
    product="cnnrun.data.dataset:Dataset",
    words="A dataset is a function that returns a cnnrun.plugin.Dataset",
)
augmentations = Registry(
    "augmentation",
    "cnnrun.data.augmentations",
    product="cnnrun.data.augmentations.base:Applicable",
    words="An augmentation is a class derived from Photometric, Geometric or Mixing of "
    "cnnrun.plugin; it works on a whole batch, on the device",
)
models = Registry(
    "model",
    "cnnrun.models",
    product="torch.nn:Module",
    words="A model is a torch.nn.Module",
)
activations = Registry(
    "activation",
    "cnnrun.models.activations",
    product="torch.nn:Module",
    words="An activation is a function that returns a torch.nn.Module",
)
initializers = Registry(
    "initializer",
    "cnnrun.components.initializers",
    words="An initializer is a function that fills the tensor `weight`",
)
losses = Registry(
    "loss",
    "cnnrun.components.losses",
    product="torch.nn:Module",
    words="A loss is a torch.nn.Module: forward(outputs, targets) gives (N,) losses",
)
optimizers = Registry(
    "optimizer",
    "cnnrun.components.optimizers",
    product="torch.optim:Optimizer",
    words="An optimizer is a torch.optim.Optimizer, or a function that returns one",
)
schedules = Registry(
    "schedule",
    "cnnrun.components.schedules",
    "cnnrun.components.schedules:ScheduleOptions",
    product="cnnrun.components.schedules:Schedule",
    words="A schedule is a class derived from cnnrun.plugin.Schedule, with a method factor(step)",
)
plots = Registry(
    "plot",
    "cnnrun.plots",
    product="matplotlib.figure:Figure",
    words="A plot is a function that returns a cnnrun.plugin.Figure",
)
loggers = Registry(
    "logger",
    "cnnrun.runs.loggers",
    product="cnnrun.runs.loggers.logger:Logger",
    words="A logger is a class derived from cnnrun.plugin.Logger",
)

KINDS = {
    registry.kind: registry
    for registry in (
        tasks,
        datasets,
        augmentations,
        models,
        activations,
        initializers,
        losses,
        optimizers,
        schedules,
        plots,
        loggers,
    )
}
