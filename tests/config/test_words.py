"""What people write who come from other tools is understood, or answered with the right place."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnrun.config.document import flattened
from cnnrun.config.experiment import experiment_model, load
from cnnrun.config.places import keys_at
from cnnrun.config.words import lookup, rows
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.registry import KINDS
from tests.conftest import Command

BASE = """
dataset: {name: digits, batch_size: 64}
model: {name: cnn, channels: [8, 16]}
optimizer: {name: sgd, lr: 0.1}
device: cpu
"""
GUESSES = [
    line.split("\t")
    for line in Path(__file__).with_name("guesses.tsv").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "base.yaml"


def _led_to(base: Path, guess: str, before: dict[str, Any]) -> str:
    """`= {what it changes}`, or the message."""
    try:
        after = flattened(load(base, [guess]).to_dict())
    except ConfigError as error:
        return str(error)
    return f"= {json.dumps({k: v for k, v in after.items() if before.get(k, '?') != v})}"


@pytest.mark.slow
def test_each_guess_is_understood_or_answered_with_the_right_place(base: Path) -> None:
    """The right place in one step, for all; of what other tools have, a bare list for few."""
    before = flattened(load(base).to_dict())
    found = {guess: (wanted, _led_to(base, guess, before)) for guess, wanted in GUESSES}
    wrong = {g: both for g, both in found.items() if both[0] not in both[1]}
    accepted = sum(led.startswith("= ") for _, led in found.values())
    lists = [g for g, (_, led) in found.items() if "the keys here are" in led or "; known: " in led]
    hits = len(found) - len(wrong) - len(lists)
    print(
        f"\n{len(found)} guesses, {hits / len(found):.1%} hit: {accepted} accepted, "
        f"{hits - accepted} answered with the place; {len(lists)} with a list, {len(wrong)} wrong"
    )
    assert len(found) > 1000
    assert wrong == {}
    assert hits >= 0.98 * len(found), lists


def test_the_table_has_each_word_once_a_place() -> None:
    plain = str.maketrans("", "", "-_. ")
    words = [(w, word.lower().translate(plain)) for w, ws, *_ in rows() for word in ws]
    words = [(where, word) for where, word in words if "*" not in word]
    assert len(words) > 2000
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_the_table_leads_to_what_there_is() -> None:
    """Keys of the file and of some component, and names that are registered."""
    model = experiment_model()
    for at, _, here, _ in rows():
        where = at.replace("?", "=")
        for target in filter(None, (h.strip() for h in here.removeprefix("=").split(","))):
            if where in ("command", "option", "params", "name", "device=") or target[-1] in "}.":
                continue
            section = {"augment": "dataset.augment", "file": ""}.get(where, where)
            value = f"{where}= -> {target}"
            if where.endswith("=") and target != where[:-1] and "." not in target:
                kind = where[:-1].rpartition(".")[2].removesuffix("s")
                kind = {"augment": "augmentation"}.get(kind, kind)
                if kind in KINDS:
                    name = f"{target.partition('/')[0]}/*" if "/" in target else target
                    libraries = [f"{each}/*" for each in KINDS[kind].libraries.known]
                    known = [*KINDS[kind].names(), *libraries, *model.model_fields]
                    assert "/*" not in name or KINDS[kind].get(target), value
                    assert name in known, value
            elif not where.endswith("="):
                path = [*section.split("."), target[1:]] if target[0] == "." else target.split(".")
                if path[0] == "dataset" and path[1:2] == ["augment"] and len(path) == 3:
                    entries = [KINDS["augmentation"].get(n) for n in KINDS["augmentation"].names()]
                    assert any(path[2] in e.parameters for e in entries), value
                else:
                    assert path[-1] in keys_at(tuple(path[:-1]), {}, model), value


def test_a_word_of_cnnrun_itself_is_never_taken_for_another() -> None:
    """What is a key or a name here means that, whatever other tools call it."""
    for kind, registry in KINDS.items():
        for name in registry.names():
            found = lookup(f"{kind}=", name)
            assert found is None or not found.same or found.here == (name,), (kind, name)


@pytest.mark.parametrize(
    ("word", "choices", "hint"),
    [
        ("acuracy", ["accuracy", "loss"], "accuracy"),
        ("mpl", ["mlp", "cnn"], "mlp"),
        ("Cross-Entropy", ["cross_entropy"], "cross_entropy"),
        ("he_normal", ["normal", "uniform"], None),
        ("resnet18", ["resnet", "vgg"], None),
        ("amp", ["warmup_epochs"], None),
        ("ce", ["bce"], None),
        ("img", ["image", "label"], "image"),
        ("lbl", ["image", "label"], "label"),
        ("mge", ["image", "label"], None),
        ("cifar1", ["cifar10", "cifar100"], None),
        ("train_file", ["transfer", "training"], None),
        ("trainning", ["transfer", "training"], "training"),
    ],
)
def test_a_near_word_is_a_slip_and_not_a_part(
    word: str, choices: list[str], hint: str | None
) -> None:
    assert did_you_mean(word, choices) == (f"; did you mean '{hint}'?" if hint else "")


def test_what_is_accepted_is_written_in_the_standard_form(cnnrun: Command, tmp_path: Path) -> None:
    """Also in the run's config, so that it is the same experiment to compare and resume."""
    (tmp_path / "theirs.yaml").write_text(
        "name: x\ndata: {name: Digits, bs: 64, limit: 60}\nnet: {type: MLP, hidden_dims: [8]}\n"
        "optim: {class_path: torch.optim.SGD, init_args: {learning_rate: 0.1}}\nmanual_seed: 3\n"
        "trainer: {max_epochs: 1, gradient_clip_val: 1.0}\nlogger: CSVLogger\n"
    )
    (tmp_path / "ours.yaml").write_text(
        "name: x\ndataset: {name: digits, batch_size: 64, limit: 60}\n"
        "model: {name: mlp, hidden: [8]}\noptimizer: {name: sgd, lr: 0.1}\nseed: 3\n"
        "training: {epochs: 1, clip_norm: 1.0}\nloggers: [csv]\n"
    )
    configs, logs = [], []
    for name in ("theirs", "ours"):
        ended = cnnrun("train", f"{name}.yaml", "-q", "training.draw=false")
        assert ended.code == 0, ended.err
        configs.append((tmp_path / ended.out.strip() / "config.yaml").read_text())
        logs.append((tmp_path / ended.out.strip() / "metrics.jsonl").read_bytes())
    assert yaml.safe_load(configs[0]) == yaml.safe_load(configs[1])
    assert logs[0] == logs[1]


