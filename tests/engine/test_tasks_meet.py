"""Every task meets every command: it works, or is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnrun import api
from cnnrun.config.experiment import load
from cnnrun.engine.build_data import build_dataset
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.evaluation.prediction import answers_for
from cnnrun.registry import tasks as registered
from cnnrun.runs.checkpoint import Checkpoint
from tests.conftest import Command, quick_ones
from tests.forking import fork_runs, together
from tests.small_tasks import CNN, TASKS, experiment, write

TAKES_SEEDS = ("regress", "multilabel")
ANSWERS = {"regress": "values", "multilabel": "probabilities", "segment": "pixels"}

every_task = pytest.mark.parametrize("task", TASKS)
# What costs a second a task, and is the same code for all of them.
a_task = pytest.mark.parametrize("task", quick_ones(TASKS, "segment"))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`runs(task)`: the directory of a trained run that nobody changes, with its plots."""
    known: dict[str, Path] = {}

    def run(task: str) -> Path:
        if task not in known:
            folder = tmp_path_factory.mktemp(task)
            changes = {"training": {"epochs": 2}, "output": str(folder)}
            known[task] = api.train(experiment(task, **changes)).path
        return known[task]

    return run


Runs = Callable[[str], Path]


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@every_task
def test_a_run_leaves_scores_and_plots(runs: Runs, task: str) -> None:
    summary = json.loads((runs(task) / "summary.json").read_text())
    assert summary["main_metric"] in summary["test"]
    assert summary["metrics"][summary["main_metric"]]["higher_is_better"] is not None
    plots = {file.stem for file in (runs(task) / "plots").glob("*.png")}
    assert plots == set(registered.get(task).factory.plots)  # type: ignore[attr-defined]


@every_task
def test_eval_gives_the_scores_of_the_summary(cnnrun: Command, runs: Runs, task: str) -> None:
    summary = json.loads((runs(task) / "summary.json").read_text())
    ended = cnnrun("eval", runs(task), "--json", "--batch-size", 7)
    assert ended.code == 0, ended.err
    scores = json.loads(ended.out)
    for name, value in summary["test"].items():
        assert scores[name] == pytest.approx(value, rel=1e-4), name
    text = cnnrun("eval", runs(task), "--split", "validation")
    assert text.code == 0, text.err
    logged = summary["best"]
    validation = json.loads(cnnrun("eval", runs(task), "--split", "validation", "--json").out)
    shared = [key for key in validation if f"validation_{key}" in logged]
    assert "loss" in shared
    for key in shared:
        assert validation[key] == pytest.approx(logged[f"validation_{key}"], rel=1e-3, abs=1e-5)


_STATES: list[dict[str, Any]] = [
    *({}, {"mean": 1, "std": "x"}, {"thresholds": {}}, {"names": 3}),
    *({"mean": [0.0], "std": [1.0]}, {"mean": [[0.0]], "std": [[1.0]]}),  # would be broadcast
    *({"mean": [0.0] * 4, "std": [0.0] * 4}, {"mean": [float("nan")] * 4, "std": [1.0] * 4}),
    *({"labels": 10**9, "thresholds": None}, {"labels": -1, "thresholds": None}),
    *({"labels": 3, "thresholds": [0.5]}, {"labels": 3, "thresholds": ["a", "b", "c"]}),
    *({"labels": 3, "thresholds": [float("nan")] * 3}, {"classes": 10**10}, {"classes": "a"}),
]


@pytest.mark.parametrize("state", _STATES)
@pytest.mark.parametrize("task", TASKS)
def test_a_damaged_state_is_told(
    cnnrun: Command, runs: Runs, tmp_path: Path, task: str, state: dict[str, object]
) -> None:
    """Numbers of another shape are neither broadcast nor given room in memory."""
    content = torch.load(runs(task) / "checkpoints" / "best.pt", weights_only=True)
    torch.save({**content, "task": state}, tmp_path / "other.pt")
    ended = cnnrun("eval", tmp_path / "other.pt")
    assert ended.code == 2, ended.out
    assert "the checkpoint's state of it is damaged" in ended.err


