"""Files as damage or malice leaves them: bytes, values and structures changed by a drawn choice."""

from __future__ import annotations

import io
import json
import pickle
import random
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.config.test_fuzz_config import ODD, change_text

# Bytes at the edges of what lengths, counts and signs may be.
_EDGES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff",
          b"\xff\xff\xff\x7f", b"\x00" * 8, b"\xff" * 8, b"\n", b"PK\x05\x06",
          b"00000000000"]  # fmt: skip


def change_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with bytes changed; more often at its ends, which decide the most."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        reach = min(draw.choice([32, 512, len(changed)]), len(changed)) or 1
        at = draw.randrange(reach)
        if draw.random() < 0.2:
            at = max(len(changed) - 1 - at, 0)
        change = draw.randrange(6)
        if change == 0 and changed:
            changed[at] ^= 1 << draw.randrange(8)
        elif change == 1:
            edge = draw.choice(_EDGES)
            changed[at : at + len(edge)] = edge
        elif change == 2:
            del changed[at : at + draw.choice([1, 2, 4, 100])]
        elif change == 3:
            changed[at:at] = draw.randbytes(draw.choice([1, 4, 64]))
        elif change == 4:
            start = draw.randrange(len(changed) or 1)
            changed[at : at + 16] = changed[start : start + 16]
        elif draw.random() < 0.3:
            del changed[draw.randrange(len(changed) + 1) :]
    return bytes(changed)


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Every container below the top with each of its keys."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(items):
        yield values, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def change_values(values: Any, draw: random.Random, odd: list[Any] = ODD) -> None:
    """Change some values of dicts and lists, in place: they go, move, or become odd ones."""
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        places = list(_places(values))
        if not places:
            return
        parent, key = draw.choice(places)
        change = draw.randrange(6)
        if change == 0:
            del parent[key]
        elif change == 1:
            other, theirs = draw.choice(places)
            # What was moved into itself has no end, and no file holds that.
            with suppress(LookupError, RecursionError):
                parent[key] = pickle.loads(pickle.dumps(other[theirs]))
        elif change == 2:
            parent[key] = draw.choice([[parent[key]], {"name": parent[key]}])
        elif change == 3 and isinstance(parent[key], (int, float)):
            parent[key] *= draw.choice([-1, 0, 2, 0.5, 1000, 10**9, 10**30])
        elif change == 4 and isinstance(parent, dict):
            parent[str(draw.choice(ODD))] = draw.choice(odd)
        else:
            parent[key] = draw.choice(odd)


def change_json(file: Path, draw: random.Random) -> None:
    """A file of JSON, or of one JSON value a line."""
    content = file.read_bytes()
    if draw.random() < 0.3:
        file.write_bytes(change_text(content, draw))
        return
    lines = content.splitlines() if file.suffix == ".jsonl" else [content]
    values = [json.loads(line) for line in lines]
    change_values(values, draw)
    with suppress(ValueError):  # of a surrogate, or a whole number of thousands of digits
        text = "\n".join(json.dumps(value) for value in values)
        file.write_text(text + "\n" if draw.random() < 0.9 else text)


# Checkpoints --------------------------------------------------------------------------------------


def _odd_tensors() -> list[Any]:
    return [
        torch.zeros(0), torch.zeros(()), torch.zeros(3, 3), torch.full((4,), float("nan")),
        torch.zeros(1).expand(10**6, 10**9), torch.zeros(4, 64, dtype=torch.float64),
        torch.zeros(4, 64, dtype=torch.complex64), torch.ones(4, dtype=torch.bool),
        torch.zeros(2, 2).to_sparse(), torch.zeros(1, dtype=torch.uint8), torch.tensor(2**62),
        torch.full((10, 4), float("inf")), torch.arange(8)[::2], torch.zeros(4, dtype=torch.half),
    ]  # fmt: skip


def _change_tensor(tensor: torch.Tensor, draw: random.Random) -> torch.Tensor:
    """Another shape, type, or other numbers."""
    flat = tensor.flatten()
    choices = [
        tensor.unsqueeze(0), flat, flat[:-1], tensor.double(), tensor.long(), tensor * float("nan"),
        tensor.t() if tensor.ndim == 2 else flat.flip(0), torch.zeros_like(tensor), -tensor,
        torch.cat([flat, flat]), tensor * 1e30, tensor[:0] if tensor.ndim else tensor,
    ]  # fmt: skip
    return draw.choice(choices)


def _change_pickle_in_zip(content: bytes, draw: random.Random) -> bytes:
    """One entry of the archive is changed, and has the checksum of what it became."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w") as target:
        names = source.namelist()
        chosen = draw.choice([next(n for n in names if n.endswith("data.pkl")), *names[-3:]])
        for name in names:
            entry = source.read(name)
            target.writestr(name, change_bytes(entry, draw) if name == chosen else entry)
    return stream.getvalue()


def change_checkpoint(file: Path, draw: random.Random) -> None:
    """The bytes, an entry of the archive, or what the values say."""
    change = draw.randrange(5)
    if change == 0:
        file.write_bytes(change_bytes(file.read_bytes(), draw))
        return
    if change == 1:
        file.write_bytes(_change_pickle_in_zip(file.read_bytes(), draw))
        return
    content = torch.load(file, weights_only=True)
    tensors = [place for place in _places(content) if isinstance(place[0][place[1]], torch.Tensor)]
    if change == 2 and tensors:
        parent, key = draw.choice(tensors)
        parent[key] = _change_tensor(parent[key], draw)
    else:
        change_values(content, draw, [*ODD, *_odd_tensors()])
    torch.save(content, file)


def change_safetensors(file: Path, draw: random.Random) -> None:
    """The bytes, or what the header says of them."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if draw.random() < 0.3:
        file.write_bytes(change_bytes(content, draw))
        return
    change_values(header, draw)
    with suppress(ValueError):
        said = json.dumps(header).encode()
        file.write_bytes(len(said).to_bytes(8, "little") + said + content[8 + length :])


