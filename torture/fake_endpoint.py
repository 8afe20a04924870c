"""A server that answers like an OpenAI-compatible API, and fails in every way when told to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-test"
FAULTS = (
    "429",
    "500",
    "slow",
    "cut off",
    "no JSON",
    "HTML",
    "no choices",
    "null",
    "refused",
    "filtered",
    "duplicate",
    "empty",
    "trickle",
    "processing",
    "nested",
)

ENDLESS = 10**6  # bytes before an answer
PARTS = 100  # of an answer that takes as many times PAUSE, in seconds
PAUSE = 0.05


def usual(body: dict[str, Any]) -> str:
    """A text that no other seed has."""
    return f"a text of {body.get('seed', 0)}"


def request_key(body: dict[str, Any]) -> str:
    """What tells a request from others."""
    return json.dumps(body, sort_keys=True)


class FakeEndpoint:
    """What the server does, and what it was asked."""

    def __init__(self) -> None:
        self.fault: Callable[[int, dict[str, Any]], str] = lambda number, body: ""  # of a request, by number and body
        self.write = usual
        self.finish: Callable[[dict[str, Any]], str] = lambda body: "stop"  # its reason, by the body
        self.delay = 0.0  # seconds before an answer
        self.slow = 1.0  # seconds, of the fault
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answered: Counter[str] = Counter()  # complete answers, by request (`request_key`)
        self.faults: Counter[str] = Counter()
        self.now = 0
        self.most = 0  # requests at a time
        self.url = ""
        self.redirect = ""  # to where that fault leads

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            fault = self.fault(number, body)
            self.faults[fault] += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            time.sleep(self.slow if fault == "slow" else self.delay)
            self.send(handler, body, fault)
        finally:
            with self.lock:
                self.now -= 1

    def send(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], fault: str) -> None:
        status = int(fault) if fault.isdigit() else {"filtered": 400, "redirect": 307}.get(fault, 200)
        answer = json.dumps(self.content(handler.path, body, fault)).encode()
        broken = {"no JSON": b"{'choices': [", "HTML": b"<html>starting</html>", "nested": b"[" * 200_000}
        answer = broken.get(fault, answer)
        if fault == "processing":
            for _ in range(PARTS):
                handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                time.sleep(PAUSE)
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html" if fault == "HTML" else "application/json")
        more = {"cut off": 100, "trickle": PARTS, "endless": ENDLESS}.get(fault, 0)
        handler.send_header("Content-Length", str(len(answer) + more))
        if fault == "redirect":
            handler.send_header("Location", self.redirect)
        if fault == "429":
            handler.send_header("Retry-After", "0.2")
        handler.end_headers()
        if fault == "endless":
            handler.wfile.write(b" " * ENDLESS)
        for _ in range(PARTS if fault == "trickle" else 0):
            handler.wfile.write(b" ")
            time.sleep(PAUSE)
        handler.wfile.write(answer)
        handler.wfile.flush()
        if fault == "cut off":
            handler.close_connection = True
        elif status == 200 and fault not in (*broken, "no choices", "null", "endless"):
            with self.lock:
                self.answered[request_key(body)] += 1

    def content(self, path: str, body: dict[str, Any], fault: str) -> Any:
        if fault.isdigit() or fault == "filtered":
            code = "content_filter" if fault == "filtered" else fault
            return {"error": {"message": f"no {fault} {KEY} {KEY[:8]}*{KEY[-4:]}", "code": code, "type": "error"}}
        if fault == "no choices":
            return {"choices": []}
        if fault == "null":
            return None
        text = {"empty": "  ", "duplicate": "the same text", "refused": "I cannot"}.get(fault) or self.write(body)
        choice: dict[str, Any] = {"index": 0, "finish_reason": self.finish(body)}
        if path.endswith("/chat/completions"):
            choice["message"] = {"role": "assistant", "content": text}
            if fault == "refused":
                choice["message"] |= {"content": None, "refusal": text}
        else:
            choice["text"] = text
        return {"choices": [choice], "usage": {"total_tokens": 15}}


@contextmanager
def served() -> Iterator[FakeEndpoint]:
    """A server within the block, on a port of its own."""
    endpoint = FakeEndpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                endpoint.reply(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was killed is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
