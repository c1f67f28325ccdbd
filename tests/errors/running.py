"""Errors about models, training, checkpoints, plots and sweeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.errors import Case


def content(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """`changed.pt` is the run's best checkpoint, changed so."""

    def write(folder: Path) -> None:
        import torch

        loaded = torch.load(folder / "run/checkpoints/best.pt", weights_only=True)
        change(loaded)
        torch.save(loaded, folder / "changed.pt")

    return write


def _without_moments(folder: Path) -> None:
    """The run's last checkpoint has another optimizer's state."""
    import torch

    file = folder / "run/checkpoints/last.pt"
    loaded = torch.load(file, weights_only=True)
    loaded["optimizer"]["param_groups"] = []
    torch.save(loaded, file)


def weights(value: Any) -> Callable[[Path], object]:
    """`w.pt` holds this."""

    def write(folder: Path) -> None:
        import torch

        torch.save(value(torch) if callable(value) else value, folder / "w.pt")

    return write


def _one_tensor(torch: Any) -> Any:
    return {"a.weight": torch.ones(2)}


STYLE_LOSS = {
    "name": "neural_style", "weights": "w.pt", "styles": [{"file": "sample:flower.jpg"}],
}  # fmt: skip
STYLE = (
    "task=stylize 'dataset={name: image, file: \"sample:china.jpg\", longest: 32}' "
    f"'loss={json.dumps(STYLE_LOSS)}'"
)


SPARE = """\
from torch import nn
from cnnrun.plugin import models

@models.register("spare")
class Spare(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        pixels = input_shape[0] * input_shape[1] * input_shape[2]
        self.used = nn.Sequential(nn.Flatten(), nn.Linear(pixels, num_classes))
        self.unused = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.used(images)
"""


class Touch:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


def unfinished(folder: Path) -> None:
    (folder / "run/summary.json").unlink()


def _other_classes(folder: Path) -> None:
    import torch

    unfinished(folder)
    for file in (folder / "run/checkpoints").iterdir():
        held = torch.load(file, weights_only=True)
        torch.save({**held, "classes": list("abcdefghij")}, file)


