"""The hostile client of ``floods.py``: eleven ways of asking for too much, by many threads at once.

It runs on the machine of the service, and takes processor time from it; the first "flood", which
asks for nothing, shows how much of what is measured comes from that alone.
"""

import base64
import http.client
import io
import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

THREADS = 16
FUTURES = 16


class Hostile:
    """Floods a service from one address.

    Args:
        address: of the service.
        source: address of this machine that it comes from.
        run: name of the run that is served.
    """

    def __init__(self, address: str, source: str, run: str) -> None:
        self.host, self.port = urlsplit(address).hostname, urlsplit(address).port
        self.source, self.run = source, run
        self.tally: Any = [0, 0]

    def flood(self, name: str, tally: Any = None) -> None:
        """Flood in one of the ``FLOODS`` until killed, or until who has begun it is no more.

        Args:
            name: of the flood.
            tally: two shared numbers: what was served, and what was refused or broke off.
        """
        self.tally = self.tally if tally is None else tally
        work = FLOODS[name]
        _table(), _gif(2000, 70), _png(2000)  # what is sent is made before: it costs the sender
        threads = [
            threading.Thread(target=self._again_and_again, args=(work, seed))
            for seed in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _again_and_again(self, work: Callable[["Hostile", int], None], seed: int) -> None:
        beginner = multiprocessing.parent_process()
        while beginner is None or beginner.is_alive():
            try:
                work(self, seed)
            except (OSError, http.client.HTTPException, WebSocketException, ValueError):
                self.tally[1] += 1
            time.sleep(0.01)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "", **more: str) -> bytes:
        """One request, with more headers; what is answered well, or nothing."""
        connection = http.client.HTTPConnection(
            self.host, self.port, timeout=60, source_address=(self.source, 0)
        )
        try:
            headers = more | ({"content-type": kind} if kind else {})
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.tally[answer.status >= 300] += 1
            return content if answer.status < 300 else b""
        finally:
            connection.close()

    def post(self, path: str, wanted: object) -> dict:
        """The answer to JSON; empty where it was refused."""
        answer = self.ask("POST", path, json.dumps(wanted).encode(), "application/json")
        return json.loads(answer) if answer else {}

    def begin(self, seed: int, samples: int = FUTURES) -> str:
        """A session, with as many futures as there may be; its name, or "" after half a second."""
        wanted = {"run": self.run, "sequence": 0, "samples": samples, "seed": seed}
        session = self.post("/api/sessions", wanted).get("session", "")
        if not session:
            time.sleep(0.5)
        return session

    def stepping(self, session: str) -> ClientConnection:
        """A socket on which a session is stepped."""
        url = f"ws://{self.host}:{self.port}/api/sessions/{session}/steps"
        return connect(url, sock=self.socket(), compression=None, max_size=2**24)

    def socket(self) -> socket.socket:
        """A connection, before anything is said on it."""
        plain = socket.create_connection((self.host, self.port), 60, (self.source, 0))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return plain

    def upload(self, files: list[tuple[str, str, bytes]]) -> bytes:
        """Bring files: field, name and content."""
        parts = [
            b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
            % (field.encode(), name.encode(), content)
            for field, name, content in files
        ]
        body = b"".join(parts) + b"--b--\r\n"
        return self.ask("POST", "/api/uploads", body, "multipart/form-data; boundary=b")


def _predictions(hostile: Hostile, seed: int) -> None:
    size, n_past = 64, 2
    frames = base64.b64encode(bytes(n_past * size * size * 3)).decode()
    rows = [[0.1] * 4] * 600
    wanted = {"run": hostile.run, "frames": frames, "actions": rows, "samples": FUTURES}
    hostile.post("/api/predict", {**wanted, "n_future": 500, "seed": seed})


def _steps(hostile: Hostile, seed: int) -> None:
    session = hostile.begin(seed)
    if not session:
        return
    with hostile.stepping(session) as steps:
        for number in range(500):
            steps.send(json.dumps({"type": "step", "id": number, "from": 0}))
            steps.recv()
            hostile.tally[0] += 1