def test_counts_of_other_classes_are_told(cnnrun: Command, runs: Runs, tmp_path: Path) -> None:
    content = torch.load(runs("segment") / "checkpoints" / "best.pt", weights_only=True)
    torch.save({**content, "class_counts": [1]}, tmp_path / "other.pt")
    ended = cnnrun("eval", "other.pt", "loss={name: cross_entropy, weight: balanced}")
    assert ended.code == 1
    assert "the checkpoint is damaged: it names 4 classes and counts 1" in ended.err


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ("[:, 0]", "(2,)"),  # (N,) beside (N, 1) is (N, N)
        ("[:, :1]", "(2, 1)"),
        ("[:, :, None, None]", "(2, {0}, 1, 1)"),
        ("[None]", "(1, 2, {0})"),
    ],
)
@pytest.mark.parametrize(("task", "outputs"), [("regress", 4), ("multilabel", 3)])
@pytest.mark.usefixtures("no_component_outlives_its_test")
def test_a_network_that_answers_in_another_shape_is_refused(
    cnnrun: Command, tmp_path: Path, task: str, outputs: int, answers: str, told: str
) -> None:
    (tmp_path / "own.py").write_text(
        "import math\nfrom torch import nn\nfrom cnnrun.plugin import models\n"
        "@models.register('own')\nclass Own(nn.Module):\n    'Own.'\n"
        "    def __init__(self, input_shape, num_classes):\n        super().__init__()\n"
        "        self.f = nn.Sequential(\n"
        "            nn.Flatten(), nn.Linear(math.prod(input_shape), num_classes))\n"
        f"    def forward(self, x): return self.f(x){answers}\n"
    )
    file = write(task, tmp_path, model="own")
    ended = cnnrun("train", file, "--plugin", tmp_path / "own.py")
    assert ended.code == 2, ended.out
    assert f"gives torch.float32 {told.format(outputs)} for 2 images" in ended.err


@pytest.mark.parametrize("task", ["regress", "multilabel"])
def test_a_network_for_masks_is_for_masks(cnnrun: Command, tmp_path: Path, task: str) -> None:
    model = TASKS["segment"]["model"]
    ended = cnnrun("check", write(task, tmp_path, model=model))
    assert ended.code == 2
    assert f"task {task} needs a network that gives" in ended.err


@every_task
def test_images_of_each_class_need_classes(cnnrun: Command, tmp_path: Path, task: str) -> None:
    ended = cnnrun("check", write(task, tmp_path), "dataset.per_class=5")
    assert ended.code == 2
    assert "per_class: images are counted by their class, and these data have" in ended.err


@pytest.mark.parametrize(("there", "told"), [(1, "a, b"), (0, "none")])
def test_sets_of_labels_that_never_differ(
    cnnrun: Command, tmp_path: Path, there: int, told: str
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    sets = np.full((20, 2), there)
    np.savez(tmp_path / "d.npz", images=images, labels=sets)
    data = {"name": "npz", "file": "d.npz", "classes": ["a", "b"]}
    file = write("multilabel", tmp_path, dataset=data)
    ended = cnnrun("train", file)
    assert ended.code == 2
    assert f"all training images have the same labels ({told}): nothing to learn" in ended.err
    sets[::2, 0] = 1 - there  # one label is enough
    np.savez(tmp_path / "d.npz", images=images, labels=sets)
    assert cnnrun("train", file, "-q").code == 0


@every_task
def test_killed_and_resumed_it_ends_with_the_same_bits(
    killed_and_resumed: Callable[..., tuple[Path, Path]], tmp_path: Path, task: str
) -> None:
    whole, cut = killed_and_resumed(5, write(task, tmp_path))
    for name in ("best", "last"):
        ours, theirs = (Checkpoint.load(run / f"checkpoints/{name}.pt") for run in (whole, cut))
        assert all(torch.equal(ours.model[key], theirs.model[key]) for key in ours.model)
        assert ours.task == theirs.task
    tests = [json.loads((run / "summary.json").read_text())["test"] for run in (whole, cut)]
    assert tests[0] == tests[1]


@every_task
def test_predict_answers_files_as_eval_does(
    cnnrun: Command, runs: Runs, tmp_path: Path, task: str
) -> None:
    from PIL import Image

    _, parts, _ = open_checkpoint(runs(task))
    images = parts.dataset.test.images[torch.arange(6)]
    for k, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{k}.png")
    files = [tmp_path / f"{k}.png" for k in range(6)]
    ended = cnnrun("predict", runs(task), *files, "--json")
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)["predictions"]
    told = parts.task.prediction_rows(answers_for(parts, images), parts.dataset.classes, 5)
    assert len(told) == 6
    for row, expected in zip(rows, told, strict=True):
        for name, value in expected[ANSWERS[task]].items():
            assert row[ANSWERS[task]][name] == pytest.approx(value, rel=1e-4, abs=1e-6)
    assert cnnrun("predict", runs(task), files[0]).out.startswith(f"{files[0]}: ")
    table = cnnrun("predict", runs(task), *files, "--csv").out.splitlines()
    assert table[0].startswith("file,")
    assert len(table) >= 7
    refused = cnnrun("predict", runs(task), files[0], "--gradcam", "maps")
    assert refused.code == 2
    assert refused.err.count("\n") == 1


