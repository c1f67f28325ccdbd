"""Many image files as one collection: threads, prefetching, bad files, caches."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from cnnrun.data.images import cache
from cnnrun.data.images.assemble import image_splits, resolve_form
from cnnrun.data.images.decoding import BadImageError, ImageFormat, ImageOptions, Resize
from cnnrun.data.images.files import Files, ImageFiles, for_each
from cnnrun.data.images.framing import RandomCrop
from cnnrun.data.images.scan import cache_key, partial_path
from cnnrun.data.prefetch import prefetch
from cnnrun.errors import UserError
from tests.conftest import HANGS

FORM = ImageFormat((20, 24), 3)


def write(path: Path, seed: int, size: tuple[int, int] = (40, 50), mode: str = "RGB") -> str:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size[::-1]).convert(mode).save(path)
    return str(path)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    endings = ["jpg", "png"]
    return [write(folder / f"{i}.{endings[i % 2]}", i, (40 + i, 60 - i)) for i in range(12)]


@pytest.fixture
def options(tmp_path: Path) -> ImageOptions:
    return ImageOptions(size=(20, 24), channels=3, cache_dir=str(tmp_path / "cache"), threads=2)


def halve(path: str) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def copies(paths: list[str], folder: Path) -> list[str]:
    made = [folder / Path(path).name for path in paths]
    for old, new in zip(paths, made, strict=True):
        new.write_bytes(Path(old).read_bytes())
    return [str(path) for path in made]


@given(order=st.lists(st.integers(0, 11), max_size=14), threads=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
@pytest.mark.slow
def test_a_batch_holds_the_same_bytes_whatever_threads_and_order(
    paths: list[str], order: list[int], threads: int
) -> None:
    images = ImageFiles(Files(paths), FORM, threads)
    crop = RandomCrop(seed=1)
    indices = torch.tensor(order, dtype=torch.int64)
    assert images.shape == (12, 3, 20, 24)
    for batch in (images[indices], images.batch(indices, crop, epoch=4)):
        assert batch.shape == (len(order), 3, 20, 24)
        assert batch.dtype == torch.uint8
    one_by_one = ImageFiles(Files(paths), FORM, 1)
    for row, index in enumerate(order):
        alone = torch.tensor([index])
        assert torch.equal(images[indices][row], one_by_one[alone][0])
        crops = images.batch(indices, crop, 4)
        assert torch.equal(crops[row], one_by_one.batch(alone, crop, 4)[0])


def test_random_crops_change_with_seed_epoch_and_sample(paths: list[str]) -> None:
    images = ImageFiles(Files([paths[0]] * 2), FORM)
    both = torch.arange(2)
    first = images.batch(both, RandomCrop(seed=1), epoch=0)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, images.batch(both, RandomCrop(seed=1), epoch=1))
    assert not torch.equal(first, images.batch(both, RandomCrop(seed=2), epoch=0))


def test_the_bad_file_of_a_batch_is_named(paths: list[str], tmp_path: Path) -> None:
    own = copies(paths, tmp_path)
    halve(own[3])
    halve(own[7])
    images = ImageFiles(Files(own), FORM, 3)
    for _ in range(5):
        with pytest.raises(BadImageError, match=r"3\.png: damaged: image file is truncated"):
            images[torch.arange(12)]
    assert torch.equal(
        images[torch.tensor([4, 5])], ImageFiles(Files(paths), FORM)[torch.tensor([4, 5])]
    )


def test_after_a_failure_no_more_tasks_begin() -> None:
    begun = []

    def task(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        for_each(task, range(10_000), 2)
    assert len(begun) < 9_000
    for_each(begun.append, range(5), 2)
    assert sorted(begun[-5:]) == [0, 1, 2, 3, 4]


def test_a_fork_has_threads_of_its_own() -> None:
    """Those of the process that it comes from don't survive the fork."""
    for_each(lambda _: None, range(5), 2)
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        done: list[int] = []
        for_each(done.append, range(5), 2)
        os._exit(sorted(done) != [0, 1, 2, 3, 4])
    assert os.waitpid(pid, 0)[1] == 0


def prefetch_threads() -> int:
    return sum(thread.name.startswith("prefetch") for thread in threading.enumerate())


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_prefetched_batches_come_in_order(paths: list[str], ahead: int) -> None:
    images = ImageFiles(Files(paths), FORM, 2)
    batches = list(torch.randperm(12).split(5))
    found = list(prefetch(images.__getitem__, batches, ahead))
    assert [batch.shape[0] for batch in found] == [5, 5, 2]
    for batch, indices in zip(found, batches, strict=True):
        assert torch.equal(batch, images[indices])
    assert prefetch_threads() == 0


