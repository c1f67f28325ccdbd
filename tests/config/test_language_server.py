"""The schema in the hands of the real yaml-language-server, as editors run it.

It comes from the npm registry at each run (`npx`), so these tests are among the slow ones.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CONFIGS, Command


class Editor:
    """A client of the language server protocol with one open file."""

    def __init__(self, folder: Path) -> None:
        command = ["npx", "--yes", "yaml-language-server@1", "--stdio"]
        self.server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._file, self._last = folder / "open.yaml", 0
        self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})
        self._send({"method": "initialized", "params": {}})

    def open(self, text: str) -> list[str]:
        """Open the file; returns the problems that are marked in it."""
        self.text = text
        document = {"uri": self._file.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            message = self._hear()
            if message.get("method") == "textDocument/publishDiagnostics":
                return [problem["message"] for problem in message["params"]["diagnostics"]]

    def at(self, method: str, word: str, column: int = 1) -> Any:
        """Ask about the place `column` letters into the first `word`."""
        line, text = next((i, t) for i, t in enumerate(self.text.split("\n")) if word in t)
        position = {"line": line, "character": text.index(word) + column}
        document = {"uri": self._file.as_uri()}
        return self.ask(f"textDocument/{method}", textDocument=document, position=position)

    def ask(self, method: str, **params: Any) -> Any:
        self._last += 1
        self._send({"id": self._last, "method": method, "params": params})
        while True:
            message = self._hear()
            if message.get("id") == self._last and "method" not in message:
                return message["result"]

    def _send(self, message: dict[str, Any]) -> None:
        assert self.server.stdin is not None
        text = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        self.server.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        """The next message; what the server asks for itself is answered with nothing."""
        stream = self.server.stdout
        assert stream is not None
        header = b""
        while not header.endswith(b"\r\n\r\n"):
            header += stream.read(1) or pytest.fail("yaml-language-server has ended")
        size = int(header.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
        message: dict[str, Any] = json.loads(stream.read(size))
        if "id" in message and "method" in message:
            items = message.get("params", {}).get("items", [])
            self._send({"id": message["id"], "result": [None] * len(items)})
        return message


@pytest.fixture
def editor(cnnrun: Command, tmp_path: Path) -> Iterator[Editor]:
    assert cnnrun("schema", "-o", "schema.json").code == 0
    editor = Editor(tmp_path)
    with editor.server:
        yield editor
        editor.server.kill()


@pytest.mark.slow
def test_an_editor_completes_explains_and_marks_mistakes(editor: Editor) -> None:
    text = (CONFIGS / "digits_cnn.yaml").read_text()
    first = "# yaml-language-server: $schema=schema.json\n"
    assert editor.open(first + text) == []
    assert "which epoch is best" in json.dumps(editor.at("hover", "monitor"))
    assert "He et al. 2015" in json.dumps(editor.at("hover", "kaiming_normal"))
    found = editor.at("completion", "  pooling", column=2)
    labels = {item["label"] for item in found.get("items", found)}
    assert {"dilation", "head_pooling"} <= labels
    assert "hidden" not in labels  # it is a key of another model


@pytest.mark.slow
def test_a_misspelt_key_is_marked(editor: Editor) -> None:
    text = (CONFIGS / "digits_cnn.yaml").read_text()
    first = "# yaml-language-server: $schema=schema.json\n"
    told = editor.open(first + text.replace("batch_norm", "batch_nrom"))
    assert told == ["Property batch_nrom is not allowed."]