def _unread(hostile: Hostile, seed: int) -> None:
    """Steps over a bare socket whose frames nobody takes."""
    session = hostile.begin(seed)
    if not session:
        return
    plain = hostile.socket()
    key = base64.b64encode(bytes(16)).decode()
    plain.sendall(
        f"GET /api/sessions/{session}/steps HTTP/1.1\r\nHost: {hostile.host}:{hostile.port}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    plain.recv(1000)
    message = json.dumps({"type": "step", "id": 1, "from": 0}).encode()
    frame = bytes([0x81, 0x80 | len(message), 0, 0, 0, 0]) + message
    with plain:
        for _ in range(2000):
            plain.sendall(frame)
            hostile.tally[0] += 1
            time.sleep(0.005)


def _pictures(hostile: Hostile, seed: int) -> None:
    for name in ("frames.bin", "thumbnail.png"):
        hostile.ask("GET", f"/api/runs/{hostile.run}/sequences/0/{name}")


@cache
def _table() -> bytes:
    return (b"0.1,0.2,0.3,0.4\n" * 2_000_000)[: 31 * 2**20]


def _tables(hostile: Hostile, seed: int) -> None:
    hostile.upload([("frames", "a.png", _png(64)), ("actions", "a.csv", _table())])
    hostile.ask("GET", f"/api/runs/{hostile.run}/sequences/0/actions")


def _exports(hostile: Hostile, seed: int) -> None:
    session = hostile.begin(seed, samples=1)
    if not session:
        return
    with hostile.stepping(session) as steps:
        node = 0
        for number in range(8):  # few: the flood is that of what is written from them
            steps.send(json.dumps({"type": "step", "id": number, "from": node}))
            answer = steps.recv()
            node = int.from_bytes(answer[8:12], "little") if isinstance(answer, bytes) else node
    for number in range(100):
        kind = ("gif", "mp4", "lab")[number % 3]
        hostile.ask("GET", f"/api/sessions/{session}/export?node={node}&format={kind}")


@cache
def _mistakes(length: int) -> bytes:
    pairs = ",".join(f'"k{n}":[{n}]' for n in range(length // 8))
    return ("{" + pairs[:length].rpartition(",")[0] + "}").encode()


def _json(hostile: Hostile, seed: int) -> None:
    for path in ("/api/predict", "/api/sessions"):
        for length in (4_000_000, 200_000, 60_000):
            hostile.ask("POST", path, _mistakes(length), "application/json")


def _uploads(hostile: Hostile, seed: int) -> None:
    if seed % 2:
        hostile.upload([("frames", f"{n}.png", _png(2000)) for n in range(70)])
    else:
        hostile.upload([("frames", "a.gif", _gif(2000, 70))])


def _requests(hostile: Hostile, seed: int) -> None:
    for path in ("/api/runs", "/healthz", "/api/openapi.json"):
        hostile.ask("GET", path)


def _guesses(hostile: Hostile, seed: int) -> None:
    """Words that could be the token, under names that are not the service's."""
    for number in range(10):
        word = f"Bearer guess-{seed}-{number}"
        hostile.ask("GET", "/api/runs", host="elsewhere.example", authorization=word)


def _sessions(hostile: Hostile, seed: int) -> None:
    hostile.begin(seed)


@cache
def _gif(size: int, count: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((size, size), np.uint8)).save(file, "GIF")
    one = file.getvalue()
    start = 13 + (3 << ((one[10] & 7) + 1))  # behind the colours
    return one[:start] + count * one[start:-1] + b";"


def _busy(hostile: Hostile, seed: int) -> None:
    """Nothing is asked of the service: what another program on the machine costs."""
    until = time.perf_counter() + 0.5
    while time.perf_counter() < until:
        sum(range(1000))
    hostile.tally[0] += 1


@cache
def _png(size: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


FLOODS: dict[str, Callable[[Hostile, int], None]] = {
    "none, but the processor is busy": _busy,
    "predictions": _predictions,
    "steps": _steps,
    "unread steps": _unread,
    "pictures": _pictures,
    "tables": _tables,
    "exports": _exports,
    "JSON": _json,
    "uploads": _uploads,
    "requests": _requests,
    "refused requests": _guesses,
    "sessions": _sessions,
}