def test_no_more_than_so_many_batches_are_made_ahead() -> None:
    made: list[int] = []

    def read(indices: Tensor) -> Tensor:
        made.append(int(indices))
        return indices

    source = (torch.tensor([number]) for number in range(100))
    batches = prefetch(read, source, ahead=2)
    for taken in range(5):
        assert int(next(batches)) == taken
        time.sleep(0.02)
        assert max(made) <= taken + 2
    assert prefetch_threads() in (1, 2)
    batches.close()  # type: ignore[attr-defined]
    assert prefetch_threads() == 0
    assert max(made) <= 6


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_prefetching_ends_with_an_exception(error: type[BaseException]) -> None:
    def read(indices: Tensor) -> Tensor:
        if int(indices) == 3:
            raise error("three")
        return indices

    taken: list[int] = []

    def consume() -> None:
        taken.extend(int(x) for x in prefetch(read, iter(torch.arange(9)[:, None])))

    with pytest.raises(error, match="three"):
        consume()
    assert taken == [0, 1, 2]
    assert prefetch_threads() == 0


def test_prefetching_works_while_the_consumer_does() -> None:
    """It has begun to read the next one before this one has been given back."""
    begun = [threading.Event() for _ in range(10)]

    def read(indices: Tensor) -> Tensor:
        begun[int(indices)].set()
        return indices

    for index in prefetch(read, torch.arange(10)[:, None]):
        assert begun[min(int(index) + 1, 9)].wait(HANGS)


@pytest.mark.parametrize("where", ["none", "ram", "disk"])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_cached_images_equal_decoded_ones(
    paths: list[str], options: ImageOptions, where: str, resize: Resize
) -> None:
    labels = torch.arange(12) % 3
    options = replace(options, cache=where, resize=resize)  # type: ignore[arg-type]
    split = image_splits({"train": (Files(paths), labels)}, options)["train"]
    indices = torch.tensor([11, 0, 5, 5])
    expected = ImageFiles(Files(paths), ImageFormat((20, 24), 3, resize))[indices]
    assert split.images.shape == (12, 3, 20, 24)
    assert torch.equal(split.images[indices], expected)
    assert torch.equal(split.labels, labels)


@pytest.mark.parametrize("where", ["none", "ram", "disk"])
def test_bad_files_are_skipped_with_their_labels(
    paths: list[str], options: ImageOptions, tmp_path: Path, where: str
) -> None:
    own = copies(paths, tmp_path)
    halve(own[2])
    Path(own[5]).write_bytes(b"")
    own.append(str(tmp_path / "not there.png"))
    parts = {"train": (Files(own), torch.arange(13)), "test": (Files(paths), torch.arange(12))}
    for _ in range(2):  # the second time from what is remembered
        options = replace(options, cache=where, on_error="skip", bad_files=[])  # type: ignore[arg-type]
        splits = image_splits(parts, options)
        kept = [i for i in range(12) if i not in (2, 5)]
        assert splits["train"].labels.tolist() == kept
        assert splits["train"].images.shape[0] == 10
        everything = splits["train"].images[torch.arange(10)]
        assert torch.equal(everything, ImageFiles(Files(paths), FORM)[torch.tensor(kept)])
        assert len(splits["test"]) == 12
        assert [(bad.path, bad.reason.split(":")[0]) for bad in options.bad_files] == [
            (own[2], "damaged"),
            (own[5], "the file is empty"),
            (own[12], "No such file or directory"),
        ]


@pytest.mark.parametrize("where", ["none", "ram", "disk"])
def test_bad_files_stop_a_run_before_it_starts(
    paths: list[str], options: ImageOptions, tmp_path: Path, where: str
) -> None:
    own = copies(paths, tmp_path)
    halve(own[2])
    options = replace(options, cache=where)  # type: ignore[arg-type]
    with pytest.raises(BadImageError, match=r"2\.jpg: damaged") as caught:
        image_splits({"train": (Files(own), torch.arange(12))}, options)
    assert "on_error: skip" in str(caught.value)
    assert [bad.path for bad in caught.value.files] == [own[2]]
    assert options.bad_files == caught.value.files


