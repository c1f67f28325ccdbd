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
    Case("too large for this machine", "The model needs more memory than there is.",
         "Take fewer or narrower layers.", "check x.yaml 'model.hidden=[9000000000]'"),
    Case("entries for … blocks", "A list gives each block its own value.",
         "One value for all, or as many as `channels` has.",
         "check cnn.yaml 'model.kernel_size=[3, 3, 3]'"),
    Case("block …: kernel_size reaches over … pixels, but its maps are", "The maps have shrunk "
         "below the kernel.", "Fewer blocks, less pooling, larger images (`dataset.size`).",
         "check cnn.yaml model.padding=valid model.kernel_size=9"),
    Case("weight: 2 numbers for 10 classes", "One weight a class is meant.", "Write so many.",
         "check x.yaml 'loss={name: cross_entropy, weight: [1, 2]}'"),
    Case("weight: every class that has training samples has weight 0", "Nothing would be learnt.",
         "Give one of them a weight.",
         "check x.yaml 'loss={name: cross_entropy, weight: [0,0,0,0,0,0,0,0,0,0]}'"),
    Case("nesterov looks ahead along the momentum: set momentum, e.g. 0.9", "Without momentum it "
         "does nothing.", "Set `optimizer.momentum`.", "check x.yaml optimizer.nesterov=true"),
    Case("uniform: low 1 is above high 0; give both, low first", "The smaller number comes first.",
         "Exchange them.", "check x.yaml 'initializer={name: uniform, low: 1, high: 0}'"),
    Case("task reconstruct needs an autoencoder, e.g. conv_autoencoder", "The model gives no "
         "images back.", "Take an autoencoder, or `task: classify`.",
         "check x.yaml task=reconstruct loss=mse"),
    Case("this loss compares labels or masks, not pixels; take e.g. mse", "The loss wants labels.",
         "Take one of these.",
         "check x.yaml task=reconstruct model=linear_autoencoder loss=cross_entropy"),
    Case("'acuracy' is not measured; did you mean 'accuracy'?", "The task has no such measure.",
         "Take the one that is named.", "check x.yaml training.monitor=acuracy"),
    Case("torchvision has no model 'resnet19'; there are resnet101, resnet152, resnet18",
         "There is no such model in torchvision.",
         "Take the one that is named.",
         "check x.yaml model=torchvision/resnet19"),
    Case("pixels and more, not … (dataset.size)", "The network halves images more often than "
         "they can be halved.", "Enlarge them: `dataset.size`.",
         "check x.yaml model=torchvision/squeezenet1_1"),
    Case("weights: imagenet: only torchvision/... and timm/... models have them", "The model has "
         "no published weights.", "Take such a model, or the weights of a run of yours.",
         "check x.yaml transfer.weights=imagenet"),
    Case("nothing to train: no parameter of the model requires a gradient", "`transfer.freeze` "
         "names everything.", "Leave the head out of it.", "check x.yaml transfer.freeze=all"),
    Case("freeze: 'faetures' matches no parameter; did you mean 'features'?", "A pattern finds "
         "nothing.", "Take the one that is named; `cnnrun describe` shows all layers.",
         "check x.yaml transfer.freeze=faetures"),
    Case("cut: the model has no layer 'features.7'", "The layer to cut before is not there.",
         "`cnnrun describe` shows the layers.",
         "check x.yaml transfer.cut=features.7"),
    Case("the model does not use its layer 'unused', which would be its head", "The last linear "
         "layer of a model of yours is never called, so nothing can stand for it.",
         "Delete it from the model, or name the layer to cut before: `transfer.cut`.",
         "check x.yaml plugins=[spare.py] model=spare transfer.head=[8]",
         files=lambda f: (f / "spare.py").write_text(SPARE)),
]  # fmt: skip