MODELS = [
    Case("too large for this machine",
         "The model needs more memory than the machine has.",
         "Use fewer or narrower layers.",
         "check x.yaml 'model.hidden=[9000000000]'"),
    Case("entries for … blocks",
         "A list needs one value per block.",
         "Give a single value, or as many values as `channels` has.",
         "check cnn.yaml 'model.kernel_size=[3, 3, 3]'"),
    Case("block …: kernel_size reaches over … pixels, but its maps are",
         "The feature maps are smaller than the kernel.",
         "Use fewer blocks, less pooling, or larger images (`dataset.size`).",
         "check cnn.yaml model.padding=valid model.kernel_size=9"),
    Case("weight: 2 numbers for 10 classes",
         "The list needs one weight per class.",
         "Write one number for each class.",
         "check x.yaml 'loss={name: cross_entropy, weight: [1, 2]}'"),
    Case("weight: every class that has training samples has weight 0",
         "Every sample would have weight 0, so nothing would be learned.",
         "Give at least one of these classes a weight above 0.",
         "check x.yaml 'loss={name: cross_entropy, weight: [0,0,0,0,0,0,0,0,0,0]}'"),
    Case("nesterov looks ahead along the momentum: set momentum, e.g. 0.9",
         "Nesterov needs momentum.",
         "Set `optimizer.momentum`.",
         "check x.yaml optimizer.nesterov=true"),
    Case("uniform: low 1 is above high 0; give both, low first",
         "The range is reversed.",
         "Swap the two numbers.",
         "check x.yaml 'initializer={name: uniform, low: 1, high: 0}'"),
    Case("task reconstruct needs an autoencoder, e.g. conv_autoencoder",
         "The model does not return images.",
         "Use an autoencoder, or `task: classify`.",
         "check x.yaml task=reconstruct loss=mse"),
    Case("this loss compares labels or masks, not pixels; use mse, for example",
         "The loss needs labels, but the targets of this task are pixels.",
         "Use the suggested loss.",
         "check x.yaml task=reconstruct model=linear_autoencoder loss=cross_entropy"),
    Case("'acuracy' is not measured; did you mean 'accuracy'?",
         "The task has no metric with this name.",
         "Use the suggested metric.",
         "check x.yaml training.monitor=acuracy"),
    Case("torchvision has no model 'resnet19'; there are resnet101, resnet152, resnet18",
         "torchvision has no model with this name.",
         "Use one of the models listed.",
         "check x.yaml model=torchvision/resnet19"),
    Case("pixels, not … (dataset.size)",
         "The network downsamples the images more often than their size allows.",
         "Use larger images: `dataset.size`.",
         "check x.yaml model=torchvision/squeezenet1_1"),
    Case("weights: imagenet: only torchvision/... and timm/... models have them",
         "No pretrained weights are published for this model.",
         "Use a torchvision or timm model, or the weights of one of your runs.",
         "check x.yaml transfer.weights=imagenet"),
    Case("vgg19 has no layer 'conv9_1'; there are conv1_1, conv1_2",
         "The network that judges style has no such layer.",
         "Use one of the layers listed.",
         "check x.yaml " + STYLE.replace('"weights": "w.pt"', '"weights": "random", '
         '"style_layers": {"conv9_1": 1}')),
    Case("loss.network: unknown name 'vgg18'; there are vgg16, vgg19",
         "There is no network with this name to judge style.",
         "Use one of the networks listed, or one of your runs.",
         "check x.yaml " + STYLE.replace('"weights": "w.pt"', '"weights": "random", '
         '"network": "vgg18"')),
    Case("nothing to train: no parameter of the model requires a gradient",
         "`transfer.freeze` matches every layer.",
         "Exclude the head.",
         "check x.yaml transfer.freeze=all"),
    Case("freeze: 'faetures' matches no parameter; did you mean 'features'?",
         "No parameter matches the pattern.",
         "Use the suggested name; `cnnrun describe` shows all layers.",
         "check x.yaml transfer.freeze=faetures"),
    Case("cut: the model has no layer 'features.7'",
         "The layer to cut before does not exist.",
         "`cnnrun describe` shows all layers.",
         "check x.yaml transfer.cut=features.7"),
    Case("the model does not use its layer 'unused', which would be its head",
         "The last linear layer of your model is never called, so it can't be replaced by a new "
         "head.",
         "Remove it from the model, or set `transfer.cut` to the layer to cut before.",
         "check x.yaml plugins=[spare.py] model=spare transfer.head=[8]",
         files=lambda f: (f / "spare.py").write_text(SPARE)),
]  # fmt: skip

