"""The spool deletes what it fetched and nothing else, and keeps no damaged shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cnnrun.data.sources.shard_names import expand
from cnnrun.data.sources.shard_spool import ShardSpool
from cnnrun.errors import UserError


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Counter[str]]]:
    """The address of `tmp_path/web`, with shards of 1,000 bytes, and what was asked for."""
    (tmp_path / "web").mkdir()
    asked: Counter[str] = Counter()
    for number in range(4):
        (tmp_path / "web" / f"{number}.tar").write_bytes(bytes([number]) * 1000)

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] += 1
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web"))
    ) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def _read(store: ShardSpool, url: str) -> bytes:
    with store.open(url) as shard:
        return shard.read()


@pytest.mark.parametrize("listed", [False, True])
def test_files_of_others_stay(tmp_path: Path, web: tuple[str, Counter[str]], listed: bool) -> None:
    """Whatever they are called, and whatever a list that came with them says of other folders."""
    spool = tmp_path / "spool"
    (spool / "below").mkdir(parents=True)
    others = ["backup.tar", f"{'0' * 32}.tar", f"{'a' * 64}.tar", "below/x.tar"]
    for name in others:
        (spool / name).write_bytes(b"mine" * 1000)
    (tmp_path / "outside.tar").write_bytes(b"mine")
    if listed:
        lines = [f"{name} {'0' * 64}" for name in ("../outside.tar", "backup.tar", "below/x.tar")]
        (spool / ".cnnrun-shards").write_text("\n".join(lines))
    store = ShardSpool(spool, 1500)
    for number in range(4):
        assert _read(store, f"{web[0]}/{number}.tar") == bytes([number]) * 1000
    assert all((spool / name).read_bytes() == b"mine" * 1000 for name in others)
    assert (tmp_path / "outside.tar").exists()
    ours = [file for file in spool.glob("*.tar") if file.name not in others]
    assert len(ours) == 1


@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "longer"])
def test_a_damaged_shard_is_fetched_anew(
    tmp_path: Path, web: tuple[str, Counter[str]], damage: str
) -> None:
    url = f"{web[0]}/2.tar"
    _read(ShardSpool(tmp_path / "spool", 10**6), url)
    [file] = (tmp_path / "spool").glob("*.tar")
    whole = file.read_bytes()
    file.write_bytes(
        {
            "a flipped bit": bytes([whole[0] ^ 1]) + whole[1:],
            "cut short": whole[:500],
            "longer": whole + b"x",
        }[damage]
    )
    store = ShardSpool(tmp_path / "spool", 10**6)
    assert _read(store, url) == _read(store, url) == whole
    assert web[1]["/2.tar"] == 2


@pytest.mark.parametrize(
    "pattern",
    ["a{0..99999999}{0..99}.tar", "http://h/{0..999}{0..999}{0..9}", "{0..9}" * 20, "{a,b}" * 40],
)
def test_patterns_that_stand_for_too_many(pattern: str) -> None:
    with pytest.raises(UserError, match="stands for over 1,000,000 shards"):
        expand(pattern)


def test_braces_in_braces() -> None:
    found = expand("http://h/{a,b{1..2}}")
    assert sorted(set(found)) == ["http://h/a", "http://h/b1", "http://h/b2"]
