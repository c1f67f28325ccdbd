"""Networks. A new one is a file here with `@models.register("name")`, and a line below."""

from cnnrun.models import autoencoder, cnn, image, mlp, resnet, unet, vgg, whitened_cnn, zoo

__all__ = ["autoencoder", "cnn", "image", "mlp", "resnet", "unet", "vgg", "whitened_cnn", "zoo"]
