"""Errors about data."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.errors import Case


def table(content: str | bytes) -> Callable[[Path], object]:
    """`images/table.csv` holds this."""
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / "images" / "table.csv").write_bytes(raw)


def moved(**moves: str) -> Callable[[Path], object]:
    """Folders below `images` have other places."""

    def move(folder: Path) -> None:
        for old, new in moves.items():
            target = folder / "images" / new
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / "images" / old, target)

    return move


def item(body: str, before: str = "") -> Callable[[Path], object]:
    """`mine.py` has a data set of 20 items whose item is this."""
    return lambda folder: (folder / "mine.py").write_text(
        f"import torch\nfrom torch.utils.data import Dataset\n{before}\n\n"
        "class Mine(Dataset):\n    def __init__(self, train):\n        pass\n\n"
        "    def __len__(self):\n        return 20\n\n"
        f"    def __getitem__(self, i):\n        return {body}\n\n\n"
        "class Empty(Mine):\n    def __len__(self):\n        return 0\n\n\n"
        "class Other:\n    pass\n"
    )


OWN = "check x.yaml 'dataset={name: own, target: \"mine.py:Mine\", validation: 4}'"
CSV = "check x.yaml 'dataset={name: csv, file: images/table.csv, cache_dir: cache}'"
GRAY = "torch.zeros(1, 8, 8, dtype=torch.uint8)"


class _Touch:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


def _cifar(content: object) -> Callable[[Path], object]:
    """All files of CIFAR-10 hold this."""

    def write(folder: Path) -> None:
        (folder / "c" / "cifar-10-batches-py").mkdir(parents=True)
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
            (folder / "c" / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content))

    return write


def _no_mnist(folder: Path) -> None:
    (folder / "m" / "MNIST" / "raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / "m" / "MNIST" / "raw" / f"{part}-{kind}-ubyte").write_bytes(bytes(99))


def _half_file(folder: Path) -> None:
    file = folder / "images" / "a" / "0.png"
    file.write_bytes(file.read_bytes()[:44])


def _no_image(folder: Path) -> None:
    for file in (folder / "images").rglob("*.png"):
        file.write_text("text")


FOLDERS = [
    Case("dataset.root: there is no folder … (paths are from …)", "`root` names nothing.",
         "Name it from the folder that you stand in, or in full.",
         "check p.yaml dataset.root=nowhere", code=1),
    Case("there are no images in …; the form is", "Class folders are empty, or hold other files.",
         "Put images there, or remove the folder.", "check p.yaml", code=1,
         files=lambda f: [p.unlink() for p in (f / "images").rglob("*.png")]),
    Case("…, but no folder `train`", "There is a `val` or `test` alone.",
         "Name the folder of training images `train`.", "check p.yaml", code=1,
         files=moved(a="val/a", b="val/b")),
    Case("training and train are both train", "Two folders mean the same split.",
         "Remove one.", "check p.yaml", code=1, files=moved(a="train/a", b="training/b")),
    Case("0.png: …", "A file can't be decoded: cut short, empty, or no image.",
         "Replace it, or leave such files out: `dataset.on_error: skip`.", "check p.yaml", code=1,
         files=_half_file),
    Case("no file is an image that can be read", "All files are damaged or no images.",
         "Look at one of them with another program.", "check p.yaml dataset.on_error=skip", code=1,
         files=_no_image),
    Case("say by dataset.size which all are brought to", "A batch needs images of one size.",
         "Set `dataset.size`.", "check p.yaml", code=1,
         files=lambda f: shutil.copy(f / "big.png", f / "images" / "a" / "big.png")),
    Case("validation takes … of … training images; none is left",
         "`dataset.validation` is a number of images, or a share below 1.", "Take fewer.",
         "check x.yaml dataset.validation=60"),
    Case("fold: this data set comes with a validation split; folds would ignore it",
         "Folds are parts of the training images.", "Leave `fold` out, or merge the folders.",
         "check p.yaml dataset.fold=1/2", files=lambda f: (
             moved(a="train/a", b="train/b")(f), shutil.copytree(
                 f / "images/train", f / "images/val"), shutil.copytree(
                 f / "images/train", f / "images/test"))),
    Case("fold 9/9: with … training images there can be folds 1/…", "There are fewer images than "
         "folds, or no such fold.", "Write `1/5` to `5/5`.",
         "check x.yaml dataset.fold=9/9 dataset.limit=8"),
    Case("the … split has the label …, but there are … classes", "A label is no class of the data "
         "set's.", "Mend the data set: labels are 0 to K - 1.", "check x.yaml plugins=[mine.py] "
         "'dataset={name: wrong}'", files=lambda f: (f / "mine.py").write_text(
             "import torch\nfrom cnnrun.data.dataset import Dataset, Split\n"
             "from cnnrun.registry import datasets\n\n\n@datasets.register('wrong')\n"
             "def wrong():\n    '''Wrong labels.'''\n    split = Split(torch.zeros(9, 1, 8, 8, "
             "dtype=torch.uint8), torch.arange(9))\n"
             "    return Dataset(('a', 'b'), split, split)\n")),
    Case("dataset.normalize: mean has … numbers, but the images have … channel",
         "One mean and one deviation a channel are meant.", "Write so many.",
         "check x.yaml 'dataset.normalize={mean: [0, 0], std: [1, 1]}'"),
    Case("min: 2 is larger than max: 1", "The smaller number comes first.", "Exchange them.",
         "check x.yaml 'dataset.augment=[{name: scale, min: 2, max: 1}]'"),
    Case("is larger than …; write the smaller one first", "The smaller number comes first.",
         "Exchange them.",
         "check x.yaml 'dataset.augment=[{name: erasing, scale: [0.5, 0.1]}]'"),
    Case("dataset.cache: …; name another folder by dataset.cache_dir", "The folder of the cache "
         "can't be written to.", "Set `dataset.cache_dir`.",
         "check p.yaml dataset.cache=disk dataset.cache_dir=x.yaml", code=1),
]  # fmt: skip

SOURCES = [
    Case("is not in …, and download is false", "The files of the data set are not there.",
         "Allow the download, or put the files where the message says.",
         "check x.yaml 'dataset={name: mnist, root: nowhere, download: false}'", code=1),
    Case("not an IDX file of 3-dimensional bytes", "The file is of another kind, or damaged.",
         "Delete it; it is fetched again.", "check x.yaml 'dataset={name: mnist, root: m}'", code=1,
         files=_no_mnist),
    Case("a data file asks to run …; it was not made by CIFAR's authors", "A pickle that would run "
         "code is refused.", "Delete the file and fetch it from where CIFAR is.",
         "check x.yaml 'dataset={name: cifar10, root: c}'", code=1, files=_cifar(_Touch())),
    Case("expected N x 3072 bytes and N labels, found", "The file is of another kind.",
         "Delete it; it is fetched again.", "check x.yaml 'dataset={name: cifar10, root: c}'",
         code=1, files=_cifar({b"data": [[1]], b"labels": [1], b"label_names": [b"a"] * 10})),
    Case("no shards are named", "A list of shards is empty.", "Name one or more.",
         "check x.yaml 'dataset={name: webdataset, train: [], test: x.tar}'", code=1),
    Case("imagenet: there is no folder …; unpack the images as", "ImageNet can't be downloaded "
         "by a program.", "Register at image-net.org and unpack it so.",
         "check x.yaml 'dataset={name: imagenet, root: nowhere}'", code=1),
    Case("dataset.file: …: No such file", "The table is not there.", "Look at the path.", CSV,
         code=1),
    Case("the header has no column 'label'", "The first line names the columns.",
         "Add a line `path,label`.", CSV, code=1, files=table("path,lable\na/0.png,a\n")),
    Case("table.csv:2: no path", "A cell is empty.", "Fill it, or delete the line.", CSV, code=1,
         files=table("path,label\n,a\n")),
    Case("table.csv:2: 3 cells, but the header has 2", "A line has another number of cells; a "
         "comma in a path?", "Put such paths in double quotes.", CSV, code=1,
         files=table("path,label\na/0.png,a,b\n")),
    Case("the split is 'trian'; train, val or test is meant", "Another word stands in the "
         "column `split`.", "Write one of these.", CSV, code=1,
         files=table("path,label,split\na/0.png,a,trian\n")),
    Case("there is no file a/99.png (paths are from …)", "Paths are relative to the table.",
         "Mend the path, or the place of the table.", CSV, code=1,
         files=table("path,label\na/99.png,a\n")),
    Case("is not UTF-8 text", "The table is in an old encoding.", "Save it as UTF-8.", CSV, code=1,
         files=table(b"path,label\na/0.png,\xff\n")),
    Case("test: 0.2 of 2 images leaves none to train on or none to test on, as every class keeps "
         "one", "There are too few images.", "Add a column `split`, or more images.", CSV, code=1,
         files=table("path,label\na/0.png,a\nb/0.png,b\n")),
    Case("there are classes that training has no images of: c", "A class stands in val or test "
         "alone.", "Add it to training, or remove it.", CSV, code=1,
         files=table("path,label,split\na/0.png,a,train\na/1.png,c,test\n")),
    Case("there are no images to train on", "No line is of the split `train`.",
         "Look at the column `split`.", CSV, code=1,
         files=table("path,label,split\na/0.png,a,test\n")),
    Case("no shard matches … (paths are from …)", "The pattern finds no file.",
         "Quote patterns in the shell, and look at the path.",
         "check x.yaml 'dataset={name: webdataset, train: \"no-*.tar\", test: x.tar}'", code=1),
    Case("shards are local files or http(s) addresses", "Other addresses are not read.",
         "Copy the shards, or give their web address.",
         "check x.yaml 'dataset={name: webdataset, train: \"s3://b/x.tar\", test: x.tar}'", code=1),
    Case("not a plain tar, or a broken one", "The file is damaged, compressed, or no tar.",
         "Unpack it with gunzip, or fetch it again.",
         "check x.yaml 'dataset={name: webdataset, train: x.yaml, test: x.yaml}'", code=1),
    Case("target: 'mine' is neither `module:Class` nor `file.py:Class`", "The class is missing.",
         "Write `file.py:Class`.", "check x.yaml 'dataset={name: own, target: mine}'", code=1),
    Case("target: there is no file no.py (paths are from …)", "The file is not where you stand.",
         "Name it from there.", "check x.yaml 'dataset={name: own, target: \"no.py:Mine\"}'",
         code=1),
    Case("target: mine.py has no 'Mini'; did you mean 'Mine'?", "There is no such class.",
         "Take the one that is named.",
         "check x.yaml 'dataset={name: own, target: \"mine.py:Mini\"}'", code=1, files=item("0")),
    Case("is not a subclass of torch.utils.data.Dataset", "It is another class.",
         "Derive it from `torch.utils.data.Dataset`.",
         "check x.yaml 'dataset={name: own, target: \"mine.py:Other\"}'", code=1, files=item("0")),
    Case("…: has no items", "`len()` of it is 0.", "Look at what it reads.",
         "check x.yaml 'dataset={name: own, target: \"mine.py:Empty\"}'", code=1, files=item("0")),
    Case("item 0 failed at …: ZeroDivisionError: division by zero", "Your code broke off.",
         "`--debug` shows where.", OWN, code=1, files=item("1 / 0")),
    Case("expected (image, label), found int", "An item is a pair.", "Return both.", OWN, code=1,
         files=item("3")),
    Case("the label is 1.5, not a whole number from 0 on", "A label is the number of a class.",
         "Count classes from 0.", OWN, code=1, files=item(f"{GRAY}, 1.5")),
    Case("the image is a str, not a PIL image, numpy array or tensor", "It may be a path.",
         "Open it in your Dataset.", OWN, code=1, files=item("'a.png', 0")),
    Case("1 to 16 channels are meant", "The channels are of another number, or not where they are "
         "meant.", "(C, H, W) tensors, (H, W, C) arrays.", OWN, code=1,
         files=item("torch.zeros(40, 8, 8), 0")),
    Case("uint8 or float in 0..1 is meant", "Other types have no agreed range.", "Convert it.", OWN,
         code=1, files=item("torch.zeros(1, 8, 8, dtype=torch.int64), 0")),
    Case("float in 0..1 is meant (leave normalizing to cnnrun)", "The images are normalized, or "
         "go to 255.", "Leave `Normalize` out; divide by 255.", OWN, code=1,
         files=item("torch.full((1, 8, 8), -3.0), 0")),
    Case("but item 0 is …; give all images one size and mode in your Dataset",
         "Images differ in size or channels.", "Resize them in your Dataset.", OWN, code=1,
         files=item("torch.zeros(1, 8 + i, 8, dtype=torch.uint8), 0")),
]  # fmt: skip
