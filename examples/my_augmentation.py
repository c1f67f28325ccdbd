"""An augmentation of your own: cnnrun train digits_cnn 'dataset.augment=[fog]' --plugin examples/my_augmentation.py"""

from torch import Tensor

from cnnrun.plugin import Draws, Photometric, Sampler, augmentations, per_image


@augmentations.register("fog")
class Fog(Photometric):
    """Mixes each image with white, by a random amount."""

    def __init__(self, *, most: float = 0.5) -> None:
        self.most = most

    def draw(self, sampler: Sampler) -> Draws:
        """What is random: one number for each image."""
        return {"fog": sampler.uniform(0, self.most)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """(N, C, H, W) float32 in 0..1 to the same."""
        return images.lerp(images.new_ones(()), per_image(draws["fog"]))
