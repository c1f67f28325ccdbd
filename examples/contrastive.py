"""Learn without labels, then look with a linear probe at what was learned:

cnnrun train digits_cnn task=contrastive --plugin examples/contrastive.py
cnnrun train digits_cnn 'transfer={weights: RUN, freeze: features}'

Two views of an image are to be more alike than those of different images (SimCLR, Chen et al. 2020).
"""

import torch
import torch.nn.functional as F

from cnnrun.plugin import Task, tasks


@tasks.register("contrastive")
class Contrastive(Task):
    """Embeddings in which two views of an image are neighbours; labels are not used."""

    def __init__(self, *, temperature: float = 0.2, shift: int = 1, noise: float = 0.5) -> None:
        self.temperature, self.shift, self.noise = temperature, shift, noise

    def view(self, inputs):
        """Moved by some pixels, with other contrast, and noisy: (N, C, H, W) to the same."""
        dx, dy = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
        contrast = 0.6 + 0.8 * torch.rand(len(inputs), 1, 1, 1, device=inputs.device)
        moved = inputs.roll((dx, dy), (2, 3)) * contrast
        return moved + self.noise * torch.randn_like(moved)

    def step(self, model, loss, inputs, targets):
        """(N, C, H, W) to the losses (N,) and the embeddings (N, K)."""
        a, b = (F.normalize(model(self.view(inputs)).float(), dim=1) for _ in range(2))
        alike = a @ b.T / self.temperature
        same = torch.arange(len(a), device=a.device)
        losses = F.cross_entropy(alike, same, reduction="none")
        back = F.cross_entropy(alike.T, same, reduction="none")
        return (losses + back) / 2, a.detach()
