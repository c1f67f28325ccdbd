"""A mistake in a user's own component is told as theirs: their file, the line, one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cnnrun
from cnnrun.errors import UserCodeError, UserError
from tests.conftest import Command
from tests.small_run import CONFIG

HEAD = """import torch
from torch import nn
from cnnrun.plugin import *
"""


pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")


@pytest.fixture(autouse=True)
def _config(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG)


MODEL = """
@models.register("mine")
class Mine(nn.Module):
    "A model."
    def __init__(self, input_shape, num_classes, *, width: int = 4):
        super().__init__()
        self.flat = nn.Flatten()
        self.head = nn.LazyLinear(num_classes)
        self.head(self.flat(torch.zeros(1, *input_shape)))
    def forward(self, images):
        return self.head(self.flat(images))
"""
SCHEDULE = """
@schedules.register("mine")
class Mine(Schedule):
    "A schedule."
    def factor(self, step):
        return 1 / (1 + step)
"""
DATASET = """
@datasets.register("mine")
def mine():
    "Data."
    images = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
    labels = torch.arange(40) % 2
    return Dataset(("a", "b"), Split(images, labels), Split(images, labels))
"""
AUGMENTATION = """
@augmentations.register("mine")
class Mine(Photometric):
    "An augmentation."
    def draw(self, sampler):
        return {"much": sampler.uniform(0, 1)}
    def apply(self, images, draws):
        return images * per_image(draws["much"])
"""
LOSS = """
@losses.register("mine")
class Mine(nn.Module):
    "A loss."
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
    def forward(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, reduction="none")
"""
TASK = """
@tasks.register("mine")
class Mine(Classify):
    "A task."
    def scores(self, predictions, classes):
        return {"accuracy": 1.0, "loss": 0.0}
    def to_text(self, scores):
        return "fine"
"""
OPTIMIZER = """
@optimizers.register("mine")
def mine(parameters, *, lr: float = 0.1):
    "An optimizer."
    return torch.optim.SGD(parameters, lr)
"""
INITIALIZER = """
@initializers.register("mine")
def mine(weight):
    "Weights."
    weight.zero_()
