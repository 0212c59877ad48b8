"""As much of a wandb server as one run needs: it answers on 127.0.0.1 and keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Attributes: ``runs`` history lines by run id; ``files`` uploaded names; ``operations``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[int, dict[str, Any]]] = {}  # id -> line number -> metrics
        self.finished: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> LoopbackServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def history(self, run_id: str) -> list[dict[str, Any]]:
        return [line for _, line in sorted(self.runs[run_id].items())]

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        entity = {"id": "e", "name": "me"}
        if operation == "Viewer":
            user = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}"}
            return {"viewer": {**user, "teams": {"edges": []}}}
        if operation == "RunResumeStatus":
            lines = self.history(variables["name"]) if variables["name"] in self.runs else []
            bucket = {
                "id": "b",
                "name": variables["name"],
                "displayName": variables["name"],
                "summaryMetrics": "{}",
                "logLineCount": 0,
                "eventsLineCount": 0,
                "historyLineCount": len(lines),
                "historyTail": json.dumps([json.dumps(line) for line in lines[-1:]]),
                "eventsTail": "[]",
                "config": "{}",
                "tags": [],
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }
            project = {"id": "p", "name": variables["project"], "entity": entity}
            return {"model": {**project, "bucket": bucket if lines else None}}
        if operation == "UpsertBucket":
            project = {"id": "p", "name": variables["project"], "entity": entity}
            bucket = {"id": "b", "name": variables["name"], "displayName": variables["name"]}
            details = {"description": "", "config": "{}", "sweepName": None, "historyLineCount": 0}
            inserted = variables["name"] not in self.runs
            self.runs.setdefault(variables["name"], {})
            return {
                "upsertBucket": {
                    "bucket": {**bucket, **details, "project": project},
                    "inserted": inserted,
                }
            }
        if operation == "CreateRunFiles":
            files = [
                {"name": name, "uploadUrl": f"{self.url}/upload/{name}"}
                for name in variables["files"]
            ]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def file_stream(self, run_id: str, body: dict[str, Any]) -> None:
        history = body.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        for number, line in enumerate(history["content"], start=history["offset"]):
            self.runs.setdefault(run_id, {})[number] = json.loads(line)
        if body.get("complete"):
            self.finished.add(run_id)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        self.server.files[self.path.removeprefix("/upload/")] = self._body()
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            request = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
            self.server.operations.append(operation)
            self._reply({"data": self.server.graphql(operation, request.get("variables") or {})})
        elif found := re.fullmatch(r"/files/me/[^/]+/([^/]+)/file_stream", self.path):
            self.server.file_stream(found[1], json.loads(body))
            self._reply({})
        else:
            self._reply({})

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _reply(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
