"""An installation's API that commands can ask, told what to answer."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


class Api:
    """An installation's API, told what to answer; keeps what it was asked."""

    def __init__(self):
        self.answer = (200, {}, b"{}")
        self.asked = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                api.asked.append((self.command, self.path, self.headers["authorization"], json.loads(body or b"null")))
                status, headers, content = api.answer
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.do_POST()

            def log_message(self, *_):
                """Nobody reads it."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def says(self, document, status=200, **headers):
        self.answer = (status, headers, json.dumps(document).encode())


@pytest.fixture
def api():
    """It answers until the test is over."""
    api = Api()
    thread = threading.Thread(target=api.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield api
    api.server.shutdown()
    api.server.server_close()
    thread.join()
