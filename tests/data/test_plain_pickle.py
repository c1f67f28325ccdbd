"""CIFAR's pickles: read as Python reads them, by a machine that can call nothing."""

from __future__ import annotations

import contextlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnrun.data.sources.cifar import cifar10
from cnnrun.data.sources.plain_pickle import Bytes, ForeignPickleError, loads
from cnnrun.errors import UserError
from tests.data.test_splits_and_batches import write_cifar10

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.binary(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(PLAIN, st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_plain_values_are_read_as_python_reads_them(value: Any, protocol: int) -> None:
    assert loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_bytes(protocol: int, order: Any) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 256, (7, 11)), np.uint8, order=order)
    held = loads(pickle.dumps({b"data": array, b"again": array}, protocol))
    assert isinstance(held[b"data"], Bytes)
    assert np.array_equal(held[b"data"].array, array)


def test_texts_of_python_2_are_bytes() -> None:
    """As in the original files: keys and names are texts without an encoding."""
    assert loads(b"\x80\x02}q\x01U\x05namesq\x02]q\x03(U\x03catq\x04U\x03dogq\x05es.") == {
        b"names": [b"cat", b"dog"]
    }
    assert loads(b"(dp1\nS'names'\np2\n(lp3\nS'cat'\np4\naS'd\\x6fg'\np5\nas.") == {
        b"names": [b"cat", b"dog"]
    }


class _Call:
    def __init__(self, called: Callable[..., Any], *arguments: Any) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called, self.arguments


FOREIGN = {
    "a function": _Call(print, "pwned"),
    "an array over memory": _Call(np.ndarray, (2,), np.dtype(object), b"\1" * 16),
    "an array of objects": np.array([1, None], object),
    "an array of numbers": np.arange(3),
    "an array of records": np.zeros(2, [("a", "u1")]),
    "another codec": _Call(__import__("_codecs").encode, "a", "rot13"),
    "an object": ValueError("x"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_all_else_is_refused(kind: str, protocol: int) -> None:
    with pytest.raises(ForeignPickleError):
        loads(pickle.dumps(FOREIGN[kind], protocol))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo number that takes gigabytes
        b"B\xff\xff\xff\x7fx.",
        b"\x8e" + b"\xff" * 8 + b".",
        b"T\xff\xff\xff\xffx.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"(" * 100_000 + b".",
        b"(" * 50 + b"t" * 100 + b".",
        b"cnumpy\ndtype\n(S'u1'\ntR}b.",
        b"}(K\1e.",
        b"",
        b".",
        b"\x80\x05N.",
    ],
)
def test_damage_costs_nothing(content: bytes) -> None:
    damaged = (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error)
    with contextlib.suppress(*damaged):
        loads(content)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_file_is_named_or_read(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar10(folder / "cifar-10-batches-py", per_file=3)
    name = data.draw(st.sampled_from(["data_batch_2", "test_batch", "batches.meta"]))
    file = folder / "cifar-10-batches-py" / name
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Most of a file is pixels: what is around them is more telling.
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 150))
        content[min(place, len(content) - 1)] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        dataset = cifar10(root=str(folder), download=False)
    except UserError as error:
        assert name in str(error) or "labels are" in str(error)  # noqa: PT017
    else:
        assert dataset.train.images.dtype == torch.uint8


def _shared(depth: int) -> list[Any]:
    """A list that a file of few bytes holds, with 2^depth labels if it is spelled out."""
    held: list[Any] = [0, 0]
    for _ in range(depth):
        held = [held, held]
    return held


@pytest.mark.parametrize(
    ("file", "changes", "wanted"),
    [
        ("data_batch_1", {b"labels": _shared(28)}, "expected N x 3072 bytes and N labels"),
        ("data_batch_1", {b"labels": [0, 10**30, 1]}, "expected N x 3072 bytes and N labels"),
        ("data_batch_1", {b"labels": [0, -1, 1]}, "labels are -1 to 1"),
        ("data_batch_1", {b"labels": None}, "expected N x 3072 bytes and N labels"),
        ("data_batch_1", {b"data": [[0] * 3072] * 3}, "expected N x 3072 bytes and N labels"),
        ("batches.meta", {b"label_names": [1, 2]}, "'label_names' are not names"),
        ("batches.meta", {b"label_names": None}, "'label_names' are not names"),
        ("batches.meta", {b"label_names": []}, "'label_names' are not names"),
        ("batches.meta", {b"label_names": ["a" * 10**6]}, "'label_names' are not names"),
    ],
)
def test_fields_of_another_kind(
    tmp_path: Path, file: str, changes: dict[bytes, Any], wanted: str
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar10(folder, per_file=3)
    content = pickle.loads((folder / file).read_bytes())
    (folder / file).write_bytes(pickle.dumps({**content, **changes}, protocol=2))
    with pytest.raises(UserError, match=wanted):
        cifar10(root=str(tmp_path), download=False)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"h\x05.", r"data_batch_1: not a CIFAR file \(.*\); delete it to fetch it again"),
        (pickle.dumps([1]), r"data_batch_1: not a CIFAR file \(no dict\)"),
        (pickle.dumps({b"labels": [1]}), r"data_batch_1: not a CIFAR file \(no 'data'\)"),
    ],
)
def test_a_file_of_another_kind_says_so(tmp_path: Path, content: bytes, wanted: str) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar10(folder, per_file=3)
    (folder / "data_batch_1").write_bytes(content)
    with pytest.raises(UserError, match=wanted):
        cifar10(root=str(tmp_path), download=False)