def test_one_setting_by_two_words_is_refused(base: Path) -> None:
    base.write_text(f"{BASE}epochs: 3\ntraining: {{epochs: 5}}\n")
    with pytest.raises(ConfigError, match=r"base.yaml:6:9: epochs: the same as training.epochs"):
        load(base)
    assert load(base, ["training.epochs=7"], []).training.epochs == 7


def test_a_word_on_the_command_line_overrides_the_file(base: Path) -> None:
    assert load(base, ["learning_rate=0.5"]).to_dict()["optimizer"]["lr"] == 0.5


def test_a_mistake_in_what_was_accepted_is_told_where_it_was_written(base: Path) -> None:
    base.write_text(f"{BASE}trainer:\n  max_epochs: many\n")
    with pytest.raises(ConfigError, match=r"base.yaml:7:15: training.epochs: expected"):
        load(base)


def test_at_most_eight_names_are_listed(base: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(base, ["dataset.augment=[qqqq]"])
    listed = str(caught.value).partition("known: ")[2].partition("; ")[0]
    assert listed.count(",") == 7
    assert listed.endswith(" in all)")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("fit x.yaml", "there is no command 'fit'; did you mean `cnnrun train FILE`?"),
        ("resume runs/x", "did you mean `cnnrun train --resume RUN`?"),
        ("test runs/x", "did you mean `cnnrun eval RUN`?"),
        ("plot confusion runs/x", "did you mean `cnnrun viz PLOT RUN`?"),
        ("tune x.yaml", "did you mean `cnnrun sweep FILE`?"),
        ("trian x.yaml", "did you mean 'train'?"),
        ("qqq", "there is no command 'qqq'; `cnnrun -h` lists them"),
        ("train base.yaml --epochs 3", "--epochs; a setting is written training.epochs=VALUE"),
        ("train base.yaml --max_epochs=3", "a setting is written training.epochs=VALUE"),
        ("train base.yaml --lr 0.1", "a setting is written optimizer.lr=VALUE"),
        ("train base.yaml --batch-size 8", "a setting is written dataset.batch_size=VALUE"),
        ("train base.yaml --seed 1", "a setting is written seed=VALUE"),
        ("train base.yaml --wd 0.1", "a setting is written optimizer.weight_decay=VALUE"),
        ("train --config base.yaml", "there is no option --config; write FILE"),
        ("train base.yaml --resume-from r", "write --resume RUN"),
        ("train base.yaml --gpus 2", "write device=cuda:0"),
        ("train base.yaml --qqq", "settings are written KEY=VALUE"),
        ("train base.yaml --cpu", "write device=cpu"),
        ("train base.yaml --trainer.max_epochs 3", "trainer.max_epochs=VALUE, without dashes"),
        ("train base.yaml --pretrained", "transfer.weights=VALUE, after the file (transfer: {"),
        ("train base.yaml --opts lr 0.1", "write KEY=VALUE (after the file"),
        ("train base.yaml --nproc-per-node 2", "write torchrun (several GPUs: torchrun"),
        ("predict r --topk 3 x.png", "did you mean '--top'?"),
        ("tail runs/x", "did you mean `cnnrun report RUN`?"),
        ("gradcam runs/x", "did you mean `cnnrun viz PLOT RUN`?"),
        ("help", "did you mean `cnnrun -h`?"),
    ],
)
@pytest.mark.usefixtures("base")
def test_commands_and_options_by_other_names(cnnrun: Command, arguments: str, wanted: str) -> None:
    ended = cnnrun(*arguments.split())
    assert ended.code == 2
    assert wanted in ended.err
    assert ended.err.startswith("error: there is no ")


