"""Checkpoints, weights and configs of strangers, given to every command that reads them: nothing in
them runs, the memory they cost is bounded, and one message says what was refused."""

from __future__ import annotations

import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnrun.config.experiment import load
from cnnrun.runner import train
from tests.conftest import Command, Result, slow_ones
from tests.malice import bounded, refused

CONFIG = """\
dataset: {name: digits, limit: 60}
model: {name: mlp, hidden: [4]}
device: cpu
training: {epochs: 1, draw: false}
"""


class _Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Is bounded for each case."""
    with bounded(monkeypatch):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "x.yaml").write_text(CONFIG)
    return train(load(folder / "x.yaml", [f"output={folder}"]), quiet=True).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run that is not finished, and the config next to it."""
    (tmp_path / "x.yaml").write_text(CONFIG)
    copy = shutil.copytree(trained, tmp_path / "run")
    (copy / "summary.json").unlink()
    return copy


# Pickles ------------------------------------------------------------------------------------------


def _forms(content: Any, file: Path, form: str) -> None:
    """`content` in one of the forms that `torch.load` reads."""
    if form == "zip":
        torch.save(content, file)
    elif form == "before 2020":
        torch.save(content, file, _use_new_zipfile_serialization=False)
    else:
        file.write_bytes(pickle.dumps(content))


FORMS = ("zip", "before 2020", "pickle")
READERS: dict[str, Callable[[Command, Path, Path], Result]] = {
    "eval of the file": lambda cnnrun, evil, _: cnnrun("eval", evil),
    "viz of the file": lambda cnnrun, evil, _: cnnrun("viz", "confusion", evil),
    "describe of the file": lambda cnnrun, evil, _: cnnrun("describe", evil),
    "eval of a run": lambda cnnrun, evil, run: cnnrun("eval", _planted(evil, run)),
    "resuming": lambda cnnrun, evil, run: cnnrun("train", "--resume", _planted(evil, run)),
    "transfer": lambda cnnrun, evil, _: cnnrun("train", "x.yaml", f"transfer.weights={evil}"),
    "transfer from a run": lambda cnnrun, evil, run: cnnrun(
        "train", "x.yaml", f"transfer.weights={_planted(evil, run)}"
    ),
}


def _planted(evil: Path, run: Path) -> Path:
    for name in ("last.pt", "best.pt"):
        shutil.copy(evil, run / "checkpoints" / name)
    return run


@pytest.mark.parametrize(
    ("reader", "form"),
    [*((reader, "zip") for reader in READERS), *(("eval of the file", form) for form in FORMS[1:])],
)
def test_no_pickle_runs(cnnrun: Command, run: Path, tmp_path: Path, reader: str, form: str) -> None:
    evil = tmp_path / "evil.pt"
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    _forms({**content, "progress": _Evil()}, evil, form)
    refused(READERS[reader](cnnrun, evil, run), "could run code")


def test_these_pickles_do_run_when_read_carelessly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for form in FORMS:
        _forms({"model": _Evil()}, Path("evil.pt"), form)
        if form == "pickle":
            pickle.loads(Path("evil.pt").read_bytes())
        else:
            torch.load("evil.pt", weights_only=False)
        Path("pwned").unlink()


@pytest.mark.usefixtures("run")
def test_a_pickle_that_calls_itself_safetensors(cnnrun: Command) -> None:
    Path("evil.safetensors").write_bytes(pickle.dumps(_Evil()))
    ended = cnnrun("train", "x.yaml", "transfer.weights=evil.safetensors")
    refused(ended, "evil.safetensors: can't be read")


def test_weights_of_style_transfer_run_no_code(cnnrun: Command, tmp_path: Path) -> None:
    _forms({"features.0.weight": _Evil()}, tmp_path / "evil.pth", "zip")
    (tmp_path / "style.yaml").write_text(
        "task: stylize\ndataset: {name: image, file: 'sample:china.jpg', longest: 32, steps: 1}\n"
        "model: {name: image}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
        "loss: {name: neural_style, weights: evil.pth, styles: [{file: 'sample:flower.jpg'}]}\n"
    )
    refused(cnnrun("train", "style.yaml"), "evil.pth: refused", "could run code")


# Checkpoints whose numbers are absurd -------------------------------------------------------------


def _with(run: Path, **changes: Any) -> Path:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, at what these tests do to it
        torch.save({**content, **changes}, "absurd.pt")
    return Path("absurd.pt")


@pytest.mark.parametrize("command", ["eval", "describe"])
@pytest.mark.parametrize("hidden", [[10**9, 10**9], [300_000, 300_000], [4] * 1000])
def test_an_absurd_model_in_a_checkpoints_config(
    cnnrun: Command, run: Path, command: str, hidden: list[int]
) -> None:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    model = {**content["config"]["model"], "hidden": hidden}
    ended = cnnrun(command, _with(run, config={**content["config"], "model": model}))
    if command == "eval" or hidden[0] > 4:
        refused(ended)
    if command == "eval":
        assert "the weights do not fit the model" in ended.err  # before memory is taken for it
    elif hidden[0] > 4:
        assert "too large for this machine" in ended.err


