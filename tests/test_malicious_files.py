"""Files of strangers, given to every command that reads them: nothing in them runs, nothing is
written elsewhere, the memory they cost is bounded, and one message says what was refused."""

from __future__ import annotations

import gzip
import io
import pickle
import resource
import shutil
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cnnrun import config, runner
from cnnrun.config import load
from cnnrun.runner import train
from tests.conftest import Command, Result

CONFIG = """\
dataset: {name: digits, limit: 60}
model: {name: mlp, hidden: [4]}
device: cpu
training: {epochs: 1}
"""
# Above what the process holds already.
_MEMORY = 3 * 2**30
_schema = cache(config.experiment_model)


class _Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema is always the same, and a run's pictures are not the point."""
    monkeypatch.setattr(config, "experiment_model", _schema)
    monkeypatch.setattr(runner, "draw_pictures", lambda *_: None)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Memory is bounded for each case: one that needs more fails."""
    import torchvision  # noqa: F401  (libraries count, and are none of the file's doing)

    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "x.yaml").write_text(CONFIG)
    return train(load(folder / "x.yaml", [f"output={folder}"]), quiet=True).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run that is not finished, and the config beside it."""
    (tmp_path / "x.yaml").write_text(CONFIG)
    copy = shutil.copytree(trained, tmp_path / "run")
    (copy / "summary.json").unlink()
    return copy


def _refused(ended: Result, *fragments: str) -> None:
    """One short message that says so, and nothing that was run or written."""
    assert ended.code in (1, 2), ended.err
    assert "Traceback" not in ended.err
    assert "a bug" not in ended.err, ended.err
    for fragment in fragments:
        assert fragment in ended.err, ended.err
    assert len(ended.err) < 2000
    assert not Path("pwned").exists()


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
    _refused(READERS[reader](cnnrun, evil, run), "could run code")


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
    _refused(ended, "evil.safetensors: can't be read")


def test_weights_of_style_transfer_run_no_code(cnnrun: Command, tmp_path: Path) -> None:
    _forms({"features.0.weight": _Evil()}, tmp_path / "evil.pth", "zip")
    (tmp_path / "style.yaml").write_text(
        "task: stylize\ndataset: {name: picture, file: 'sample:china.jpg', longest: 32, steps: 1}\n"
        "model: {name: picture}\ndevice: cpu\ntraining: {epochs: 1}\n"
        "loss: {name: neural_style, weights: evil.pth, styles: [{file: 'sample:flower.jpg'}]}\n"
    )
    _refused(cnnrun("train", "style.yaml"), "evil.pth: refused", "could run code")


# Checkpoints whose numbers are absurd -------------------------------------------------------------


def _with(run: Path, **changes: Any) -> Path:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, at what these tests do to it
        torch.save({**content, **changes}, "absurd.pt")
    return Path("absurd.pt")


@pytest.mark.parametrize("command", ["eval", "describe"])
@pytest.mark.parametrize("hidden", [[10**9, 10**9], [300_000, 300_000], [4] * 5000])
def test_an_absurd_model_in_a_checkpoints_config(
    cnnrun: Command, run: Path, command: str, hidden: list[int]
) -> None:
    content = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    model = {**content["config"]["model"], "hidden": hidden}
    ended = cnnrun(command, _with(run, config={**content["config"], "model": model}))
    if command == "eval" or hidden[0] > 4:
        _refused(ended)
    if hidden[0] > 4:
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
        _refused(cnnrun("eval", file))
    torch.save({**model, "features.1.weight": weights}, "weights.pt")
    ended = cnnrun("train", "x.yaml", "transfer.weights=weights.pt")
    assert "a bug" not in ended.err


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
    _refused(cnnrun("eval", "bomb.pt"), "bomb.pt: not a readable checkpoint")
    ended = cnnrun("train", "x.yaml", "transfer.weights=bomb.pt")
    _refused(ended, "bomb.pt: not a readable checkpoint")


