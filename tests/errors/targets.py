"""Errors about masks, pixel values, pages, sampling and augmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.errors import Case

SEGMENT = (
    "check x.yaml task=segment 'dataset={name: mask_folders, root: seg, cache_dir: cache}' "
    "'model={name: unet, encoder: {name: cnn, channels: [4, 4]}}' loss=cross_entropy"
)


def masks(change: Callable[[Path], object] = lambda _: None) -> Callable[[Path], object]:
    """`seg` holds eight images and their masks, changed so."""

    def write(folder: Path) -> None:
        for kind in ("images", "masks"):
            (folder / "seg" / kind).mkdir(parents=True)
            for i in range(8):
                mask = Image.new("L", (16, 16), 1)
                mask.paste(0, (0, 0, 16, 8))
                mask.save(folder / "seg" / kind / f"{i}.png")
        change(folder / "seg" / "masks")

    return write


def _dicom(folder: Path) -> None:
    for file in (folder / "images").rglob("*.png"):
        file.with_suffix(".dcm").write_bytes(bytes(128) + b"DICM")
        file.unlink()


MASKS = [
    Case("images have no mask: there is no 3.png for seg/images/3.png",
         "Image and mask are matched by name, and this image has none.",
         "Add the mask, or skip such images with `dataset.on_error: skip`.",
         SEGMENT, code=1, files=masks(lambda folder: (folder / "3.png").unlink())),
    Case("seg/masks/3.png: mask and image seg/images/3.png are of different sizes (8 x 8 and",
         "A mask needs one value for each pixel of its image.",
         "Save the mask at the size of the image.",
         SEGMENT, code=1,
         files=masks(lambda folder: Image.new("L", (8, 8)).save(folder / "3.png"))),
    Case("seg/masks/3.png: not an image, or of a kind that Pillow does not read",
         "The mask is damaged, or not an image.",
         "Save it again as PNG.",
         SEGMENT, code=1, files=masks(lambda folder: (folder / "3.png").write_text("x"))),
    Case("seg has no folder 'maskes' next to 'images'; did you mean 'masks'?",
         "`dataset.masks` names a folder that does not exist.",
         "Use the suggested name.",
         SEGMENT.replace("root: seg", "root: seg, masks: maskes"), code=1, files=masks()),
    Case("these data have labels, and task segment needs masks; for such data use task classify",
         "The targets of the data set do not fit the task.",
         "Use the suggested task, or a data set with masks.",
         "check x.yaml task=segment"),
    Case("task segment needs logits of each pixel, (1, 2, 16, 16) for one image",
         "A classifier predicts one class per image, not one per pixel.",
         "Use `unet`, with your model as its encoder.",
         SEGMENT.replace("unet, encoder: {name: cnn, channels: [4, 4]}", "cnn, channels: [4, 4]"),
         files=masks()),
    Case("model.encoder.chanels: unknown key; did you mean 'channels'?",
         "The network used as the encoder has no such key.",
         "Use the suggested key; `cnnrun list model cnn` shows all.",
         SEGMENT.replace("channels", "chanels"), files=masks()),
    Case("model: encoder: mlp gives no feature maps of two sizes or more to build on",
         "A U-Net joins feature maps of several sizes, and an MLP has none.",
         "Use a convolutional encoder, such as `cnn` or `torchvision/resnet18`.",
         SEGMENT.replace("cnn, channels: [4, 4]", "mlp"), files=masks()),
]  # fmt: skip

PIXELS = [
    Case("dataset.range: black and white can't both be 0; write two numbers, [0, 4095]",
         "`dataset.range` maps two values to black and white.",
         "Write two different numbers.",
         "check p.yaml dataset.range=[0,0]"),
    Case("it has one page, page 0, but dataset.page is 3",
         "The file has fewer pages. Pages are counted from 0.",
         "Choose a page that every file has, or leave `page` out.",
         "check p.yaml dataset.page=3", code=1),
    Case("a DICOM image: pip install 'cnnrun[dicom]'",
         "DICOM files are read by an optional dependency.",
         "Run the command shown.",
         "check p.yaml", code=1, files=_dicom, without=("pydicom",)),
    Case("a DICOM file without an image",
         "The file holds a report or other data, but no pixels.",
         "Remove it, or skip such files with `dataset.on_error: skip`.",
         "check p.yaml", code=1, files=_dicom),
]  # fmt: skip

SAMPLING = [
    Case("dataset.sampler: 2 weights for 10 classes; write one for each, in their order",
         "The list needs one weight per class.",
         "Write one number for each class, or `balanced`.",
         "check x.yaml dataset.sampler=[1,2]"),
    Case("no training image would ever be drawn; give a weight to a class that has images",
         "Every class that has training images has weight 0.",
         "Give at least one of these classes a weight above 0.",
         "check x.yaml dataset.sampler=[0,0,0,0,0,0,0,0,0,0]"),
    Case("images are drawn by their class, and these data have masks; for rare classes of pixels: "
         "loss.weight: balanced",
         "A mask holds several classes, so images can't be sampled by class.",
         "Weight the loss instead, as shown.",
         SEGMENT + " dataset.sampler=balanced", files=masks()),
    Case("unknown name 'torchvision/RandomFlip'",
         "torchvision has no transform with this name.",
         "Use one of the names shown; `cnnrun list augmentation` shows all.",
         "check p.yaml dataset.augment=[torchvision/RandomFlip]"),
    Case("torchvision/Resize changes the size of images, which dataset.size sets",
         "A transform that resizes is not an augmentation here.",
         "Set `dataset.size` instead.",
         "check p.yaml dataset.augment=[torchvision/Resize]"),
    Case("torchvision/ToTensor converts images, which cnnrun does itself: leave it out",
         "Images are converted and normalized after augmentation.",
         "Leave the transform out; `dataset.normalize` sets mean and std.",
         "check p.yaml dataset.augment=[torchvision/ToTensor]"),
]  # fmt: skip
