"""A penalty on what layers give: cnnrun train digits_cnn task=sparse_activations --plugin examples/activation_penalty.py

The mean size of every ReLU's output is added to the loss, so that fewer units answer.
"""

from torch import nn

from cnnrun.plugin import Classify, TrainingStep, tasks


@tasks.register("sparse_activations")
class SparseActivations(Classify):
    """Classification with few active units."""

    def __init__(self, *, strength: float = 0.1) -> None:
        super().__init__()
        self.strength = strength

    def train_step(self, step: TrainingStep) -> None:
        sizes = []  # of each layer, for each image: (N,)
        hooks = [
            layer.register_forward_hook(
                lambda _, __, out: sizes.append(out.abs().flatten(1).mean(1))
            )
            for layer in step.model.modules()
            if isinstance(layer, nn.ReLU)
        ]
        losses, outputs = step.forward()
        for hook in hooks:
            hook.remove()
        step.minimize(losses + self.strength * sum(sizes))
        step.record(losses, outputs)
