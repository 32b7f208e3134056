"""Where the book's chapters are."""

from pathlib import Path


def find(book: Path) -> list[Path]:
    """Return the notebooks below ``chapters`` of a book, in order, without the copies that Jupyter keeps of them."""
    found = (book / "chapters").rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.relative_to(book).parts)