TRAINING = [
    Case("device …: no such GPU here", "PyTorch sees no such GPU; the message says which it sees.",
         "`device=auto` takes what there is.", "train x.yaml device=cuda:7", code=1),
    Case("output: can't write to …; choose output=DIR", "The folder is not yours, or on a full or "
         "read-only disk.", "Choose another one.", "train x.yaml output=/proc/runs", code=1),
    Case("there is no user 'nobody-here'; write the path out", "`~name` in a path is the home of "
         "the user of that name.", "Correct the name, or write the whole path.",
         "train x.yaml output=~nobody-here/runs", code=1),
    Case("output: link is in the way and is no directory", "It is a link to nothing, say.",
         "Choose another name.", "train x.yaml output=link", code=1,
         files=lambda f: (f / "link").symlink_to("nowhere")),
    Case("warmup_epochs 9: training has only … steps", "The warm-up would take all of the "
         "training.", "Fewer `schedule.warmup_epochs`, or more `training.epochs`.",
         "train x.yaml 'schedule={name: constant, warmup_epochs: 9}'"),
    Case("the loss is … at step … (epoch …, learning rate …), on training images",
         "The loss is no number any more: the rate is too high, or the data are odd. The last good "
         "checkpoint is kept, and the batch is noted.", "A smaller `optimizer.lr`, "
         "`training.clip_norm: 1`, or `training.on_nan: skip`.",
         "train x.yaml optimizer.lr=1e30 training.epochs=20", code=1),
    Case("a run can't be resumed with another model.hidden: [4] -> [5]; start a new one",
         "The weights of the run do not fit it.", "Train it anew with the command that is shown.",
         "train --resume run 'model.hidden=[5]'"),
    Case("the run started with 10 classes (…); the data now have", "The data are others.",
         "Give the run back its data, or start a new one.", "train --resume run", code=1,
         files=_other_classes),
    Case("is finished, so nothing is left to train with optimizer.lr: … -> 0.5;",
         "A run's settings change only by training with them.",
         "More `training.epochs`, or a new run.",
         "train --resume run optimizer.lr=0.5", code=1),
    Case("the checkpoints of this run, which has trained … epochs, are gone or damaged",
         "There is nothing to go on from.", "Start a new run with the command that is shown.",
         "train --resume run training.epochs=9", code=1,
         files=lambda f: [p.unlink() for p in (f / "run/checkpoints").iterdir()]),
    Case("nowhere: there is no such run", "Nothing is at that path.",
         "Look at the path.", "train --resume nowhere",
         code=1),
    Case("not a run directory (no config.yaml in it); the newest run below it is",
         "A folder of runs was named.", "Name the run.", "eval .", code=1),
    Case("the run has written no checkpoint yet", "It was stopped in its first epoch.",
         "`cnnrun train --resume RUN`.", "eval run", code=1,
         files=lambda f: [p.unlink() for p in (f / "run/checkpoints").iterdir()]),
    Case("resuming from run/checkpoints/best.pt instead", "The last checkpoint is damaged; the run "
         "goes on from an older, whole one. A warning, no error.", "Nothing.",
         "train --resume run -q", code=0,
         files=lambda f: (unfinished(f), (f / "run/checkpoints/last.pt").write_bytes(b"x"))),
    Case("summary.json: is damaged; remove it, and --resume writes it again",
         "Something else than cnnrun wrote to it.",
         "Remove it.",
         "train --resume run", code=1,
         files=lambda f: (f / "run/summary.json").write_text("{")),
]  # fmt: skip

