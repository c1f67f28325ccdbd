"""Tar shards: local ones, and those of a web server with a small local spool."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import BadImageError, ImageOptions
from cnnrun.data.sources import shard_spool
from cnnrun.data.sources.shard_spool import ShardSpool
from cnnrun.data.sources.tar_index import read_index
from cnnrun.data.sources.webdataset_shards import (
    Shards,
    _index,
    expand,
    webdataset,
)
from cnnrun.errors import UserError
from cnnrun.runtime.randomness import shuffled
from tests.conftest import stand_in


def _png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 255 - value)).save(stream, "PNG")
    return stream.getvalue()


def _write(tar: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(tar, "w") as out:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))


def _shards(folder: Path, count: int = 3, each: int = 5) -> None:
    """Sample i of all is an image of red value i, of class i modulo 3."""
    folder.mkdir(exist_ok=True)
    for s in range(count):
        numbers = range(s * each, (s + 1) * each)
        members = [(f"{i:05d}.PNG", _png(i)) for i in numbers]
        labels = [(f"{i:05d}.cls", str(i % 3).encode()) for i in numbers]
        mixed = [member for pair in zip(labels, members, strict=True) for member in pair]
        _write(folder / f"train-{s:03d}.tar", mixed)


def _red(content: bytes) -> int:
    red = np.asarray(Image.open(io.BytesIO(content)))[0, 0, 0]
    return int(red)


def _check(shards: Shards, count: int = 15) -> None:
    assert len(shards) == count
    order = np.random.default_rng(0).permutation(count).tolist()
    assert [_red(shards.read(i)) for i in order] == order
    assert shards.labels.tolist() == [str(i % 3) for i in range(count)]


def test_any_sample_of_local_shards_is_read_alone(tmp_path: Path) -> None:
    _shards(tmp_path)
    store = ShardSpool(tmp_path / "spool", 10**9)
    for pattern in ("train-*.tar", "train-{000..002}.tar", "train-00{0,1,2}.tar"):
        _check(_index("train", str(tmp_path / pattern), "cls", store))
    assert not list((tmp_path / "spool").glob("*.tar"))


def test_an_index_is_kept_and_made_anew_when_the_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _shards(tmp_path)
    store = ShardSpool(tmp_path / "spool", 10**9)
    pattern = str(tmp_path / "train-*.tar")
    first = _index("train", pattern, "cls", store)
    for file in (tmp_path / "spool").glob("*.npz"):
        damaged = file
    damaged.write_bytes(damaged.read_bytes()[:100])
    _check(_index("train", pattern, "cls", store))
    with monkeypatch.context() as patched:
        patched.setattr("tarfile.open", None)
        _check(_index("train", pattern, "cls", store))
    _write(
        tmp_path / "train-001.tar", [("x.png", _png(9)), ("x.cls", b"2"), ("pad", bytes(20_000))]
    )
    assert len(_index("train", pattern, "cls", store)) == 11
    with pytest.raises(UserError, match=r"train-001.tar has changed since it was indexed"):
        first.read(7)


def _load(train: Path, test: Path, **keys: Any) -> Dataset:
    images = ImageOptions(size=(3, 4), channels=3, cache_dir=str(train.parent / "cache"))
    spool = str(train.parent / "spool")
    return webdataset(images, train=str(train), test=str(test), spool=spool, **keys)


def test_the_source_decodes_and_names_classes(tmp_path: Path) -> None:
    _shards(tmp_path)
    train, test = tmp_path / "train-00{0,1}.tar", tmp_path / "train-002.tar"
    dataset = _load(train, test, classes=["x", "y", "z"], val=str(test))
    assert dataset.classes == ("x", "y", "z")
    assert [len(s) for s in (dataset.train, dataset.test, dataset.split("validation"))] == [
        10,
        5,
        5,
    ]
    pixels = dataset.test.images[torch.tensor([4, 1])]
    assert pixels[:, 0, 0, 0].tolist() == [14, 11]
    assert pixels.shape == (2, 3, 3, 4)
    assert dataset.test.labels.tolist() == [1, 2, 0, 1, 2]
    with pytest.raises(UserError, match="labels go up to 2; `classes` has 2 names"):
        _load(train, test, classes=["x", "y"])


def test_labels_that_are_names(tmp_path: Path) -> None:
    for tar, kinds in (("a", "dog cat dog"), ("b", "cat"), ("c", "emu cat")):
        pairs = [(f"{i}.txt", k.encode()) for i, k in enumerate(kinds.split())]
        images = [(f"{i}.png", _png(i)) for i in range(len(pairs))]
        _write(tmp_path / f"{tar}.tar", [*pairs, *images])
    dataset = _load(tmp_path / "a.tar", tmp_path / "b.tar", label="txt")
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [1, 0, 1]
    assert dataset.test.labels.tolist() == [0]
    with pytest.raises(UserError, match="test split has classes that training has not: emu"):
        _load(tmp_path / "a.tar", tmp_path / "c.tar", label="txt")
    with pytest.raises(UserError, match=r"a.tar: '0' has an image but no label '0.cls'"):
        _load(tmp_path / "a.tar", tmp_path / "b.tar")


def test_a_damaged_image_is_named_by_shard_and_key(tmp_path: Path) -> None:
    members = [("0.png", _png(0)), ("0.cls", b"0"), ("1.png", _png(1)[:50]), ("1.cls", b"0")]
    _write(tmp_path / "a.tar", members)
    with pytest.raises(BadImageError, match=r"a\.tar/1: "):
        _load(tmp_path / "a.tar", tmp_path / "a.tar")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Address of a server of `tmp_path/web`, and how often each path was asked for."""
    asked: Counter[str] = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "web"))

        def do_GET(self) -> None:
            asked[self.path] += 1
            if self.path.startswith("/broken") and asked[self.path] == 1:
                self.send_response(200)
                self.send_header("Content-Length", "99999")
                self.end_headers()
                self.wfile.write(b"half")
                return
            self.path = self.path.replace("/broken", "")
            super().do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def test_shards_of_a_server_pass_through_a_spool_of_bounded_size(
    tmp_path: Path, server: tuple[str, Counter[str]]
) -> None:
    address, asked = server
    _shards(tmp_path / "web")
    room = 2 * (tmp_path / "web" / "train-000.tar").stat().st_size
    store = ShardSpool(tmp_path / "spool", room)
    shards = _index("train", f"{address}/train-{{000..002}}.tar", "cls", store)
    assert max(asked.values()) == 1
    _check(shards)
    with ThreadPoolExecutor(4) as pool:
        order = [i % 15 for i in range(0, 15 * 4, 4)]
        assert [_red(content) for content in pool.map(shards.read, order)] == order
    held = [file for file in (tmp_path / "spool").iterdir() if file.name != ".cnnrun-shards"]
    assert {file.suffix for file in held} == {".tar", ".npz"}
    assert sum(file.stat().st_size for file in held if file.suffix == ".tar") <= room


