"""A stand-in for the hub on this machine: it knows repositories, makes them, and keeps the files of commits."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hub:
    """What the stand-in has: by kind/owner/name whether it is private, its files, and how it answers.

    refuses: a status that it gives to each request. tokens: those that requests came with.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.tokens: set[str | None] = set()
        self.refuses = 0


@contextmanager
def hub() -> Iterator[Hub]:
    """A stand-in that listens within the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def answer(self, status: int, content: Any, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        repository = "/".join(self.path.partition("?")[0].split("/")[2:5])
        if self.hub.refuses:
            self.answer(self.hub.refuses, {})
        elif repository in self.hub.private:
            self.answer(200, {"id": repository.partition("/")[2], "siblings": [], "tags": [], "sha": "0" * 40})
        else:
            self.answer(404, {}, X_Error_Code="RepoNotFound")

    def do_POST(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif "/preupload/" in path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.answer(200, {"files": [file | {"shouldIgnore": False} for file in files]})
        elif "/commit/" in path:
            kept = self.hub.files.setdefault("/".join(path.split("/")[2:5]), {})
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    kept[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            repository = path.removeprefix("/api/").removeprefix("models/").partition("/commit/")[0]
            self.answer(200, {"commitUrl": f"{self.hub.url}/{repository}/commit/1", "commitOid": "1" * 40})
        else:
            self.answer(200, {})

    def create(self, wanted: dict[str, Any]) -> None:
        kind = wanted.get("type", "model")
        name = f"{wanted['organization']}/{wanted['name']}"
        known = f"{kind}s/{name}" in self.hub.private
        self.hub.private.setdefault(f"{kind}s/{name}", wanted.get("private") or wanted.get("visibility") == "private")
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        self.answer(409 if known else 200, {"url": url})