TRAINING = [
    Case("device …: no such GPU here",
         "PyTorch does not see this GPU; the message lists those it sees.",
         "Use `device=auto`, which picks an available device.",
         "train x.yaml device=cuda:7", code=1),
    Case("output: can't write to …; choose output=DIR",
         "The folder is not yours, or the disk is full or read-only.",
         "Choose another folder.",
         "train x.yaml output=/proc/runs", code=1),
    Case("there is no user 'nobody-here'; write the path out",
         "`~name` in a path means the home directory of the user `name`.",
         "Correct the name, or write the path in full.",
         "train x.yaml output=~nobody-here/runs", code=1),
    Case("output: link is in the way: it is not a directory",
         "For example, a link that points nowhere.",
         "Choose another name.",
         "train x.yaml output=link", code=1,
         files=lambda f: (f / "link").symlink_to("nowhere")),
    Case("warmup_epochs 9: training has only … steps",
         "The warm-up would last for the whole training.",
         "Reduce `schedule.warmup_epochs`, or raise `training.epochs`.",
         "train x.yaml 'schedule={name: constant, warmup_epochs: 9}'"),
    Case("the loss is … at step … (epoch …, learning rate …), on training images",
         "The loss is NaN or infinite: the learning rate is too high, or the data are unusual. The "
         "last good checkpoint is kept, and the batch is recorded.",
         "Lower `optimizer.lr`, or set `training.clip_norm: 1` or `training.on_nan: skip`.",
         "train x.yaml optimizer.lr=1e30 training.epochs=20", code=1),
    Case("a run can't be resumed with another model.hidden: [4] -> [5]; start a new one",
         "The run's weights do not fit the new setting.",
         "Start a new run with the command shown.",
         "train --resume run 'model.hidden=[5]'"),
    Case("the run started with 10 classes (…); the data now have",
         "The data set has changed.",
         "Restore the run's data, or start a new run.",
         "train --resume run", code=1,
         files=_other_classes),
    Case("is finished, so nothing is left to train with optimizer.lr: … -> 0.5;",
         "A new setting takes effect only if there is something left to train.",
         "Raise `training.epochs`, or start a new run.",
         "train --resume run optimizer.lr=0.5", code=1),
    Case("the checkpoints of this run, which has trained … epochs, are gone or damaged",
         "There is nothing to resume from.",
         "Start a new run with the command shown.",
         "train --resume run training.epochs=9", code=1,
         files=lambda f: [p.unlink() for p in (f / "run/checkpoints").iterdir()]),
    Case("nowhere: there is no such run",
         "Nothing exists at this path.",
         "Check the path.",
         "train --resume nowhere",
         code=1),
    Case("not a run directory (no config.yaml in it); the newest run below it is",
         "You passed a folder of runs.",
         "Pass a single run.",
         "eval .", code=1),
    Case("the run has written no checkpoint yet",
         "The run was stopped during its first epoch.",
         "Run `cnnrun train --resume RUN`.",
         "eval run", code=1,
         files=lambda f: [p.unlink() for p in (f / "run/checkpoints").iterdir()]),
    Case("resuming from run/checkpoints/best.pt instead",
         "The last checkpoint is damaged, so the run resumes from an older one. This is a warning, "
         "not an error.",
         "Nothing.",
         "train --resume run -q", code=0,
         files=lambda f: (unfinished(f), (f / "run/checkpoints/last.pt").write_bytes(b"x"))),
    Case("summary.json: is damaged; remove it, and --resume writes it again",
         "Another program changed the file, or the disk damaged it.",
         "Delete it.",
         "train --resume run", code=1,
         files=lambda f: (f / "run/summary.json").write_text("{")),
]  # fmt: skip

