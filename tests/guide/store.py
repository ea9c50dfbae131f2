"""The resource behind the guide's programs: a store that compares fencing tokens, and a service that is to be called seldom.

    GET  /NAME?token=7                     the value; 409 if a greater token was seen
    POST /  with lines NAME TOKEN VALUE    all of them are written, or none: 409 if a greater token was seen for one
    GET  /slow                             answers after a while; how many came when is noted
"""

import contextlib
import http.server
import threading
import time
import urllib.parse

READ_SECONDS = 0.05  # so long a read takes, that programs which are not kept apart overlap
CALL_SECONDS = 0.2
TOGETHER = 3  # the first calls wait for so many, that it is seen that they may come together
TOGETHER_MAX = 20.0  # seconds


class Refused(Exception):
    """A greater token was seen."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # more than copies that come at once
    daemon_threads = True


class Store:
    """Records: a value and the greatest token seen. Open it with `with`."""

    def __init__(self, **values):
        self._lock = threading.Lock()  # for a few lines each
        self.records = {name.replace("__", "/"): [value, 0] for name, value in values.items()}
        self.refusals = []
        self.write_seconds = 0.0  # how long a write takes, for a scenario to set
        self.stall, self.stalled = None, threading.Event()
        self.starts, self.under_way, self.most = [], 0, 0
        self._together = threading.Barrier(TOGETHER)
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, name="store", daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def values(self):
        with self._lock:
            return {name: value for name, (value, _) in self.records.items()}

    def stall_next_write(self):
        """The next write is taken in, and done only when the event that this returns is set."""
        self.stall = threading.Event()
        return self.stall

    def read(self, name, token):
        time.sleep(READ_SECONDS)
        with self._lock:
            self._see(name, token)
            return self.records[name][0]

    def write(self, lines):
        stall, self.stall = self.stall, None
        if stall:
            self.stalled.set()
            stall.wait(60)
        time.sleep(self.write_seconds)
        changes = [line.split() for line in lines]
        with self._lock:
            for name, token, _ in changes:
                self._see(name, int(token))
            for name, _, value in changes:
                self.records[name][0] = int(value)

    def call(self):
        with self._lock:
            self.starts.append(time.monotonic())
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            first = len(self.starts) <= TOGETHER
        with contextlib.suppress(threading.BrokenBarrierError):
            if first:
                self._together.wait(TOGETHER_MAX)
        time.sleep(CALL_SECONDS)
        with self._lock:
            self.under_way -= 1

    def _see(self, name, token):
        record = self.records[name]
        if token < record[1]:
            self.refusals.append((name, token))
            raise Refused(f"{name} has seen token {record[1]}")
        record[1] = token

    def _handler(store):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                place = urllib.parse.urlsplit(self.path)
                name = urllib.parse.unquote(place.path[1:])
                if name == "slow":
                    return self.answer(store.call)
                token = int(urllib.parse.parse_qs(place.query)["token"][0])
                self.answer(lambda: store.read(name, token))

            def do_POST(self):
                text = self.rfile.read(int(self.headers["content-length"])).decode()
                self.answer(lambda: store.write(text.splitlines()))

            def answer(self, work):
                try:
                    status, text = 200, work()
                except Refused as refused:
                    status, text = 409, refused
                data = b"" if text is None else str(text).encode()
                with contextlib.suppress(OSError):  # whoever asked may have been killed
                    self.send_response(status)
                    self.send_header("content-length", str(len(data)))
                    # It closes the connection, and Java would take it for open if it were not told.
                    self.send_header("connection", "close")
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler
