"""Errors in config files and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.errors import Case


def text(content: str | bytes) -> Callable[[Path], object]:
    """`bad.yaml` holds this."""

    def write(folder: Path) -> None:
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / "bad.yaml").write_bytes(raw)

    return write


def module(content: str) -> Callable[[Path], object]:
    """`mine.py` holds this."""
    return lambda folder: (folder / "mine.py").write_text(content)


FILE = [
    Case("nox.yaml: no such file or directory", "There is no file of that name.",
         "Look at the path; it is from the folder that you stand in.", "train nox.yaml"),
    Case("the file is empty; `cnnrun list` shows what it may name", "Nothing but space or comments "
         "is in it.", "Begin with a file of `configs/`.", "train bad.yaml", files=text("# a\n")),
    Case("the whole file is one text; a key needs a colon AND a space: `lr: 0.1`",
         "YAML reads `lr:0.1` as one word.", "Write a space after each colon.",
         "train bad.yaml", files=text("lr:0.1")),
    Case("the top level must be `key: value` lines, not a list or number",
         "The file is valid YAML, but no experiment.", "Write `model: mlp` and so on.",
         "train bad.yaml", files=text("- model\n")),
    Case("not valid YAML: a tab; YAML is indented with spaces", "A line begins with a tab.",
         "Let your editor write spaces.", "train bad.yaml", files=text("optimizer:\n\tlr: 1\n")),
    Case("a backslash in double quotes; write paths in single quotes ('C:\\data') or with / "
         "(C:/data)", "In double quotes a backslash begins an escape.", "Use single quotes or `/`.",
         "train bad.yaml", files=text('output: "C:\\Users"\n')),
    Case("holds a control character: in double quotes \\n and \\t mean one. Use single quotes, or "
         "/ in paths", "`\"C:\\new\"` has a line break in it.", "Use single quotes or `/`.",
         "train bad.yaml", files=text('output: "C:\\new"\n')),
    Case("not UTF-8 text; is this a YAML file?", "It is an image, a checkpoint or text in an old "
         "encoding.", "Name the YAML file, or save it as UTF-8.", "train bad.yaml",
         files=text(b"name: \xff\n")),
    Case("a character that YAML does not allow", "There is an unprintable character in the file.",
         "Delete it; an editor's `show invisibles` finds it.", "train bad.yaml",
         files=text("name: \x07\n")),
    Case("over 1,000,000 bytes; that is no experiment", "The file is far too large.",
         "Name the right file.", "train bad.yaml", files=text("#" * 1_000_001)),
    Case("nested more deeply than any experiment", "There are hundreds of brackets.",
         "Look for a bracket that is never closed.", "train bad.yaml",
         files=text("a: " + "[" * 3000)),
    Case("too many or too deeply nested values for an experiment", "With aliases counted as often "
         "as they are used, there are over 20,000 values.", "Name the right file.",
         "train bad.yaml", files=text("a: &a [*a]\n")),
    Case("a whole number of more than 64 bits", "No setting takes such a number.",
         "Count the digits.", "train bad.yaml", files=text("seed: " + "9" * 30)),
    Case("a key must be one word", "A list or mapping stands where a key is meant.",
         "Quote keys that hold brackets.", "train bad.yaml", files=text("? [a]\n: 1\n")),
    Case("the key 'seed' stands here twice (line 1)", "YAML would keep the last in silence.",
         "Delete one of them.", "train bad.yaml", files=text("seed: 1\nseed: 2\n")),
    Case("the tag … is not allowed; write plain values", "`!!python/...` could run code; no tag is "
         "needed.", "Write the value itself.", "train bad.yaml",
         files=text("name: !!binary x\n")),
]  # fmt: skip

KEYS = [
    Case("unknown key; did you mean 'lr'?", "There is no such setting here.",
         "Take the one that is named; `cnnrun list optimizer sgd` shows all.",
         "train x.yaml optimizer.learning_rte=1"),
    Case("unknown key; did you mean 'optimizer.lr'?", "The setting belongs to another section.",
         "Move it there.", "train x.yaml max_lr=1"),
    Case("lr0: the same as optimizer.lr, which is given, too; keep one",
         "One setting by two words.", "Keep one of them.", "train x.yaml lr0=1 optimizer.lr=1"),
    Case("unknown key; the keys here are", "No setting has a name like it.",
         "Take one of those that are named.", "train x.yaml optimizer.qqq=1"),
    Case("unknown name 'adem'; did you mean 'adam'?", "There is no such component.",
         "`cnnrun list optimizer` shows all.", "train x.yaml optimizer=adem"),
    Case("this key is required", "Nothing can be assumed for it.", "Add it.", "train bad.yaml",
         files=text("dataset: digits\n")),
    Case("optimizer.lr: expected a number, got 'fast'", "The value is of another kind.",
         "Write a value of the kind that is named.", "train x.yaml optimizer.lr=fast"),
    Case("expected greater than 0, got -1", "The value is out of range.",
         "Write one within it.", "train x.yaml optimizer.lr=-1"),
    Case("expected a finite number, got", "`.nan` and `.inf` are no settings.",
         "Write a number.", "train x.yaml optimizer.lr=.nan"),
    Case("expected a name or a mapping with `name`", "A component is `mlp` or `{name: mlp, ...}`.",
         "Add the name.", "train x.yaml loss=3"),
    Case("expected text of the form", "The text has characters that are not meant here; names of "
         "experiments become folders.", "Use letters, digits, `_`, `.`, `+` and `-`.",
         "train x.yaml name=../up"),
    Case("'lr' is no override: write key=value, e.g. optimizer.lr=0.1", "Arguments after the file "
         "are changes to it.", "Write key=value.", "train x.yaml lr"),
    Case("the list 'dataset.augment' has no such item", "The list is shorter.",
         "Give the whole list: `dataset.augment=[...]`.", "train x.yaml dataset.augment.7=rotation",
         files=lambda folder: (folder / "x.yaml").write_text(
             "dataset: {name: digits, augment: []}\nmodel: mlp\n")),
    Case("'seed' holds no keys", "It is a number, not a section.", "Look at the path.",
         "train x.yaml seed.x.y=1", files=lambda folder: (folder / "x.yaml").write_text(
             "dataset: digits\nmodel: mlp\nseed: 1\n")),
    Case("name a config file, or a run with --resume RUN", "Neither was given, or "
         "both.",
         "`cnnrun train FILE` or `cnnrun train --resume RUN`.", "train"),
    Case("unknown kind 'modle'; did you mean 'model'?", "There is no such kind of component.",
         "`cnnrun list` shows all.", "list modle"),
    Case("unknown model 'mpl'; did you mean 'mlp'?; `cnnrun list model` shows all",
         "There is no such component.", "Take the one that is named.", "list model mpl"),
    Case("plugins: expected a list of files", "One plug-in is a list of one, too.",
         "Write `plugins: [mine.py]`.", "train x.yaml plugins=mine.py"),
    Case("plug-in …: there is no such file (paths are from …)", "The file is not where you stand.",
         "Name it from there, or in full.", "train x.yaml plugins=[no.py]"),
    Case("mine.py:4: the model 'mine' has the parameter 'width' before the `*`",
         "Parameters before the `*` are given by cnnrun, and it has no such thing to give.",
         "Write it after the `*`, with a type: it is a YAML key then.",
         "check x.yaml model=mine plugins=[mine.py]", 2,
         module("from torch import nn\nfrom cnnrun.plugin import models\n\n"
                "@models.register('mine')\ndef mine(num_classes, width=4): return nn.Flatten()\n")),
    Case("mine.py:5: in mine: ZeroDivisionError: division by zero",
         "Your component broke off in that line.",
         "Mend the line; --debug shows how it came there.",
         "check x.yaml model=mine plugins=[mine.py]", 1,
         module("from torch import nn\nfrom cnnrun.plugin import models\n\n"
                "@models.register('mine')\ndef mine(num_classes): return 1 / 0\n")),
    Case("plug-in …: not a Python file", "Its name does not end in `.py`.", "Name a `.py` file.",
         "train x.yaml plugins=[x.yaml]"),
    Case("plug-in …mine.py:1: NameError: ", "It broke off while it was imported.",
         "Mend the line that is named.", "train x.yaml plugins=[mine.py]", files=module("nope\n")),
]  # fmt: skip
