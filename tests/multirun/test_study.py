"""Studies: variants under several seeds, from the YAML file to what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cnnrun.comparison import find_runs
from cnnrun.config.shipped import config_names
from cnnrun.errors import ConfigError, Interrupted, UserError
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.models.locally_connected import LocallyConnected2d
from cnnrun.multirun.launcher import train_jobs, workers
from cnnrun.multirun.study import diagnosis
from cnnrun.multirun.study import study as studies
from cnnrun.multirun.study.spec import load
from tests.conftest import CONFIGS, Command, Result, thorough_only
from tests.forking import fork_runs

BASE = """\
dataset: {name: digits, batch_size: 64}
model: {name: mlp, hidden: [32]}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
device: cpu
training: {epochs: 2, draw: false}
"""
STUDY = """\
about: Does it matter where a network begins?
base: base.yaml
variants:
  constant: {initializer: {name: constant, value: 0.1}}
  kaiming: {initializer: kaiming_normal}
  diverging: {initializer: {name: constant, value: 1e30}, optimizer.lr: 0.5}
contrasts: [[kaiming, constant]]
seeds: 2
workers: 2
plots: [curves, parameters, weights, activations, invariance]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, studies.Findings]]:
    """The folder that the study was run in, and its findings."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "base.yaml").write_text(BASE)
    (folder / "begin.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.MonkeyPatch.context() as forking:
            fork_runs(forking)
            findings = studies.run(Path("begin.yaml"), options=studies.LaunchOptions(quiet=True))
        yield folder, findings


@pytest.mark.slow
def test_a_study_tells_what_was_found_and_why(
    trained: tuple[Path, studies.Findings], cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time nothing is trained: those that finished count, the one that fails fails."""
    folder, findings = trained
    monkeypatch.chdir(folder)
    fork_runs(monkeypatch)
    again = cnnrun("study", "begin.yaml")
    assert again.code == 0, again.err
    assert again.out.strip() == findings.to_text()
    assert len(list(folder.glob("studies/begin/runs/*/*/summary.json"))) == 4
    text = again.out
    assert text.startswith("Does it matter where a network begins?\n")
    table = text.partition("variant ")[2].partition("\n\n")[0]
    rows = {line.split()[0]: line.split() for line in table.splitlines()}
    assert rows["kaiming"][1] == rows["constant"][1] == "2"
    assert rows["kaiming"][-1] == rows["constant"][-1] == "2,410"
    assert "between kaiming and constant" in text or "kaiming is better than constant" in text
    assert "constant hardly learned" in text
    assert "all 32 units of features.1 still have the same weights" in text
    assert "diverging, seed 0, failed: the loss is" in text
    names = ["comparison", "curves", "parameters", "weights", "activations", "invariance"]
    for name in names:
        assert f"plot: studies/begin/{name}.png" in text
        assert (folder / f"studies/begin/{name}.png").stat().st_size > 5000
    assert (folder / "studies/begin/findings.txt").read_text() == again.out
    found = json.loads((folder / "studies/begin/study.json").read_text())
    assert [group["name"] for group in found["groups"]] == ["kaiming", "constant"]
    assert found["sentences"] == findings.sentences


def test_a_variants_config_is_a_plain_experiment(
    trained: tuple[Path, studies.Findings], cnnrun: Command
) -> None:
    folder, _ = trained
    checked = cnnrun("check", folder / "studies/begin/configs/kaiming.yaml")
    assert checked.code == 0, checked.err
    compared = cnnrun("compare", folder / "studies/begin/runs")
    assert "kaiming_normal" in compared.out


def test_invariance_of_an_untouched_image_is_the_accuracy(
    trained: tuple[Path, studies.Findings],
) -> None:
    folder, findings = trained
    for name, runs in findings.invariances.items():
        result = next(r for r in findings.comparison.results if r.name == name)
        for run, curves in zip(result.group.runs, runs, strict=True):
            untouched = [curves[0].accuracies[5], curves[1].accuracies[5], curves[2].accuracies[4]]
            assert untouched == pytest.approx([run.summary["test"]["accuracy"]] * 3), folder
    assert findings.invariances["kaiming"][0][0].drop > 0.1


@pytest.mark.slow
def test_runs_that_are_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fork_runs(monkeypatch)
    Path("base.yaml").write_text(BASE)
    Path("takes.yaml").write_text(
        "base: base.yaml\n"
        "first: {source: {training.epochs: 3}}\n"
        "variants:\n"
        "  scratch: {training.epochs: 1}\n"
        "  taken: {training.epochs: 1, transfer.weights: 'run:source'}\n"
        "seeds: [5, 6]\n"
        "seeds_in_parallel: true\n"
    )
    findings = studies.run(Path("takes.yaml"), options=studies.LaunchOptions(workers=2, quiet=True))
    assert findings.comparison.results[0].name == "taken"
    [first] = Path("studies/takes/first/source").iterdir()
    assert {run.name for run in find_runs(["studies/takes"])} == {"scratch", "taken"}
    taken = findings.comparison.results[0].group.runs
    assert {run.settings["transfer.weights"] for run in taken} == {str(first)}
    assert {run.seed for run in taken} == {5, 6}
    # A new beginning can be had for both at once, what was taken over can not.
    logs = {file.stem: file.read_text() for file in Path("studies/takes/logs").glob("*-all.log")}
    assert sorted(map(bool, logs.values())) == [False, True]
    assert "transfer: does not work with many seeds at once" in "".join(logs.values())