@pytest.mark.parametrize(
    ("section", "given"),
    [
        ("optimizer", "optimizer.lr=0.05"),
        ("optimizer", "optimizer.momentum=0.9"),
        ("optimizer", "lr=0.05"),
        ("initializer", "initializer=he_uniform"),
        ("schedule", "schedule.warmup_epochs=1"),
        ("loss", "loss.label_smoothing=0.1"),
        ("task", "task.tta=flip"),
        ("training", "training.amp=bf16"),
        ("training", "epochs=3"),
        ("transfer", "transfer.freeze=features"),
    ],
)
def test_keys_of_sections_that_the_file_leaves_out(
    tmp_path: Path, section: str, given: str
) -> None:
    (tmp_path / "short.yaml").write_text("dataset: digits\nmodel: cnn\n")
    found = load(tmp_path / "short.yaml", [given]).to_dict()
    assert found[section] != load(tmp_path / "short.yaml").to_dict()[section]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("early_stopping: {patience: 5, monitor: val_loss}", {"patience": 5, "monitor": "loss"}),
        ("experiment: {epochs: 5}", {"epochs": 5}),
        ("model_checkpoint: {}\nTRAIN: {MAX_EPOCHS: 5}", None),
        ("Epochs: 5", {"epochs": 5}),
    ],
)
def test_a_mapping_where_a_key_stands_brings_keys_of_the_section(
    base: Path, theirs: str, ours: dict[str, Any] | None
) -> None:
    base.write_text(f"{BASE}{theirs}\n")
    if ours is None:
        with pytest.raises(ConfigError, match=r"base.yaml:6:1: model_checkpoint: unknown key"):
            load(base)
        return
    found = load(base).to_dict()["training"]
    assert {key: found[key] for key in ours} == ours


def test_a_component_may_be_the_only_key_of_its_section(base: Path) -> None:
    base.write_text("dataset: digits\nmodel: {mlp: {hidden: [8]}}\noptimizer: {Adam: {lr: 0.1}}\n")
    found = load(base).to_dict()
    assert (found["model"]["hidden"], found["optimizer"]["lr"]) == ([8], 0.1)


def test_what_is_switched_off_by_another_tools_word_is_to_be_left_out(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"'training.amp'.*it is off unless given: leave it out"):
        load(base, ["fp16=false"])
    with pytest.raises(ConfigError) as caught:
        load(base, ["fp16=true"])
    assert "leave it out" not in str(caught.value)


@pytest.mark.parametrize("first", [[], ["training={epochs: 2}"], ["training.epochs=3"]])
def test_a_bare_word_does_not_become_the_name_of_the_run(base: Path, first: list[str]) -> None:
    """`train` means `training`, which has no component that a bare word could name."""
    with pytest.raises(ConfigError, match="training"):
        load(base, [*first, "dataset={name: folder, root: r, train: photos}"])
