"""What the HTTP servers of these tests have in common: they answer in JSON, and say nothing of it."""

import http.server
import json


class Handler(http.server.BaseHTTPRequestHandler):
    """To be completed by what is asked for."""

    def reply(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass
