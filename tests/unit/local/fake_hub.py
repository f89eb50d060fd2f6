"""A hub of model files on loopback: the few calls that huggingface_hub makes, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """Repositories of small files; files from `large` on are stored as the hub stores weights."""

    repositories: dict[str, dict[str, bytes]]
    large: int = 1000
    cut_once: set[str] = field(default_factory=set)
    """Paths whose first download ends half way."""
    damaged: set[str] = field(default_factory=set)
    """Paths whose bytes are not those announced."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every download."""

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def commit(self, repository: str) -> str:
        return hashlib.sha1(repository.encode()).hexdigest()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = [unquote(part) for part in urlsplit(handler.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            self._json(handler, repository, parts[4] if len(parts) > 4 else "")
        else:
            self._file(handler, "/".join(parts[:2]), "/".join(parts[4:]))

    def _json(self, handler: BaseHTTPRequestHandler, repository: str, kind: str) -> None:
        files = self.repositories.get(repository)
        if files is None:
            self._send(handler, 404, b"{}")
            return
        content: Any
        if kind == "tree":
            content = [self._entry(path, data) for path, data in files.items()]
        else:
            siblings = [{"rfilename": path} for path in files]
            content = {"id": repository, "sha": self.commit(repository), "siblings": siblings}
        self._send(handler, 200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
        if len(data) >= self.large:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def _file(self, handler: BaseHTTPRequestHandler, repository: str, path: str) -> None:
        data = self.repositories.get(repository, {}).get(path)
        wanted = handler.headers.get("Range", "")
        self.requests.append((handler.command, path, wanted))
        if data is None:
            self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        entry = self._entry(path, data)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {
            "ETag": f'"{etag}"',
            "X-Repo-Commit": self.commit(repository),
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(len(data)),
            "Accept-Ranges": "bytes",
        }
        if path in self.damaged:
            data = bytes(len(data))
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(handler, 206 if wanted else 200, data[start:], headers, is_cut=path in self.cut_once)

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        is_cut: bool = False,
    ) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if is_cut:
            self.cut_once.clear()
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            handler.close_connection = True
        else:
            handler.wfile.write(body)