CHECKPOINTS = [
    Case("no.pt: there is no such", "Nothing is at that path.",
         "Look at the path.", "check x.yaml transfer.weights=no.pt"),
    Case("not a readable checkpoint (damaged or cut short?)", "The file is not whole, or no "
         "checkpoint; checksums are compared.", "Take another copy.", "eval changed.pt", code=1,
         files=lambda f: (f / "changed.pt").write_bytes(
             (f / "run/checkpoints/best.pt").read_bytes()[:-400])),
    Case("not a checkpoint of cnnrun (format 1)", "Another program wrote it.",
         "For its weights: `transfer.weights`.", "eval changed.pt", code=1,
         files=content(lambda c: c.pop("format"))),
    Case("not a whole checkpoint of cnnrun (classes: ", "Parts are missing or of another kind.",
         "Take another copy.", "eval changed.pt", code=1,
         files=content(lambda c: c.update(classes=3))),
    Case("refused, as it is damaged or holds more than tensors and plain values, and reading those "
         "could run code", "A pickle can do anything when it is read.",
         "Let whoever made it save `model.state_dict()` alone.", "eval w.pt", code=1,
         files=weights(Touch())),
    Case("holds no weights (a dict of named tensors)", "The file is of another kind.",
         "Save `model.state_dict()`.",
         "check x.yaml transfer.weights=w.pt", files=weights([1])),
    Case("holds more than named tensors; save `model.state_dict()` alone",
         "An optimizer or a whole training state lies in it, say.",
         "Do so.", "check x.yaml transfer.weights=w.pt", files=weights({"a": 1})),
    Case("comes without trained weights; name a file of them: --weights",
         "Only networks of torchvision and timm are found by name.", "Do so.", "import cnn",
         code=1),
    Case("the network also needs:", "Weights of another network, or under other names; the table "
         "shows which parts fit.", "Say by `--rename` which name is which.",
         "import cnn dataset.size=8 dataset.channels=gray dataset.normalize=half --weights w.pt",
         code=1, files=weights(_one_tensor)),
    Case("no weights are called 'b'", "A line of the YAML file names nothing.",
         "Compare it with the names in the table that `cnnrun import` prints.",
         "import cnn dataset.size=8 dataset.channels=gray dataset.normalize=half --weights w.pt "
         "--rename names.yaml",
         files=lambda f: (weights(_one_tensor)(f),
                          (f / "names.yaml").write_text("b: c"))),
    Case("the weights do not fit the model; missing: features.1.weight",
         "The file is of another model.", "Compare the names and shapes that are listed.",
         "eval changed.pt", code=1, files=content(lambda c: c.update(model={}))),
    Case("w.safetensors: can't be read", "The file is damaged or of another kind.",
         "Take another copy.", "check x.yaml transfer.weights=w.safetensors",
         files=lambda f: (f / "w.safetensors").write_bytes(b"no")),
    Case("was trained with code of its own; if you trust it, say so: ", "The checkpoint names a "
         "plug-in; a checkpoint never chooses which code runs.", "Add what the message shows.",
         "eval changed.pt", code=1,
         files=content(lambda c: c["config"].update(plugins=["mine.py"]))),
    Case("names addresses to contact; if you trust it, say so: ", "The checkpoint was trained on "
         "data of a server; a checkpoint never chooses what is contacted.",
         "Add what the message shows.", "eval changed.pt", code=1,
         files=content(lambda c: c["config"].update(
             dataset={"name": "webdataset", "train": "http://h/x.tar", "test": "x.tar"}))),
    Case("the checkpoint's state of the optimizer is not of this experiment: ",
         "The checkpoint is damaged, or was put together of two.", "Take another copy.",
         "train --resume run training.epochs=9", code=1, files=_without_moments),
    Case("the data's images are 1 x 9 x 9, but the model was trained on 1 x 8 x 8",
         "A network may take images of one size only.",
         "Set `dataset.size` to that of the training.", "eval run dataset.size=9", code=1),
    Case("the data has classes that the model was not trained on: 9 (it knows",
         "There would be no answer for them.",
         "Evaluate on data with the classes of the training.", "eval changed.pt", code=1,
         files=content(lambda c: c.update(classes=[*"012345678", "nine"]))),
    Case("--split: expected train, validation or test, got 'tset'", "There are three splits.",
         "Write one of these.",
         "eval run --split tset"),
    Case("the validation split is empty", "There is nothing to measure.",
         "Set `dataset.validation`.", "eval changed.pt --split validation", code=1,
         files=content(lambda c: c["config"]["dataset"].update(validation=0))),
    Case("eval: seed=5 would change nothing: the splits are those that the run was trained with",
         "Splits, weights and normalization belong to a run.",
         "Leave it out; `dataset.root=...` and the like evaluate on other data.",
         "eval run seed=5"),
    Case("its own plots; name the folder of the images to predict", "A run directory holds plots.",
         "Name the folder of the images.", "predict run run", code=1),
    Case("--json and --csv: choose one of them", "stdout holds one of them.",
         "Do so.", "predict run big.png --json --csv"),
    Case("task reconstruct gives no classes to predict", "An autoencoder answers with images.",
         "`cnnrun viz reconstructions RUN`.", "predict coder big.png", code=1),
    Case("style transfer trains one image; there is no network in it", "There is nothing to "
         "predict with.", "Name a run of a classifier.", "predict changed.pt big.png", code=1,
         files=content(lambda c: c["config"].update(task="stylize", loss=STYLE_LOSS))),
    Case("weights: w.pt does not fit vgg19: ", "The file is of another network.",
         "Name a file of torchvision's.", f"check x.yaml {STYLE} model=image",
         files=weights(lambda torch: {
             **{f"features.{i}.weight": torch.zeros(1) for i in range(40)},
             **{f"features.{i}.bias": torch.zeros(1) for i in range(40)}})),
    Case("an image has 3 channels, not 1; set dataset.channels: rgb",
         "Style transfer is for colour images.",
         "Do so.", "check x.yaml model=image"),
    Case("--outliers ranks by reconstruction error: it needs an autoencoder",
         "A classifier gives no images back.",
         "Leave it out.",
         "eval run --outliers 3"),
]  # fmt: skip