# Data ---------------------------------------------------------------------------------------------


def change_tar(file: Path, draw: random.Random) -> None:
    """The bytes, or members of other names, kinds, sizes and contents under right checksums."""
    if draw.random() < 0.3:
        file.write_bytes(change_bytes(file.read_bytes(), draw))
        return
    with tarfile.open(file) as source:
        members = [(m, source.extractfile(m).read()) for m in source]  # type: ignore[union-attr]
    stream = io.BytesIO()
    form = draw.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    at = draw.randrange(len(members))
    with tarfile.open(fileobj=stream, mode="w", format=form) as target:
        for index, (member, content) in enumerate(members):
            if index == at:
                content = _change_member(member, content, draw)
            with suppress(ValueError, OverflowError, UnicodeError):  # not every name fits
                stream.write(member.tobuf(form, "utf-8", "surrogateescape"))
                stream.write(content + bytes(-len(content) % 512))
        target.offset = stream.tell()
    file.write_bytes(stream.getvalue())


def _change_member(member: tarfile.TarInfo, content: bytes, draw: random.Random) -> bytes:
    odd = str(draw.choice([*ODD, "../../x.png", "/etc/passwd", "a" * 5000, "\x1b[2J.png"]))
    change = draw.randrange(6)
    if change == 0:
        member.name = odd + draw.choice(["", ".png", ".cls", ".json"])
    elif change == 1:
        member.size = draw.choice([0, 1, 511, 2**33, 2**62, len(content) + 512])
    elif change == 2:
        member.type = draw.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"5", b"x",
                                   b"g", b"L", b"S", b"\xff"])  # fmt: skip
        member.linkname = odd
    elif change == 3:
        keys = draw.sample(["size", "path", "mtime", "GNU.sparse.map", "hdrcharset", odd], 2)
        member.pax_headers = {key: str(draw.choice(ODD)) for key in keys}
    elif change == 4:
        content = change_bytes(content, draw)
        member.size = len(content)
    else:
        content = str(draw.choice([*ODD, "9" * 5000, "-1", "100001"])).encode("utf-8", "replace")
        member.size = len(content)
    return content


def change_cifar(file: Path, draw: random.Random) -> None:
    """The pickle's bytes, or other fields, kinds and shapes."""
    if draw.random() < 0.4:
        file.write_bytes(change_bytes(file.read_bytes(), draw))
        return
    content = pickle.loads(file.read_bytes())
    kinds = [("u1", (0,)), ("i8", (5, 3072)), ("u1", (1, 1)), ("O", (5, 3072)), ("V5", (3,))]
    arrays = [*(np.zeros(shape, kind) for kind, shape in kinds), np.zeros((3072, 5), "u1").T]
    change_values(content, draw, [*ODD, *arrays])
    file.write_bytes(pickle.dumps(content, draw.choice([0, 1, 2, 4, 5])))


def change_table(file: Path, draw: random.Random) -> None:
    """A CSV's text, or one of its cells."""
    if draw.random() < 0.4:
        file.write_bytes(change_text(file.read_bytes(), draw))
        return
    rows = [line.split(",") for line in file.read_text().splitlines()]
    row = draw.choice(rows)
    row[draw.randrange(len(row))] = draw.choice(
        [*map(str, ODD), '"', "../x.png", "/dev/zero", "/etc/passwd", "x" * 5000, "http://[::1"]
    )
    file.write_bytes("\n".join(map(",".join, rows)).encode("utf-8", "surrogateescape"))


def change_database(file: Path, draw: random.Random) -> None:
    """The bytes, or cells, rows and tables of it."""
    if draw.random() < 0.25:
        file.write_bytes(change_bytes(file.read_bytes(), draw))
        return
    with closing(sqlite3.connect(file)) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for _ in range(draw.choice([1, 1, 2, 4])):
            (table,) = draw.choice(names)
            with suppress(sqlite3.Error):  # what the table's own rules refuse, or has gone before
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                rows = [row for (row,) in database.execute(f"SELECT rowid FROM {table}")]
                if columns and rows:
                    column, row = draw.choice(columns), draw.choice(rows)
                    _change_table_of(database, table, column, row, draw)
        database.commit()


def _change_table_of(
    database: sqlite3.Connection, table: str, column: str, row: int, draw: random.Random
) -> None:
    odd = [None, -1, 0, 2**63 - 1, 1e308, float("inf"), "", "x", "[]", "{}", "null", "NaN", b"\xff",
           "COMPLETE", "RUNNING", "FAIL", "a" * 10_000, "\x1b[2J", "[" * 3000,
           '{"a": 1e999}']  # fmt: skip
    change = draw.randrange(8)
    if change == 0:
        database.execute(f"DELETE FROM {table}")
    elif change == 1:
        database.execute(f"DROP TABLE {table}")
    elif change == 2:
        database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    else:
        database.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (draw.choice(odd), row)
        )