def test_one_variant_is_changed_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "begin.yaml").write_text(STUDY)
    changes = ["variants.kaiming.training.epochs=7", "variants.new={model.hidden: [8]}", "seeds=1"]
    study = load(tmp_path / "begin.yaml", changes)
    assert study.variants["kaiming"] == {"initializer": "kaiming_normal", "training.epochs": 7}
    assert study.variants["new"] == {"model.hidden": [8]}
    assert study.seeds == 1
    assert study.set == {}


def test_a_dry_run_prints_what_a_shell_can_run(cnnrun: Command, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "begin.yaml").write_text(STUDY)
    lines = cnnrun("study", "begin.yaml", "--dry-run").out.splitlines()
    assert len(lines) == 6
    assert lines[3] == (
        "cnnrun train studies/begin/configs/kaiming.yaml seed=1 output=studies/begin/runs -q"
    )
    assert cnnrun("check", "studies/begin/configs/kaiming.yaml").code == 0
    (tmp_path / "begin.yaml").write_text(STUDY + "first: {source: {}}\n")
    refused = cnnrun("study", "begin.yaml", "--dry-run")
    assert refused.code == 2
    assert "the variants need the folders of the runs first: source" in refused.err


class Stub:
    """Runs that fail without a word, or are stopped; how many were begun."""

    def __init__(self, code: int | None) -> None:
        self.code, self.begun = code, 0

    def work(self, queue: object) -> int | None:  # noqa: ARG002
        self.begun += 1
        return self.code


def test_a_study_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("begin.yaml").write_text(STUDY)
    monkeypatch.setattr(train_jobs, "workers_of", lambda *_: Stub(130))
    with pytest.raises(
        Interrupted,
        match=r"stopped; 0 of 6 runs are finished, .* continue: cnnrun study begin",
    ) as e:
        studies.run(Path("begin.yaml"), ["training.epochs=3"])
    assert e.value.exit_code == 130
    assert "training.epochs=3" in str(e.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("", "no run of this study finished; the first: exit code 3"),
        ("first: {source: {}}\n", "source, trained first, failed: exit code 3"),
    ],
)
def test_nothing_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("begin.yaml").write_text(STUDY + first)
    monkeypatch.setattr(workers, "PROGRAM", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match=message):
        studies.run(Path("begin.yaml"), options=studies.LaunchOptions(quiet=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[kaiming, constant]", "[kaiming, constnat]"), "'constnat' is none of the variants; did"),
        (("kaiming: {init", "kaiming: {seed: 3, init"), "seed: can't vary; use `seeds`"),
        (("kaiming: {init", "kaiming: {name: x, init"), "name: can't vary; it is not part"),
        (
            ("kaiming: {init", "kaiming: {transfer.weights: 'run:frist', init"),
            "no run 'frist' is trained `first`",
        ),
        (("lr: 0.5", "lr: fast"), r"begin.yaml:6:\d+: optimizer.lr: expected a number"),
        (("value: 0.1", "valeu: 0.1"), r"begin.yaml:4:\d+: .*valeu"),
        (("plots: [curves", "plots: [curvs"), "curvs"),
        (("seeds: 2", "seeds: 0"), "seeds"),
        (("base: base.yaml", "base: bsae.yaml"), "bsae.yaml"),
    ],
)
def test_mistakes_are_told_with_their_place(
    cnnrun: Command, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "begin.yaml").write_text(STUDY.replace(*change))
    ended: Result = cnnrun("study", "begin.yaml")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(ended.err)
    assert not (tmp_path / "studies").exists()


def test_a_place_that_can_not_be_written_to(cnnrun: Command, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "begin.yaml").write_text(STUDY)
    (tmp_path / "taken").write_text("a file")
    ended = cnnrun("study", "begin.yaml", "output=taken")
    assert ended.code == 2
    assert "output: can't write to taken" in ended.err


@pytest.mark.parametrize("name", config_names("study"))
def test_shipped_studies_are_valid(name: str) -> None:
    plan = studies._Plan(load(Path(name)), studies.LaunchOptions())
    assert set(plan.variants) == set(plan.study.variants)
    assert plan.study.about


def test_shipped_studies_are_there() -> None:
    files = {file.stem for file in (CONFIGS / "studies").glob("*.yaml")}
    assert set(config_names("study")) == files
    assert len(files) >= 7
    assert not files & set(config_names())
    with pytest.raises(ConfigError, match="no study of that name"):
        load(Path("initialisers"))