def test_a_shard_stays_readable_when_its_room_is_needed_at_once(
    tmp_path: Path, server: tuple[str, Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another thread's shard drives out the one that has just come."""

    def evict(spool: ShardSpool, _kept: Path) -> None:
        for file in spool.folder.glob("*.tar"):
            file.unlink(missing_ok=True)

    monkeypatch.setattr(ShardSpool, "_evict", evict)
    address, _ = server
    _shards(tmp_path / "web")
    store = ShardSpool(tmp_path / "spool", 1)
    _check(_index("train", f"{address}/train-{{000..002}}.tar", "cls", store))


def test_a_large_spool_fetches_each_shard_once(
    tmp_path: Path, server: tuple[str, Counter[str]]
) -> None:
    address, asked = server
    _shards(tmp_path / "web")
    for _ in range(2):
        store = ShardSpool(tmp_path / "spool", 10**9)
        _check(_index("train", f"{address}/train-{{000..002}}.tar", "cls", store))
    assert set(asked.values()) == {1}


def test_a_transfer_that_breaks_off_is_tried_again(
    tmp_path: Path, server: tuple[str, Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_spool, "time", stand_in(time, sleep=lambda _: None))
    address, asked = server
    _shards(tmp_path / "web", count=1)
    store = ShardSpool(tmp_path / "spool", 10**9)
    _check(_index("train", f"{address}/broken/train-000.tar", "cls", store), 5)
    assert set(asked.values()) == {2}
    with pytest.raises(UserError, match=r"absent.tar: the server says 404"):
        store.open(f"{address}/absent.tar")
    with pytest.raises(UserError, match="can't be fetched"):
        store.open("http://127.0.0.1:9/train.tar")
    assert not list((tmp_path / "spool").glob("*.part"))


def test_names_of_members_are_never_used_as_paths(tmp_path: Path) -> None:
    tar = tmp_path / "odd.tar"
    names = ["/etc/evil", "../../up", "a/../b", "name with spaces.v2", "é猫"]
    members = [(f"{n}.png", _png(i)) for i, n in enumerate(names)]
    members += [(f"{n.partition('.v2')[0]}.cls", b"0") for n in names]
    members[3] = ("name with spaces.png", members[3][1])
    with tarfile.open(tar, "w") as out:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
        for name, content in [*members, ("._x.png", b"mac"), ("readme.md", b"?")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    shards = _index("train", str(tar), "cls", ShardSpool(tmp_path / "spool", 10**9))
    assert [_red(shards.read(i)) for i in range(5)] == list(range(5))
    assert shards.name(1) == f"{tar}/../../up"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["odd.tar", "spool"]


def _whole() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, content in (("a.png", _png(1)), ("a.cls", b"0"), ("b.png", bytes(3000))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_whole()[:3000], "broken"),
        (gzip.compress(_whole()), "gunzip"),
        (b"<html>not found</html>" * 100, "not a plain tar"),
        (bytes(10240), "holds no sample"),
        (b"", "not a plain tar"),
    ],
)
def test_bad_shards_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    tar = tmp_path / "bad.tar"
    tar.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised, tar.open("rb") as held:
        read_index(held, str(tar), "cls")
    assert "bad.tar" in str(raised.value)


def test_names_that_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnrun.data.sources.tar_index._MOST_BYTES", 4000)
    members = [(f"{k}.png", _png(1)) for k in "ab"] + [(f"{k}.cls", b"0") for k in "ab"]
    _write(tmp_path / "x.tar", members)
    with (tmp_path / "x.tar").open("rb") as tar:
        assert len(read_index(tar, "x.tar", "cls").keys) == 2
    _write(tmp_path / "x.tar", [*members, ("n" * 900 + ".png", _png(1)), ("n" * 900 + ".cls", b"")])
    with (
        (tmp_path / "x.tar").open("rb") as tar,
        pytest.raises(UserError, match="its names would take"),
    ):
        read_index(tar, "x.tar", "cls")


def test_patterns(tmp_path: Path) -> None:
    urls = expand("https://h/{a,b}-{8..10}.tar")
    assert urls == [f"https://h/{x}-{n}.tar" for x in "ab" for n in (8, 9, 10)]
    assert expand(["http://h/{02..00}.tar"]) == [f"http://h/{n}.tar" for n in ("02", "01", "00")]
    with pytest.raises(UserError, match="no shard matches"):
        expand(str(tmp_path / "*.tar"))
    for other in ("s3://bucket/x.tar", "pipe:rm -rf x"):
        with pytest.raises(UserError, match="local files or http"):
            expand(other)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_an_order_that_needs_few_shards_at_a_time(sizes: list[int], window: int, seed: int) -> None:
    shard = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = shuffled(len(shard), seed, 0, shard, window)
    assert sorted(order.tolist()) == list(range(len(shard)))
    again = shuffled(len(shard), seed, 0, shard, window)
    assert torch.equal(order, again)
    # Fetched again only after the room was needed: each shard is in use during one window.
    seen = shard[order].tolist()
    for first in set(seen):
        use = seen[seen.index(first) : len(seen) - seen[::-1].index(first)]
        assert len(set(use)) <= window


def test_an_epoch_with_a_small_spool_fetches_each_shard_once(
    tmp_path: Path, server: tuple[str, Counter[str]]
) -> None:
    """Shuffled over all samples, nearly every image would cost the transfer of a shard."""
    address, asked = server
    _shards(tmp_path / "web", count=6)
    room = 3 * (tmp_path / "web" / "train-000.tar").stat().st_size + 100
    data = webdataset(
        ImageOptions(cache_dir=str(tmp_path / "cache")),
        train=f"{address}/train-{{000..005}}.tar",
        test=f"{address}/train-000.tar",
        spool=str(tmp_path / "spool"),
        spool_gb=room / 1e9,
    ).train
    half = data.take(torch.arange(0, 30, 2))
    assert half.groups is not None
    for split in (data, half):
        for epoch in range(2):
            asked.clear()
            order = shuffled(len(split), 0, epoch, split.groups, split.groups_at_once)
            reds = [int(split.images[i[None]][0, 0, 0, 0]) for i in order]
            assert len(set(reds)) == len(split)
            assert max(asked.values(), default=0) <= 1
    assert data.groups_at_once == 2