CHECKPOINTS = [
    Case("no.pt: there is no such",
         "Nothing exists at this path.",
         "Check the path.",
         "check x.yaml transfer.weights=no.pt"),
    Case("x.yaml: an experiment has no weights; train it (cnnrun train x.yaml) and name its run",
         "You passed a config where a trained network is needed.",
         "Pass a run directory or a checkpoint.",
         "export x.yaml", code=1),
    Case("not a readable checkpoint (damaged or cut short?)",
         "The file is incomplete, or not a checkpoint. cnnrun verifies checksums.",
         "Use another copy of the file.",
         "eval changed.pt", code=1,
         files=lambda f: (f / "changed.pt").write_bytes(
             (f / "run/checkpoints/best.pt").read_bytes()[:-400])),
    Case("not a checkpoint of cnnrun (format 1)",
         "Another program wrote the file.",
         "To use only its weights, set `transfer.weights`.",
         "eval changed.pt", code=1,
         files=content(lambda c: c.pop("format"))),
    Case("not a whole checkpoint of cnnrun (classes: ",
         "Parts of the checkpoint are missing or have the wrong type.",
         "Use another copy of the file.",
         "eval changed.pt", code=1,
         files=content(lambda c: c.update(classes=3))),
    Case("refused, as it is damaged or holds more than tensors and plain values, and reading those "
         "could run code",
         "Reading a pickle can run arbitrary code.",
         "Ask its author to save only `model.state_dict()`.",
         "eval w.pt", code=1,
         files=weights(Touch())),
    Case("holds no weights (a dict of named tensors)",
         "The file does not hold a state dict.",
         "Save `model.state_dict()`.",
         "check x.yaml transfer.weights=w.pt", files=weights([1])),
    Case("holds more than named tensors; save only `model.state_dict()`",
         "For example, the file also holds an optimizer's state.",
         "Save only `model.state_dict()`.",
         "check x.yaml transfer.weights=w.pt", files=weights({"a": 1})),
    Case("comes without trained weights; name a file of them: --weights",
         "Only torchvision's and timm's pretrained weights can be looked up by name.",
         "Pass a weights file with `--weights`.",
         "import cnn",
         code=1),
    Case("the network also needs:",
         "The weights belong to another network, or have other names; the table shows which parts "
         "match.",
         "Map the names with `--rename`.",
         "import cnn dataset.size=8 dataset.channels=gray dataset.normalize=half --weights w.pt",
         code=1, files=weights(_one_tensor)),
    Case("no weights are called 'b'",
         "A line of the YAML file names a tensor that does not exist.",
         "Compare it with the names in the table that `cnnrun import` prints.",
         "import cnn dataset.size=8 dataset.channels=gray dataset.normalize=half --weights w.pt "
         "--rename names.yaml",
         files=lambda f: (weights(_one_tensor)(f),
                          (f / "names.yaml").write_text("b: c"))),
    Case("the weights do not fit the model; missing: features.1.weight",
         "The file belongs to another model.",
         "Compare the names and shapes listed.",
         "eval changed.pt", code=1, files=content(lambda c: c.update(model={}))),
    Case("w.safetensors: can't be read",
         "The file is damaged or of another format.",
         "Use another copy of the file.",
         "check x.yaml transfer.weights=w.safetensors",
         files=lambda f: (f / "w.safetensors").write_bytes(b"no")),
    Case("was trained with code of its own; if you trust it, pass ",
         "The checkpoint names a plug-in. A checkpoint never decides which code runs.",
         "If you trust it, add the option shown.",
         "eval changed.pt", code=1,
         files=content(lambda c: c["config"].update(plugins=["mine.py"]))),
    Case("names addresses to contact; if you trust it, pass ",
         "The checkpoint names data on a server. A checkpoint never decides which servers are "
         "contacted.",
         "If you trust it, add the option shown.",
         "eval changed.pt", code=1,
         files=content(lambda c: c["config"].update(
             dataset={"name": "webdataset", "train": "http://h/x.tar", "test": "x.tar"}))),
    Case("the checkpoint's state of the optimizer is not of this experiment: ",
         "The checkpoint is damaged, or was assembled from two others.",
         "Use another copy of the file.",
         "train --resume run training.epochs=9", code=1, files=_without_moments),
    Case("the data's images are 1 x 9 x 9, but the model was trained on 1 x 8 x 8",
         "Many networks accept only one image size.",
         "Set `dataset.size` to the size used in training.",
         "eval run dataset.size=9", code=1),
    Case("the data has classes that the model was not trained on: 9 (it knows",
         "The model can't predict these classes.",
         "Evaluate on data with the classes it was trained on.",
         "eval changed.pt", code=1,
         files=content(lambda c: c.update(classes=[*"012345678", "nine"]))),
    Case("--split: expected train, validation or test, got 'tset'",
         "There are three splits.",
         "Use one of them.",
         "eval run --split tset"),
    Case("the validation split is empty",
         "There is nothing to evaluate.",
         "Set `dataset.validation`.",
         "eval changed.pt --split validation", code=1,
         files=content(lambda c: c["config"]["dataset"].update(validation=0))),
    Case("eval: seed=5 would change nothing: the splits are those that the run was trained with",
         "Splits, weights and normalization come from the run.",
         "Leave the setting out. To evaluate on other data, set `dataset.root=...`.",
         "eval run seed=5"),
    Case("its own plots; name the folder of the images to predict",
         "A run directory holds plots, not data.",
         "Pass the folder of your images.",
         "predict run run", code=1),
    Case("--json and --csv: choose one of them",
         "Only one format can be written to stdout.",
         "Use one of the two options.",
         "predict run big.png --json --csv"),
    Case("task reconstruct gives no classes to predict",
         "An autoencoder does not classify.",
         "Run `cnnrun viz reconstructions RUN`.",
         "predict coder big.png", code=1),
    Case("style transfer trains one image; there is no network in it",
         "The result of style transfer is an image, not a network.",
         "Pass a run of another task.",
         "predict changed.pt big.png", code=1,
         files=content(lambda c: c["config"].update(task="stylize", loss=STYLE_LOSS))),
    Case("weights: w.pt does not fit vgg19: ",
         "The file belongs to another network.",
         "Use a weights file from torchvision.",
         f"check x.yaml {STYLE} model=image",
         files=weights(lambda torch: {
             **{f"features.{i}.weight": torch.zeros(1) for i in range(40)},
             **{f"features.{i}.bias": torch.zeros(1) for i in range(40)}})),
    Case("an image has 3 channels, not 1; set dataset.channels: rgb",
         "Style transfer needs an RGB image.",
         "Set `dataset.channels: rgb`.",
         "check x.yaml model=image"),
    Case("--outliers ranks by reconstruction error: it needs an autoencoder",
         "A classifier does not reconstruct images.",
         "Leave the option out.",
         "eval run --outliers 3"),
]  # fmt: skip

