"""The part of the Hugging Face hub's HTTP interface that pushing and fetching a model use."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
LARGE = ".safetensors"
"""Ending of the files that go to the large file storage."""


@dataclass
class Repository:
    """One model's page."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    large: set[str] = field(default_factory=set)


class FakeHub(ThreadingHTTPServer):
    """Answers as the hub does, and keeps what it was sent.

    Attributes:
        repositories: by name.
        refuse: (start of a path, status) pairs: what is answered with an error.
        token: the one token that may write.
        seen: "METHOD path" of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, Repository] = {}
        self.refuse: list[tuple[str, int]] = []
        self.stored: dict[str, bytes] = {}
        self.seen: list[str] = []
        self.token = "hf_right"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        """What HF_ENDPOINT would be."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(f"{self.command} {path}")
        refused = [status for start, status in self.server.refuse if path.startswith(start)]
        storage = path.startswith("/storage/")
        allowed = self.headers.get("Authorization") == f"Bearer {self.server.token}"
        if refused:
            self.reply(refused[0], {"error": "refused"})
        elif not allowed and not storage:
            self.reply(401, {"error": "Invalid username or password."})
        elif storage and self.command == "PUT":
            self.server.stored[path.removeprefix("/storage/")] = body
            self.reply(200, {})
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.reply(200, {"errors": [], "warnings": []})
        else:
            self.about(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'anna'}/{asked['name']}"
        url = {"url": f"{self.server.address}/{name}"}
        if name in self.server.repositories:
            self.reply(409, url | {"error": "You already created this model repo"})
            return
        self.server.repositories[name] = Repository(asked.get("visibility") == "private")
        self.reply(200, url)

    def about(self, path: str, body: bytes) -> None:
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name = "/".join(parts[:2]).removesuffix(".git")
        repository, rest = self.server.repositories.get(name), parts[2:]
        if repository is None:
            self.reply(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["preupload"]:
            self.reply(200, {"files": [mode(file) for file in json.loads(body)["files"]]})
        elif rest[:3] == ["info", "lfs", "objects"]:
            self.reply(200, {"transfer": "basic", "objects": self.places(json.loads(body))})
        elif rest[:1] == ["commit"]:
            self.commit(repository, [json.loads(line) for line in body.splitlines()])
            url = f"{self.server.address}/{name}/commit/{COMMIT}"
            self.reply(200, {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})
        elif rest[:1] == ["resolve"]:
            self.resolve(repository, "/".join(rest[2:]))
        elif rest[:1] == ["tree"]:
            self.reply(200, [entry(repository, file) for file in repository.files])
        else:
            siblings = [{"rfilename": file} for file in repository.files]
            self.reply(200, {"id": name, "sha": COMMIT, "private": repository.private,
                             "siblings": siblings, "tags": [], "downloads": 0})  # fmt: skip

    def places(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                **thing,
                "actions": {"upload": {"href": f"{self.server.address}/storage/{thing['oid']}"}},
            }
            for thing in asked["objects"]
        ]

    def commit(self, repository: Repository, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                assert value["encoding"] == "base64"
                repository.files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile", line
                content = self.server.stored[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                assert len(content) == value["size"]
                repository.files[value["path"]] = content
                repository.large.add(value["path"])

    def resolve(self, repository: Repository, file: str) -> None:
        if file not in repository.files:
            self.reply(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = repository.files[file]
        etag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.reply(200, content, etag)

    def reply(self, status: int, values: Any, headers: dict[str, str] | None = None) -> None:
        body = values if isinstance(values, bytes) else json.dumps(values).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def mode(file: dict[str, Any]) -> dict[str, Any]:
    """How the hub wants a file."""
    kind = "lfs" if file["path"].endswith(LARGE) else "regular"
    return {"path": file["path"], "uploadMode": kind, "shouldIgnore": False, "oid": None}


def entry(repository: Repository, file: str) -> dict[str, Any]:
    """A file in the listing."""
    content = repository.files[file]
    return {"type": "file", "path": file, "size": len(content),
            "oid": hashlib.sha1(content).hexdigest()}  # fmt: skip
