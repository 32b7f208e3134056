"""Build the book, and serve a folder as a host for pages does: shared by the tests of the site."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import nbformat

from tools.execute import METADATA

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


def small_book(folder: Path, text: str = "", outputs=()) -> Path:
    """Write a book of one page into `folder`, with the settings of this one; its one cell has these outputs."""
    for name in ("_config.yml", "_ext", "_static", "_templates"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / "chapters").mkdir()
    shutil.copy2(ROOT / "chapters" / "references.bib", folder / "chapters")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: chapters/one\n")
    cell = nbformat.v4.new_code_cell("1 / 0", id="divide", execution_count=1)
    cell.outputs = list(outputs)
    heading = nbformat.v4.new_markdown_cell(f"# One\n\n{text}", id="heading")
    notebook = nbformat.v4.new_notebook(cells=[heading, cell], metadata=METADATA)
    nbformat.write(notebook, folder / "chapters" / "one.ipynb")
    return folder