PLOTS = [
    Case("unknown plot 'confussion'; did you mean 'confusion'?",
         "There is no plot with this name.",
         "Use the suggested name; `cnnrun list plot` shows all.",
         "viz confussion run"),
    Case("this plot needs a trained model; name a run",
         "A config has no predictions to draw.",
         "Pass a run or a checkpoint.",
         "viz confusion x.yaml", code=1),
    Case("the model has no convolution, so no",
         "An MLP has no filters or feature maps.",
         "Draw this plot for a model with convolutions.",
         "viz filters run",
         code=1),
    Case("layer: the model has no layer 'head2'; it has features, features.0",
         "The model has no layer with this name.",
         "`cnnrun describe` shows all layers.",
         "viz features cnn.yaml -p layer=head2", code=1),
    Case("index 999: the … split has images 0 to",
         "The split has fewer images.",
         "Choose an index within the range shown.",
         "viz pixels x.yaml -p index=999", code=1),
    Case("dataset.augment: this experiment has no augmentation; add one, such as [rotation]",
         "There is nothing to draw.",
         "Add an augmentation, for example on the command line.",
         "viz augmentations x.yaml", code=1),
    Case("no epoch has finished yet; there is nothing to draw",
         "The log is empty.",
         "Wait for the first epoch.",
         "viz curves run",
         code=1, files=lambda f: (f / "run/metrics.jsonl").write_text("")),
    Case("this plot needs an autoencoder (task: reconstruct)",
         "A classifier does not reconstruct images.",
         "Draw this plot for a run with `task: reconstruct`.",
         "viz reconstructions run", code=1),
    Case("decoded_grid needs codes of 2 numbers (model.code=2), not 3",
         "The plot shows a plane of codes, so it needs codes of two numbers.",
         "Train with `model.code=2`.",
         "viz decoded_grid coder", code=1),
    Case("plots are written as …, not as '.jpg'",
         "The file extension selects the format.",
         "Use one of the extensions listed.",
         "viz curves run -o c.jpg", code=1),
    Case("could not write the plot",
         "The folder is not writable.",
         "Choose another path with `-o`.",
         "viz curves run -o x.yaml/c.png", code=1),
]  # fmt: skip