def _weights(*layers: nn.Module) -> dict[str, torch.Tensor]:
    named = nn.Sequential(*layers).named_parameters()
    return {name: p.detach() for name, p in named if p.dim() > 1}


class TestDiagnosis:
    def test_symmetry(self) -> None:
        equal, other = nn.Linear(5, 4), nn.Linear(4, 3)
        nn.init.constant_(equal.weight, 0.3)
        assert "all 4 units of 0 still" in diagnosis._symmetric(_weights(equal, other))
        nn.init.zeros_(equal.weight)
        assert "all weights of 0 are still 0" in diagnosis._symmetric(_weights(equal, other))
        local = LocallyConnected2d(1, 2, (4, 4), kernel_size=3)
        nn.init.constant_(local.weight, 0.1)
        assert "all 2 units of 0 still" in diagnosis._symmetric(_weights(local, other))

    def test_what_learns_is_not_symmetric(self) -> None:
        layers = nn.Conv2d(1, 4, 3), nn.Linear(5, 4), nn.Linear(4, 1)
        assert diagnosis._symmetric(_weights(*layers)) == ""

    def test_numbers_that_are_none(self) -> None:
        layer = nn.Linear(5, 4)
        with torch.no_grad():
            layer.weight[0, 0] = float("inf")
        assert "0 are no longer finite" in diagnosis._not_finite(_weights(layer))

    def test_silence_and_lost_signals(self, trained: tuple[Path, studies.Findings]) -> None:
        _, findings = trained
        run = findings.comparison.results[0].group.runs[0]
        _, parts, _ = open_checkpoint(run.path)
        assert diagnosis._silent(parts) == diagnosis._all_alike(parts) == ""
        with torch.no_grad():
            parts.model.features[1].bias.fill_(-1e6)
            assert "all units of features.2 are dead" in diagnosis._silent(parts)
            assert "the same for every image" in diagnosis._all_alike(parts)

    def test_of_what_can_not_be_told(self, trained: tuple[Path, studies.Findings]) -> None:
        _, findings = trained
        result = findings.comparison.results[0]
        why = diagnosis.why(result.group.runs[0].path, findings.experiments[result.name])
        assert "the cause lies elsewhere" in why

    @pytest.mark.parametrize(
        ("accuracy", "expected"),
        [(0.1, "did not learn"), (0.11, "did not learn"), (0.2, "hardly learned"), (0.3, "")],
    )
    def test_verdict(self, accuracy: float, expected: str) -> None:
        assert diagnosis.verdict(accuracy, [10] * 10) == expected
        assert diagnosis.verdict(0.9 + accuracy / 10, [90, 10]) == "did not learn"


@pytest.mark.slow
@thorough_only
class TestTextbook:
    """The shipped studies on real digits reach what the textbooks say. A minute or two each."""

    def found(self, name: str, root: Path, shell: Command) -> SimpleNamespace:
        ended = shell(f"cnnrun study {name} dataset.root={root} -w 2 -q --json")
        assert ended.code == 0, ended.err
        values = json.loads(ended.out)
        return SimpleNamespace(
            accuracy={group["name"]: group["mean"] for group in values["groups"]},
            claimed={(d["first"], d["second"]): d["claimed"] for d in values["differences"]},
            **{key: values[key] for key in ("sentences", "parameters", "invariance")},
        )

    def test_initializers(self, mnist_root: Path, shell: Command) -> None:
        found = self.found("initializers", mnist_root, shell)
        assert found.accuracy["constant"] < 0.13
        assert found.claimed["general_rule", "uniform_0_1"]
        assert any(s.startswith("constant did not") and "same grad" in s for s in found.sentences)

    def test_convolutions_beat_an_mlp_of_their_size(self, mnist_root: Path, shell: Command) -> None:
        found = self.found("mlp_vs_conv", mnist_root, shell)
        assert found.claimed["conv", "mlp"]
        assert found.accuracy["conv"] > found.accuracy["mlp"] + 0.1
        assert found.parameters["mlp"] == pytest.approx(found.parameters["conv"], rel=0.05)

    def test_an_average_does_with_fewer_parameters(self, mnist_root: Path, shell: Command) -> None:
        found = self.found("heads", mnist_root, shell)
        assert 50 * found.parameters["average"] < found.parameters["flatten_512"]
        assert found.accuracy["average"] > found.accuracy["flatten_512"] - 0.03

    def test_augmentation_flattens_the_curve(self, mnist_root: Path, shell: Command) -> None:
        found = self.found("augmentation", mnist_root, shell)
        for change, variant in (
            ("rotation", "rotation"),
            ("scale", "scale"),
            ("shift", "translation"),
        ):
            least = {
                name: min(min(run[change].values()) for run in runs)
                for name, runs in found.invariance.items()
            }
            assert least[variant] > least["none"] + 0.1, (change, least)
