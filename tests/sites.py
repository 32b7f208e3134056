"""Build the book, and serve a folder as a host for pages does: shared by the tests of the site."""

import functools
import http.server
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build(source: Path, output: Path) -> subprocess.CompletedProcess:
    """Build a book strictly: every warning and every unresolved reference is an error."""
    command = Path(sys.executable).parent / "jupyter-book"
    return subprocess.run(
        [command, "build", "-W", "-n", "--keep-going", "--path-output", str(output), str(source)],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


@contextmanager
def serve(folder: Path, under: str = "/"):
    """Yield the address of a folder served below `under`; for what is not there, its 404.html answers."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def translate_path(self, path):
            return super().translate_path("/" + path.removeprefix(under) if path.startswith(under) else "/nowhere")

        def send_error(self, code, message=None, explain=None):
            body = (folder / "404.html").read_bytes()
            self.send_response(code)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}{under}"
        server.shutdown()