@pytest.mark.parametrize(
    "weights",
    [
        torch.zeros(1).expand(10**9, 10**9),
        torch.empty(0, 10**18),
        torch.zeros(4, 64, dtype=torch.complex128),
        torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (10**9, 10**9)),
        torch.empty(10**12, 10**3, device="meta"),
    ],
    ids=["expanded", "empty", "complex", "sparse", "without storage"],
)
def test_absurd_weights(cnnrun: Command, run: Path, weights: torch.Tensor) -> None:
    model = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["model"]
    file = _with(run, model={**model, "features.1.weight": weights})
    if weights.is_complex():  # of the right shape: its real part, or refused
        assert "a bug" not in cnnrun("eval", file).err
    else:
        refused(cnnrun("eval", file))
    torch.save({**model, "features.1.weight": weights}, "weights.pt")
    ended = cnnrun("train", "x.yaml", "transfer.weights=weights.pt")
    assert "a bug" not in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("run")
def test_a_checkpoint_that_unpacks_to_more_than_itself(cnnrun: Command) -> None:
    torch.save({"format": 1, "model": {"weight": torch.zeros(2**26)}}, "whole.pt")
    with zipfile.ZipFile("whole.pt") as whole, zipfile.ZipFile(
        "bomb.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as bomb:  # fmt: skip
        for entry in whole.infolist():
            with whole.open(entry) as source, bomb.open(entry.filename, "w") as target:
                shutil.copyfileobj(source, target, 2**20)
    Path("whole.pt").unlink()
    refused(cnnrun("eval", "bomb.pt"), "bomb.pt: not a readable checkpoint")
    ended = cnnrun("train", "x.yaml", "transfer.weights=bomb.pt")
    refused(ended, "bomb.pt: not a readable checkpoint")


@pytest.mark.usefixtures("run")
def test_a_safetensors_header_that_claims_the_world(cnnrun: Command) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'
    Path("a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    Path("b.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{")
    for name in "ab":
        ended = cnnrun("train", "x.yaml", f"transfer.weights={name}.safetensors")
        refused(ended, f"{name}.safetensors: can't be read")


# Configs ------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
BOMBS = {
    "a billion laughs": (LAUGHS, "too many or too deeply nested values"),
    "a list in itself": ("a: &a [*a]\n", "too many or too deeply"),
    "a mapping in itself": ("a: &a {b: *a}\n", "too many or too deeply"),
    "deep lists": ("a: " + "[" * 300_000, "nested more deeply"),
    "deep mappings": ("a: " + "{a: " * 100_000, "nested more deeply"),
    "deep blocks": ("- " * 400_000, "x.yaml"),
    "a huge text": ("name: " + "a" * 999_000, "name: "),
    "a huge number": ("seed: 1" + "0" * 900_000, "seed: "),
    "a huge float": ("seed: 1e" + "9" * 900_000, "seed: "),
    "very many keys": ("".join(f"k{i}: 1\n" for i in range(30_000)), "too many or too deeply"),
    "very many documents": ("---\n" * 100_000, "x.yaml"),
    "over a megabyte": ("#" * 1_000_001, "over 1,000,000 bytes"),
    "code": ("name: !!python/object/apply:pathlib.Path.touch [pwned]\n", "x.yaml:1:7: "),
    "code in a key": ("? !!python/name:os.system\n: 1\n", "x.yaml:1"),
}

# Seconds each, most of them PyYAML's.
LARGE = {
    "very many keys", "very many documents", "a huge text", "a huge float", "a huge number",
    "deep mappings", "deep lists",
}  # fmt: skip


@pytest.mark.parametrize("bomb", slow_ones(BOMBS, *LARGE))
def test_no_config_costs_much_or_runs(cnnrun: Command, run: Path, bomb: str) -> None:
    """In a file, in the config of a run to resume, and as an override."""
    text, wanted = BOMBS[bomb]
    Path("x.yaml").write_text(text)
    ended = cnnrun("train", "x.yaml")
    refused(ended, wanted)
    assert ended.code == 2
    (run / "config.yaml").write_text(text)
    refused(cnnrun("train", "--resume", run))
    value = text.partition(": ")[2].strip()
    if 0 < len(value) < 100_000 and "\n" not in value:
        Path("x.yaml").write_text(CONFIG)
        refused(cnnrun("train", "x.yaml", f"model={value}"), "command line: model=")


@pytest.mark.slow
@pytest.mark.usefixtures("run")
def test_strangers_runs_beside_ones_own_are_passed_over(cnnrun: Command) -> None:
    """`--resume-or-start` looks through the configs of what is there."""
    for number, text in enumerate(t for bomb, (t, _) in BOMBS.items() if bomb not in LARGE):
        planted = Path(f"runs/x/29990101-0000{number:02}-abcdef")
        planted.mkdir(parents=True)
        (planted / "config.yaml").write_text(text)
    ended = cnnrun("train", "x.yaml", "--resume-or-start", "-q")
    assert ended.code == 0, ended.err
    assert not Path(ended.out.strip()).name.startswith("2999")
    assert not Path("pwned").exists()


# Names that are paths -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/b", "..", ".hidden", "a\\b", "", "a" * 5000, "a\nb"]
)
def test_an_experiments_name_is_no_path(
    cnnrun: Command, run: Path, tmp_path: Path, name: str
) -> None:
    Path("n.yaml").write_text(CONFIG + f"name: {name!r}\n")
    refused(cnnrun("train", "n.yaml"), "name: ")
    config = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["config"]
    refused(cnnrun("eval", _with(run, config={**config, "name": name})), "name: ")
    assert {p.name for p in tmp_path.iterdir()} <= {"x.yaml", "n.yaml", "run", "absurd.pt"}