@pytest.mark.slow
@a_task
def test_an_exported_file_answers_as_the_network(
    cnnrun: Command, runs: Runs, tmp_path: Path, task: str
) -> None:
    import onnxruntime

    file = tmp_path / "model.onnx"
    ended = cnnrun("export", runs(task), "--format", "onnx", "-o", file)
    assert ended.code == 0, ended.err
    _, parts, _ = open_checkpoint(runs(task))
    session = onnxruntime.InferenceSession(str(file))
    inputs = parts.pipeline.normalize(parts.dataset.test.images[torch.arange(3)])
    [found] = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    with torch.no_grad():
        expected = parts.model.eval()(inputs)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["task"] == task
    assert metadata["output"] == parts.task.output


@every_task
def test_report_runs_and_compare(cnnrun: Command, runs: Runs, tmp_path: Path, task: str) -> None:
    run = runs(task)
    ended = cnnrun("report", run, "-o", tmp_path / "report.html")
    assert ended.code == 0, ended.err
    assert "data:image/png" in (tmp_path / "report.html").read_text()
    other = Path(
        cnnrun("train", write(task, tmp_path), "seed=1", f"output={tmp_path}", "-q").out.strip()
    )
    compared = cnnrun("compare", run, other)
    assert compared.code == 0, compared.err
    main = json.loads((run / "summary.json").read_text())["main_metric"]
    display = registered.get(task).factory.metric(main).display_name  # type: ignore[attr-defined]
    assert display in compared.out
    assert cnnrun("runs", run.parent.parent).code == 0


# What can be drawn of any network, and what needs one class per image.
DRAWN = ("samples", "curves", "activations", "pixels")
REFUSED = ("confusion", "mistakes", "saliency", "gradcam", "embeddings", "invariance", "latent")


@pytest.mark.slow
@a_task
def test_each_plot_is_drawn_or_refused(
    cnnrun: Command, runs: Runs, tmp_path: Path, task: str
) -> None:
    for plot in DRAWN:
        ended = cnnrun("viz", plot, runs(task), "-o", tmp_path / f"{plot}.png")
        assert ended.code == 0, (plot, ended.err)
    for plot in REFUSED:
        ended = cnnrun("viz", plot, runs(task), "-o", tmp_path / f"{plot}.png")
        assert ended.code in (1, 2), plot
        assert ended.err.count("\n") == 1, ended.err


