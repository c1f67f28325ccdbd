"""A metric of your own: cnnrun train digits_cnn task=classify_top3 --plugin examples/my_metric.py

What is measured belongs to the task. This one adds a metric to those of `classify`: it is in
`metrics.jsonl` for every epoch, and `training.monitor=top3` chooses the best epoch by it. `Metric`
says which way is up and how it is written; `cnnrun compare` and reports read that from the run.
"""

import torch
from torch import Tensor

from cnnrun.plugin import Classify, Metric, tasks


@tasks.register("classify_top3")
class ClassifyTop3(Classify):
    """Classification that is measured by the three likeliest classes, too."""

    epoch_metrics = (*Classify.epoch_metrics, "top3")
    metrics = (Metric("top3", True, unit="%", display_name="top-3 accuracy", format=".2f"),)

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sums over the samples, in the order of `epoch_metrics`."""
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        found = (outputs.topk(3, dim=1).indices == labels[:, None]).any(1)
        usual = super().sums(losses, outputs, targets)
        return torch.cat((usual, found.sum().to(usual.dtype)[None]))