def test_a_split_without_any_good_file(options: ImageOptions, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    parts = {"test": (Files([str(tmp_path / "a.png")]), torch.arange(1))}
    with pytest.raises(UserError, match="no file of the test split"):
        image_splits(parts, replace(options, on_error="skip"))


def test_conversions_are_counted(options: ImageOptions, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.jpg", i, mode="CMYK" if i < 2 else "RGB") for i in range(4)]
    image_splits({"train": (Files(files), torch.arange(4))}, options)
    assert options.notes == ["converted to 8-bit RGB: 2 CMYK"]


def test_size_and_channels_are_those_of_all_files(tmp_path: Path) -> None:
    same = [write(tmp_path / f"{i}.png", i, (30, 20), mode="L") for i in range(3)]
    auto = ImageOptions(threads=1)
    assert resolve_form([Files(same)], auto) == ImageFormat((30, 20), 1)
    color = write(tmp_path / "color.png", 9, (30, 20))
    assert resolve_form([Files(same), Files([color])], auto) == ImageFormat((30, 20), 3)
    assert resolve_form([Files([color])], replace(auto, channels=1)) == ImageFormat((30, 20), 1)
    large = write(tmp_path / "large.png", 9, (90, 70), mode="L")
    with pytest.raises(UserError) as caught:
        resolve_form([Files([*same, large])], auto)
    message = str(caught.value)
    assert all(text in message for text in ("30 x 20", "large.png is 90 x 70", "dataset.size"))
    asked = replace(auto, size=(8, 9), resize="pad")
    assert resolve_form([Files([*same, large])], asked) == ImageFormat((8, 9), 1, "pad")


def test_header_sizes_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for ending in ("jpg", "png", "tiff"):
        path = tmp_path / f"turned.{ending}"
        Image.new("RGB", (30, 20)).save(path, exif=exif.tobytes())
        form = resolve_form([Files([str(path)])], ImageOptions())
        assert form.size == (30, 20)
        assert ImageFiles(Files([str(path)]), form)[torch.arange(1)].shape == (1, 3, 30, 20)


def decoded_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    read: list[str] = []
    original = Files.read
    monkeypatch.setattr(
        Files, "read", lambda self, index: (read.append(index), original(self, index))[1]
    )
    yield read


@pytest.mark.parametrize("where", ["none", "disk"])
def test_files_are_read_again_only_if_they_or_settings_changed(
    paths: list[str],
    options: ImageOptions,
    tmp_path: Path,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = copies(paths, tmp_path)
    read = next(decoded_files(monkeypatch))
    options = replace(options, cache=where)  # type: ignore[arg-type]

    def open_again(options: ImageOptions = options) -> int:
        read.clear()
        image_splits({"train": (Files(own), torch.arange(12))}, options)
        return len(read)

    assert open_again() == 12
    assert open_again() == 0
    write(Path(own[1]), seed=99)
    assert open_again() == 12
    assert open_again() == 0
    os.utime(own[0], ns=(1, 1))
    assert open_again() == 12
    content, state = Path(own[0]).read_bytes(), Path(own[0]).stat()
    Path(own[0]).write_bytes(content)  # of the same size, and its time set back
    os.utime(own[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert open_again() == 12
    changed = [replace(options, resize="pad"), replace(options, size=(8, 8))]
    assert [open_again(one) for one in changed] == [12 if where == "disk" else 0] * 2


def test_the_key_covers_names_and_form(paths: list[str]) -> None:
    keys = {
        cache_key(Files(files), form)
        for files in (paths, paths[1:], paths[::-1])
        for form in (None, FORM, replace(FORM, size=(24, 20)), replace(FORM, resize="squash"))
    }
    assert len(keys) == 12
    assert cache_key(Files(paths), FORM) == cache_key(Files(list(paths)), ImageFormat((20, 24), 3))


def test_damaged_or_unfinished_caches_are_made_anew(
    paths: list[str], options: ImageOptions
) -> None:
    expected = ImageFiles(Files(paths), FORM)[torch.arange(12)]
    folder = Path(options.cache_dir or "")

    def images() -> Tensor:
        return cache.on_disk(Files(paths), FORM, options)[0][torch.arange(12)]

    assert torch.equal(images(), expected)
    (stored,) = folder.glob("*.npy")
    for damage in (lambda: stored.write_bytes(b"x" * 99), stored.unlink):
        damage()
        assert torch.equal(images(), expected)
    for text in ("", "{}", '{"bad": 3}'):
        stored.with_suffix(".json").write_text(text)
        assert torch.equal(images(), expected)
    old, strangers = partial_path(stored), folder / "film.partial"
    for file in (old, strangers):
        file.write_bytes(b"left by a killed run, or somebody's")
        os.utime(file, (1, 1))
    stored.unlink()
    assert torch.equal(images(), expected)
    assert list(folder.glob("*.partial")) == [strangers]


def test_two_runs_build_a_cache_at_once(paths: list[str], options: ImageOptions) -> None:
    expected = ImageFiles(Files(paths), FORM)[torch.arange(12)]
    start = threading.Barrier(3)

    def run(_: int) -> Tensor:
        start.wait()
        return cache.on_disk(Files(paths), FORM, options)[0][torch.arange(12)]

    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(found, expected) for found in pool.map(run, range(3)))
    endings = sorted(file.suffix for file in Path(options.cache_dir or "").iterdir())
    assert endings == [".crc", ".json", ".npy"]


def test_a_folder_that_can_hold_no_cache(paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = ImageOptions(cache="disk", cache_dir=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"dataset.cache: .*dataset.cache_dir"):
        cache.on_disk(Files(paths), FORM, options)
    # Without a place to remember it, files are just looked at each time.
    split = image_splits(
        {"train": (Files(paths), torch.arange(12))},
        replace(options, cache="none", size=(20, 24)),
    )["train"]
    assert len(split) == 12


def test_a_full_disk_is_found_before_writing(
    paths: list[str], options: ImageOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: full)
    with pytest.raises(UserError, match=r"0\.0 GB are free"):
        cache.on_disk(Files(paths), FORM, options)
    assert not list(Path(options.cache_dir or "").iterdir())


def test_large_collections_in_memory_are_not_one_tensor(
    paths: list[str], options: ImageOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_SMALL", 100)
    images, _ = cache.in_memory(Files(paths), FORM, options)
    assert not isinstance(images, Tensor)
    some = torch.tensor([3, 1])
    assert torch.equal(images[some], ImageFiles(Files(paths), FORM)[some])
