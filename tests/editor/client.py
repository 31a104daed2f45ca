"""A client of yaml-language-server: JSON-RPC over its standard streams, as editors speak it.

The protocol is https://microsoft.github.io/language-server-protocol; what is set is in the server's README.
"""

import json
import queue
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SERVER = Path(__file__).parent / "node_modules/yaml-language-server/bin/yaml-language-server"
_TIMEOUT_S = 120
"""A server that says nothing for so long is taken for dead."""


class Editor:
    """A running server with a workspace; `schemas` maps the URL of a schema to patterns of file names."""

    def __init__(self, workspace: Path, schemas: dict[str, str]) -> None:
        self.workspace = workspace
        self._settings = {
            "yaml": {
                "schemas": schemas,
                "schemaStore": {"enable": False},
                "kubernetesCRDStore": {"enable": False},
                "validate": True,
                "hover": True,
                "completion": True,
            }
        }
        command = ["node", str(SERVER), "--stdio"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=workspace)
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._last_id = 0
        self._diagnostics: dict[str, list[dict[str, Any]]] = {}
        self._configured = False

    def __enter__(self) -> Self:
        self._reader.start()
        markdown = {"contentFormat": ["markdown"]}
        item = {"snippetSupport": True, "documentationFormat": ["markdown"]}
        capabilities = {
            "workspace": {"configuration": True, "workspaceFolders": True},
            "textDocument": {"hover": markdown, "completion": {"completionItem": item}},
        }
        folder = {"uri": self.workspace.as_uri(), "name": "jobs"}
        self._ask("initialize", {"processId": None, "capabilities": capabilities, "workspaceFolders": [folder],
                                 "rootUri": folder["uri"]})  # fmt: skip
        self._tell("initialized", {})
        while not self._configured:
            self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._ask("shutdown", None)
                self._tell("exit", None)
                self._server.wait(_TIMEOUT_S)
        finally:
            self._server.kill()
            self._server.wait()
            self._reader.join()
            for stream in (self._server.stdin, self._server.stdout):
                if stream is not None:
                    stream.close()

    def open(self, name: str, text: str) -> str:
        """Open a file of the workspace that need not exist; return its URI."""
        uri = (self.workspace / name).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})
        return uri

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """Return what the server says of a file that was opened."""
        while uri not in self._diagnostics:
            self._take()
        return self._diagnostics[uri]

    def completion(self, uri: str, line: int, column: int) -> dict[str, dict[str, Any]]:
        """Return the items by label; lines and columns count from 0."""
        found = self._ask("textDocument/completion", _place(uri, line, column))
        return {item["label"]: item for item in (found["items"] if isinstance(found, dict) else found)}

    def hover(self, uri: str, line: int, column: int) -> str:
        """Return the text that is shown there."""
        found = self._ask("textDocument/hover", _place(uri, line, column))
        return str(found["contents"]["value"]) if found else ""

    def _ask(self, method: str, params: Any) -> Any:
        self._last_id += 1
        self._send({"id": self._last_id, "method": method, "params": params})
        while True:
            message = self._take()
            if "method" not in message and message.get("id") == self._last_id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _take(self) -> dict[str, Any]:
        """Return the next message, after what it asks for has been done."""
        message = self._inbox.get(timeout=_TIMEOUT_S)
        if message is None:
            raise RuntimeError("the language server ended")
        method = message.get("method")
        if method == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif method is not None and "id" in message:
            result = self._configuration(message["params"]) if method == "workspace/configuration" else None
            self._send({"id": message["id"], "result": result})
        return message

    def _configuration(self, params: dict[str, Any]) -> list[Any]:
        self._configured = True
        return [self._settings.get(item.get("section")) for item in params["items"]]

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._server.stdin is not None
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._server.stdin.flush()

    def _read(self) -> None:
        stream = self._server.stdout
        assert stream is not None
        while True:
            length = 0
            while (header := stream.readline().strip()) != b"":
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = stream.read(length)
            if not length or len(body) < length:
                self._inbox.put(None)
                return
            self._inbox.put(json.loads(body))


def _place(uri: str, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}}