@pytest.mark.usefixtures("run")
def test_a_safetensors_header_that_claims_the_world(cnnrun: Command) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'
    Path("a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    Path("b.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{")
    for name in "ab":
        ended = cnnrun("train", "x.yaml", f"transfer.weights={name}.safetensors")
        _refused(ended, f"{name}.safetensors: can't be read")


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


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_config_costs_much_or_runs(cnnrun: Command, run: Path, bomb: str) -> None:
    """In a file, in the config of a run to resume, and as an override."""
    text, wanted = BOMBS[bomb]
    Path("x.yaml").write_text(text)
    ended = cnnrun("train", "x.yaml")
    _refused(ended, wanted)
    assert ended.code == 2
    (run / "config.yaml").write_text(text)
    _refused(cnnrun("train", "--resume", run))
    value = text.partition(": ")[2].strip()
    if 0 < len(value) < 100_000 and "\n" not in value:
        Path("x.yaml").write_text(CONFIG)
        _refused(cnnrun("train", "x.yaml", f"model={value}"), "command line: model=")


@pytest.mark.usefixtures("run")
def test_strangers_runs_beside_ones_own_are_passed_over(cnnrun: Command) -> None:
    """`--resume-or-start` looks through the configs of what is there."""
    for number, (text, _) in enumerate(BOMBS.values()):
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
    _refused(cnnrun("train", "n.yaml"), "name: ")
    config = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["config"]
    _refused(cnnrun("eval", _with(run, config={**config, "name": name})), "name: ")
    assert {p.name for p in tmp_path.iterdir()} <= {"x.yaml", "n.yaml", "run", "absurd.pt"}


def _pictures(folder: Path, count: int = 8) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.png")


def test_class_names_are_no_paths(cnnrun: Command, tmp_path: Path) -> None:
    """Those of a CSV file may be any text; they end in the log and on pictures alone."""
    _pictures(tmp_path / "work" / "pictures")
    names = ["../../evil", "/tmp/evil", "a/../../b", "$(touch pwned)", "x\u202ey"]
    rows = [f'{i % 8}.png,"{name}",{split}' for i, name in enumerate(names)
            for split in ("train", "train", "val", "test")]  # fmt: skip
    (tmp_path / "work" / "pictures" / "table.csv").write_text(
        "path,label,split\n" + "\n".join(rows) + "\n"
    )
    (tmp_path / "work" / "c.yaml").write_text(
        "dataset: {name: csv, file: work/pictures/table.csv, cache: disk, cache_dir: work/cache}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\noutput: work/runs\ntraining: {epochs: 1}\n"
    )
    before = {p for p in tmp_path.rglob("*") if "work" not in p.parts}
    ended = cnnrun("train", "work/c.yaml")
    assert ended.code == 0, ended.err
    found = ended.out.splitlines()[0].split()[1]
    assert cnnrun("eval", found, "--json").code == 0
    assert cnnrun("viz", "mistakes", found).code == 0
    assert {p for p in tmp_path.rglob("*") if "work" not in p.parts} == before
    assert not Path("pwned").exists()
    table = tmp_path / "work" / "pictures" / "table.csv"
    table.write_text(table.read_text().replace("$(touch", "\x1b[2J$(touch"))
    _refused(cnnrun("check", "work/c.yaml"), r"'\x1b[2J$(touch pwned)'", "control character")


def test_paths_in_a_table_that_lead_elsewhere(cnnrun: Command, tmp_path: Path) -> None:
    """Read as pictures, at most; what is none is named, and not shown."""
    _pictures(tmp_path / "pictures")
    (tmp_path / "secret.txt").write_text("a password")
    for path in ("../secret.txt", "/etc/passwd", "/dev/zero", "../../../../dev/urandom", "."):
        (tmp_path / "pictures" / "table.csv").write_text(
            f"path,label,split\n0.png,a,train\n1.png,a,test\n{path},b,train\n"
        )
        (tmp_path / "c.yaml").write_text(
            "dataset: {name: csv, file: pictures/table.csv, cache_dir: cache}\n"
            "model: {name: mlp, hidden: [4]}\ndevice: cpu\n"
        )
        ended = cnnrun("check", "c.yaml")
        _refused(ended, Path(path).name or path)
        assert "password" not in ended.err


def _tar(file: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(file, "w") as out:
        for member, content in members:
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_shards_write_nothing_and_follow_no_link(cnnrun: Command, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    members = [
        (_member("link.png", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (_member("hard.png", tarfile.LNKTYPE, "../../etc/passwd"), b""),
        (_member("dev.png", tarfile.CHRTYPE), b""),
        (_member("pipe.png", tarfile.FIFOTYPE), b""),
    ]
    for i, name in enumerate(["../../up", "/tmp/cnnrun-absolute", "a/../b", *"cdefgh"]):
        members += [(_member(f"{name}.png"), stream.getvalue())]
        members += [(_member(f"{name}.cls"), str(i % 2).encode())]
    (tmp_path / "work").mkdir()
    _tar(tmp_path / "work" / "shard.tar", members)
    (tmp_path / "work" / "w.yaml").write_text(
        "dataset: {name: webdataset, train: work/shard.tar, test: work/shard.tar,\n"
        "  cache_dir: work/cache, spool: work/spool, validation: 2}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\noutput: work/runs\ntraining: {epochs: 1}\n"
    )
    ended = cnnrun("train", "work/w.yaml", "-q")
    assert ended.code == 0, ended.err
    assert {p.name for p in tmp_path.iterdir()} == {"work"}
    assert not Path("/tmp/cnnrun-absolute.png").exists()
    assert not list(tmp_path.parent.glob("up.*"))
    assert not list(tmp_path.rglob("*.cls"))


# Pictures -----------------------------------------------------------------------------------------


def _png_of(width: int, height: int, data: bytes) -> bytes:
    """A gray PNG of one bit that holds this compressed data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@cache
def _bombs() -> dict[str, bytes]:
    rows = zlib.compress(bytes((20_000 // 8 + 1) * 20_000), 9)
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 10**6, 10**6, 1, 24, 0, 0,
                              0, 0, 0, 0)  # fmt: skip
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    frame = jpeg.getvalue().index(b"\xff\xc0")
    huge = bytearray(jpeg.getvalue())
    huge[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    text = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(
        ">IIBBBBB", 1, 1, 8, 0, 0, 0, 0
    )  # fmt: skip
    text += struct.pack(">I", zlib.crc32(text[12:]))
    content = b"a\0\0" + zlib.compress(bytes(2**28), 9)
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content
    return {
        "png": _png_of(20_000, 20_000, rows),
        "png that only claims": _png_of(2**31 - 1, 2**31 - 1, b""),
        "png with a long text": text + chunk + struct.pack(">I", zlib.crc32(chunk[4:])),
        "gif": gif,
        "bmp": bmp,
        "jpeg": bytes(huge),
        "gzip": gzip.compress(bytes(2**26)),
    }


@pytest.mark.parametrize("kind", _bombs())
def test_a_picture_that_unpacks_to_gigabytes(cnnrun: Command, tmp_path: Path, kind: str) -> None:
    for label in "ab":
        _pictures(tmp_path / "pictures" / label)
    bomb = tmp_path / "pictures" / "a" / "bomb.png"
    bomb.write_bytes(_bombs()[kind])
    assert bomb.stat().st_size < 1_000_000
    (tmp_path / "p.yaml").write_text(
        "dataset: {name: folder, root: pictures, cache_dir: cache, size: 8}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 1}\n"
    )
    ended = cnnrun("check", "p.yaml")
    _refused(ended, "bomb.png: ")
    ended = cnnrun("check", "p.yaml", "dataset.on_error=skip")
    assert ended.code == 0, ended.err
    assert "train 12" in ended.out