@pytest.mark.slow
@a_task
def test_two_processes_compute_what_one_does(cnnrun: Command, tmp_path: Path, task: str) -> None:
    """Uneven parts: 108 training images in batches of 32, 12 validation images."""
    plain = {"model": {**TASKS[task]["model"]}, "optimizer": {"name": "sgd", "lr": 0.05}}
    plain["model"]["batch_norm"] = False  # each process would have statistics of its own
    if "encoder" in plain["model"]:
        plain["model"]["encoder"] = {**CNN, "batch_norm": False}
    file = write(task, tmp_path, **plain)
    alone = Path(cnnrun("train", file, "-q", "output=one").out.strip())
    ended = together(2, "train", file, "-q", "output=two")
    assert ended.code == 0, ended.err
    pair = Path(ended.out.strip())
    for ours, theirs in zip(_rows(pair), _rows(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    scores = [json.loads((run / "summary.json").read_text())["test"] for run in (alone, pair)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-3, abs=1e-4)


@every_task
def test_many_seeds_are_each_as_if_alone_or_refused(
    cnnrun: Command, tmp_path: Path, task: str
) -> None:
    file = write(task, tmp_path)
    ended = cnnrun("train", file, "--seeds", "3,4", "-q")
    if task not in TAKES_SEEDS:
        assert ended.code == 2
        assert "does not work with many seeds at once; train them one by one" in ended.err
        return
    assert ended.code == 0, ended.err
    for seed, run in zip((3, 4), map(Path, ended.out.split()), strict=True):
        alone = Path(cnnrun("train", file, f"seed={seed}", "output=alone", "-q").out.strip())
        for ours, theirs in zip(_rows(run), _rows(alone), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
        ours, theirs = (Checkpoint.load(r / "checkpoints/last.pt") for r in (run, alone))
        assert ours.task == theirs.task


@pytest.mark.slow
@a_task
def test_a_sweep_ranks_its_runs(
    cnnrun: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    fork_runs(monkeypatch)
    write(task, tmp_path)
    (tmp_path / "sweep.yaml").write_text(
        f"base: {task}.yaml\ngrid: {{optimizer.lr: [0.01, 0.02]}}\n"
    )
    ended = cnnrun("sweep", "sweep.yaml")
    assert ended.code == 0, ended.err
    assert "0.01" in ended.out
    assert "0.02" in ended.out


@pytest.mark.parametrize("task", [task for task in TASKS if task != "segment"])
def test_a_classifiers_features_are_taken_over_and_kept_frozen(
    cnnrun: Command, tmp_path: Path, task: str
) -> None:
    """The same cases of transfer, with frozen features that are computed once where they can be."""
    before = {**experiment(task), "task": "classify", "name": "before"}
    before["dataset"] = {**before["dataset"], "targets": "labels"}
    weights = api.train({**before, "output": str(tmp_path)}).path
    transfer = {"weights": str(weights), "freeze": "features", "head": []}
    before_file = api.load_run(weights).path / "checkpoints/best.pt"
    file = write(task, tmp_path, transfer=transfer, model=CNN)
    run = Path(cnnrun("train", file, "-q").out.strip())
    trained = Checkpoint.load(run / "checkpoints/last.pt").model
    kept = Checkpoint.load(before_file).model
    assert torch.equal(trained["features.0.conv.weight"], kept["features.0.conv.weight"])
    scores = json.loads(cnnrun("eval", run, "--json").out)
    summary = json.loads((run / "summary.json").read_text())["test"]
    assert scores["loss"] == pytest.approx(summary["loss"], rel=1e-4)


@every_task
def test_what_a_task_can_not_use_is_refused_with_its_place(
    cnnrun: Command, tmp_path: Path, task: str
) -> None:
    file = write(task, tmp_path)
    wanted = TASKS[task]["dataset"]["targets"]
    told = {
        "dataset.targets=labels": f"needs {wanted.replace('_', ' ')}: dataset.targets={wanted}",
        "loss=ssim": "this loss compares pixels, not",
        "model=conv_autoencoder": "task",
    }
    for change, message in told.items():
        ended = cnnrun("check", file, change)
        assert ended.code == 2, (change, ended.out)
        assert message in ended.err, (change, ended.err)
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("regress", "model=conv_autoencoder", "needs a network that gives numbers, such as cnn"),
        ("multilabel", "model=conv_autoencoder", "needs a network that gives logits, such as cnn"),
        ("regress", "dataset=digits", "task regress needs values; for such data use task classify"),
        ("regress", "dataset.size=20", "would not move with it; leave the size as it is"),
        ("segment", "model.decoder=[8]", "1 widths, but cnn gives maps of 3 sizes: 2 steps"),
    ],
)
def test_what_does_not_fit_is_named(
    cnnrun: Command, tmp_path: Path, task: str, change: str, message: str
) -> None:
    ended = cnnrun("check", write(task, tmp_path), change)
    assert ended.code == 2
    assert message in ended.err


@every_task
def test_grad_cam_is_of_a_class(cnnrun: Command, runs: Runs, tmp_path: Path, task: str) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "x.png")
    ended = cnnrun("predict", runs(task), "x.png", "--gradcam", "maps")
    assert ended.code == 2
    told = f"explains the score of one class of an image; task {task} predicts none"
    assert told in ended.err


@every_task
def test_a_data_report_counts_the_images_of_each_output(
    cnnrun: Command, tmp_path: Path, task: str
) -> None:
    config = write(task, tmp_path)
    found = json.loads(cnnrun("data", config, "--json").out)
    data = build_dataset(load(config))
    for name in ("train", "validation", "test"):
        held = data.split(name).targets.held
        there = torch.ones_like(held) if task == "regress" else held
        if task == "segment":
            there = torch.stack([(held == k).flatten(1).any(1) for k in range(4)], 1)
        assert found["counts"][name] == there.sum(0).tolist()
        assert found["totals"][name] == len(held)
    shown = cnnrun("data", config, "-o", tmp_path / "data.png")
    assert shown.code == 0, shown.err
    assert {"multilabel": "label", "regress": "value", "segment": "class"}[task] in shown.out