"""
USES = {
    MODEL: "model=mine",
    SCHEDULE: "schedule=mine",
    DATASET: "dataset=mine",
    AUGMENTATION: "dataset.augment=[mine]",
    LOSS: "loss=mine",
    TASK: "task=mine",
    OPTIMIZER: "optimizer=mine",
    INITIALIZER: "initializer=mine",
}


def _check(cnnrun: Command, tmp_path: Path, text: str, use: str) -> str:
    """The one message of `cnnrun check` with a plug-in that is wrong."""
    (tmp_path / "mine.py").write_text(HEAD + text)
    ended = cnnrun("check", "small.yaml", use, "--plugin", "mine.py")
    assert ended.code in (1, 2), ended.out + ended.err
    return ended.err


@pytest.mark.parametrize("text", USES)
def test_what_is_right_is_taken(cnnrun: Command, tmp_path: Path, text: str) -> None:
    """The mistakes below are the only thing wrong with their files."""
    (tmp_path / "mine.py").write_text(HEAD + text)
    ended = cnnrun("check", "small.yaml", USES[text], "--plugin", "mine.py")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("text", "old", "new", "wanted"),
    [
        # Parameters that cnnrun does not give.
        (MODEL, "num_classes, *, width", "num_classes, width", "'width' before the `*`, where "
         "cnnrun gives input_shape, num_classes"),
        (LOSS, "self, *, scale: float", "self, scale: float", "'scale' before the `*`"),
        (DATASET, "def mine():", "def mine(root):", "'root' before the `*`"),
        (AUGMENTATION, "    def draw", "    def __init__(self, p=0.5):\n        pass\n    def draw",
         "'p' before the `*`, where cnnrun gives nothing"),
        (OPTIMIZER, "parameters, *, lr", "parameters, betas, *, lr", "'betas' before the `*`"),
        (INITIALIZER, "def mine(weight)", "def mine(tensor)", "'tensor' before the `*`, where "
         "cnnrun gives weight"),
        (INITIALIZER, "weight.zero_()", "weight.nothing()", "mine.py:LINE: in mine: Attribute"),
        # What is no such component.
        (SCHEDULE, SCHEDULE, "@schedules.register('mine')\ndef f(step):\n    return 1.0\n",
         "'step' before the `*`"),
        (SCHEDULE, SCHEDULE, "@schedules.register('mine')\ndef f(total_steps):\n"
         "    return lambda step: 1.0\n", "gives a function"),
        (SCHEDULE, "return 1 / (1 + step)", "step / 2", "gives a NoneType as factor(0)"),
        (AUGMENTATION, AUGMENTATION, "from torchvision.transforms import RandomHorizontalFlip\n"
         "@augmentations.register('mine')\ndef flip(*, p: float = 0.5):\n"
         "    return RandomHorizontalFlip(p)\n", "gives a RandomHorizontalFlip"),
        (AUGMENTATION, "Photometric", "nn.Module", "An augmentation is a class derived from"),
        (AUGMENTATION, "Photometric", "Augmentation", "An augmentation is a class derived from"),
        (MODEL, MODEL, "@models.register('mine')\ndef f(num_classes):\n    return nn.Linear\n",
         "gives the class Linear, not an instance"),
        (LOSS, LOSS, "@losses.register('mine')\ndef f():\n    nn.L1Loss()\n",
         "gives None; is a `return` missing?"),
        (OPTIMIZER, "return torch.optim.SGD(parameters, lr)", "return lr", "gives a float"),
        (DATASET, "return Dataset", "return list", "mine.py:LINE: in mine: TypeError"),
        # What fails in a line of theirs.
        (MODEL, "super().__init__()", "super().__init__(); 1 / 0",
         "mine.py:LINE: in __init__: ZeroDivisionError: division by zero"),
        (MODEL, "self.head(self.flat(images))", "images @ images.flatten(1)",
         "mine.py:LINE: in forward: RuntimeError: "),
        (DATASET, "torch.arange(40) % 2", "open('gone.txt')", "mine.py:LINE: in mine: FileNotF"),
        (AUGMENTATION, "return images * ", "return images.nothing + ", "mine.py:LINE: in apply: "),
        (LOSS, 'reduction="none"', 'reduction="all"', "mine.py:LINE: in forward: ValueError: all"),
        (OPTIMIZER, "return torch", "raise OSError('disk')\n    return torch",
         "mine.py:LINE: in mine: OSError: disk"),
        (TASK, '"A task."', "def step(self, *all): self.nothing", "mine.py:LINE: in step"),
        # What fails in no line of theirs.
        (MODEL, MODEL, "@models.register('mine')\ndef f(num_classes):\n"
         "    return nn.Sequential(nn.Flatten(), nn.Linear(7, num_classes))\n",
         "mine.py:4: the model 'mine' fails on 2 x 1 x 8 x 8 images: RuntimeError: "),
        (AUGMENTATION, "def apply", "def aply", "can't be made: TypeError: Can't instantiate"),
        (AUGMENTATION, "return {", "return 3 or {", "in apply: TypeError"),
        # What gives something else than it should.
        (MODEL, "LazyLinear(num_classes)", "LazyLinear(5)", "(2, 5) for 2 images of 10 classes"),
        (MODEL, "LazyLinear(num_classes)", "LazyLinear(12)", "(2, 12) for 2 images of 10 classes"),
        (MODEL, "return self.head(self.flat(images))", "return 2 * [images]", "gives a list for 2"),
        (MODEL, "return self.head", "self.head", "gives a NoneType for 2"),
        (AUGMENTATION, "return images *", "return images.mean() *", "makes torch.float32 (2, 1"),
        (DATASET, "torch.arange(40) % 2", "torch.zeros(40, 3).long()",
         "has train labels: torch.int64 (40, 3); expected torch.int64 (N,)"),
        (DATASET, "torch.arange(40) % 2", "torch.rand(40)", "has train labels: torch.float32 (40"),
        (DATASET, "torch.arange(40) % 2", "list(range(40))", "has train labels: a list"),
        (DATASET, "torch.arange(40)", "torch.arange(30)", "has 40 train images, but 30 labels"),
        (DATASET, ", dtype=torch.uint8", "", "has train images of torch.float32 (40, 1, 8, 8)"),
        (DATASET, '("a", "b")', "(0, 1)", "has classes that are not text: (0, 1)"),
        (DATASET, "Split(images, labels))", "(images, labels))", "gives a tuple as its test split"),
        (TASK, '(Classify):\n    "A', '(Task):\n    defaults = Classify.defaults\n    "A',
         "lacks the method `step`"),
        # What can't be a schema, or can't be run.
        (MODEL, "width: int", "width", "mine.py:5: ValueError: model 'mine': 'width' needs a type"),
        (MODEL, "width: int = 4", "width: nn.Module = None", "a type that YAML can't give"),
        (DATASET, "def mine():", "def mine(*, batch_size: int = 3):", "keys that all have"),
        (MODEL, '"A model."', "raise SystemExit(3)", "mine.py:LINE: SystemExit: 3"),
    ],
)  # fmt: skip
def test_mistakes(
    cnnrun: Command, tmp_path: Path, text: str, old: str, new: str, wanted: str
) -> None:
    assert old in text
    whole = text.replace(old, new, 1)
    told = _check(cnnrun, tmp_path, whole, USES[text])
    line = (HEAD + whole[: whole.index(new)]).count("\n") + 1
    assert wanted.replace("LINE", str(line)) in told
    assert re.search(r"mine\.py:\d+: ", told)
    assert "a bug" not in told
    assert len(told.splitlines()) <= 2


def test_evaluation_of_a_task_with_scores_of_its_own(cnnrun: Command, tmp_path: Path) -> None:
    """It need not count its samples."""
    (tmp_path / "mine.py").write_text(HEAD + TASK)
    trained = cnnrun("train", "small.yaml", "task=mine", "--plugin", "mine.py", "-q")
    assert trained.code == 0, trained.err
    ended = cnnrun("eval", trained.out.strip(), "--plugin", "mine.py")
    assert ended.out.startswith("test split, 360 images\nfine\n")


def test_plots_and_loggers_name_the_line_and_cost_nothing_else(
    cnnrun: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD + "@loggers.register('mine')\nclass L(Logger):\n    'A logger.'\n"
        "    def start(self, run, config, known):\n        return {}\n"
        "    def epoch(self, row):\n        row['nothing']\n"
        "@plots.register('mine')\ndef plot(target):\n    'A plot.'\n    return target.nothing\n"
    )
    trained = cnnrun("train", "small.yaml", "loggers=[mine]", "--plugin", "mine.py", "-q")
    assert trained.code == 0
    assert "mine.py:10: in epoch: KeyError: 'nothing'" in trained.err
    drawn = cnnrun("viz", "mine", trained.out.strip(), "--plugin", "mine.py")
    assert drawn.code == 1
    assert "mine.py:14: in plot: AttributeError" in drawn.err


def test_from_python_it_is_a_user_error_with_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(HEAD + LOSS.replace('"none"', '"all"'))
    with pytest.raises(UserError, match=r"mine\.py:11: in forward: ValueError") as caught:
        cnnrun.train("small.yaml", "loss=mine", plugins="mine.py")
    assert isinstance(caught.value, UserCodeError)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_bug_of_cnnrun_is_not_blamed_on_the_script_that_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cnnrun.runner.train", None)
    with pytest.raises(TypeError):
        cnnrun.train("small.yaml")


def test_an_edited_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where size and time of the file are the same, and its keys are others."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    for width, key in ((4, "width"), (6, "depth"), (4, "width")):
        file.write_text(HEAD + MODEL.replace("width: int = 4", f"{key}: int = {width}"))
        run = cnnrun.train("small.yaml", "model=mine", plugins=[file])
        assert run.config["model"] == {"name": "mine", key: width}
    file.write_text(HEAD + MODEL.replace('"mine"', '"yours"'))
    with pytest.raises(UserError, match="unknown name 'mine'"):
        cnnrun.train("small.yaml", "model=mine", plugins=[file])


def test_a_broken_edit_is_told_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    for _ in range(2):
        file.write_text(HEAD + MODEL + "\n1 / 0\n")
        with pytest.raises(UserError, match=r"mine\.py:\d+: ZeroDivisionError"):
            cnnrun.train("small.yaml", "model=mine", plugins=[file])
    file.write_text(HEAD + MODEL)
    assert cnnrun.train("small.yaml", "model=mine", plugins=[file]).summary


def test_a_cell_that_is_run_again_replaces_its_component(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run of a cell is a file of its own to Python."""
    monkeypatch.chdir(tmp_path)

    def run_cell(number: int, text: str) -> None:
        code = compile(HEAD + text, f"/tmp/ipykernel_1/{number}.py", "exec")
        exec(code, {"__name__": "__main__"})

    for number, width in enumerate((4, 6)):
        run_cell(number, MODEL.replace("int = 4", f"int = {width}"))
        assert cnnrun.train("small.yaml", "model=mine").config["model"]["width"] == width
    with pytest.raises(ValueError, match="model 'mine' is already registered by __main__"):
        run_cell(2, MODEL.replace("class Mine", "class Other"))
    (tmp_path / "mine.py").write_text(HEAD + MODEL)
    with pytest.raises(UserError, match=r"mine\.py:5: .* already registered by __main__"):
        cnnrun.train("small.yaml", "model=mine", plugins="mine.py")


def test_a_list_of_overrides_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"^\['seed=1'\] is not an override: .* given as \*list$"):
        cnnrun.train("digits_cnn", ["seed=1"])  # type: ignore[arg-type]