PLOTS = [
    Case("unknown plot 'confussion'; did you mean 'confusion'?", "There is no such plot.",
         "Take one that is named.",
         "viz confussion run"),
    Case("this plot needs a trained model; name a run", "An experiment alone has no answers.",
         "Name a run or a checkpoint.", "viz confusion x.yaml", code=1),
    Case("the model has no convolution, so no", "An MLP has no filters or maps.",
         "Draw it of another model.", "viz filters run",
         code=1),
    Case("layer: the model has no layer 'head2'; it has features, features.0",
         "The name is not one of its layers.",
         "`cnnrun describe` shows the layers.", "viz features cnn.yaml -p layer=head2", code=1),
    Case("index 999: the … split has images 0 to", "The split is smaller.", "Take one of these.",
         "viz pixels x.yaml -p index=999", code=1),
    Case("dataset.augment: this experiment augments nothing; add, say, [rotation]",
         "There is nothing to show.",
         "Do so, on the command line if you like.", "viz augmentations x.yaml", code=1),
    Case("no epoch has ended yet; there is nothing to draw", "The log is empty.",
         "Wait for it.", "viz curves run",
         code=1, files=lambda f: (f / "run/metrics.jsonl").write_text("")),
    Case("this plot needs an autoencoder (task: reconstruct)",
         "A classifier gives no images back.",
         "Draw it of one.",
         "viz reconstructions run", code=1),
    Case("decoded_grid needs codes of 2 numbers (model.code=2), not 3",
         "A plane shows two numbers.",
         "Train one with such "
         "codes.", "viz decoded_grid coder", code=1),
    Case("plots are written as …, not as '.jpg'", "The ending of the name chooses the format.",
         "Take one of these endings.",
         "viz curves run -o c.jpg", code=1),
    Case("could not write the plot", "The folder can't be written to.", "Name another by `-o`.",
         "viz curves run -o x.yaml/c.png", code=1),
]  # fmt: skip

SWEEPS = [
    Case("name a sweep file, or one to work on with --join URL|DIR",
         "Neither was given, or both.",
         "Do one of "
         "both.", "sweep"),
    Case("--dry-run needs a sweep file", "A sweep that was begun has its trials already.",
         "Name it.", "sweep --join run --dry-run"),
    Case("no sweep (no sweep.yaml in it); start one: cnnrun sweep FILE", "The folder is none.",
         "Name the sweep's folder.", "sweep --join run", code=1),
]  # fmt: skip
