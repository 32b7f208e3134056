"""Write the repository's address, which stands in `_config.yml`, wherever it is used; without an address, take it out.

Places: the set-up cell of each chapter, the buttons of the site, the README's line on Colab, `CITATION.cff`, and
`pyproject.toml`. Usage: ``python -m tools.stamp [--url ADDRESS] [--branch BRANCH]``; an empty address un-stamps, and
without ``--url`` the one in `_config.yml` is written again, as after a new chapter.
"""

import argparse
import re
import sys
from pathlib import Path

from tools.chapters import find

ROOT = Path(__file__).parent.parent
COLAB = "https://colab.research.google.com"
ADDRESS = re.compile(r"https://github\.com/[A-Za-z0-9]+(-[A-Za-z0-9]+)*/(?!.*\.git$)[\w.-]*\w[\w.-]*", flags=re.A)
SET_UP = re.compile(r'"REPOSITORY = \\"[^"\\]*\\"\\n"')
"""The one line of a notebook's file that holds the address."""


def main(arguments: list[str] | None = None) -> int:
    """Stamp this tree and print which files changed; return 1 if the address is none, else 0."""
    parser = argparse.ArgumentParser(description="Write the repository's address wherever it is used.")
    parser.add_argument("--url", help='https://github.com/owner/name, or "" to take it out (default: _config.yml\'s)')
    parser.add_argument("--branch", help="the branch that Colab opens (default: _config.yml's)")
    options = parser.parse_args(arguments)
    try:
        texts = stamped(ROOT, options.url, options.branch)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    changed = [path for path, text in texts.items() if read(path) != text]
    for path in changed:
        path.write_bytes(texts[path].encode())
        print(path.relative_to(ROOT).as_posix())
    if not changed:
        print("Nothing to change.")
    return 0


def stamped(root: Path, url: str | None = None, branch: str | None = None) -> dict[Path, str]:
    """Return what each file that holds the address contains once it is `url`.

    Parameters
    ----------
    root
        The book's folder.
    url
        ``https://github.com/owner/name``, or "" for no address. None: the one in `_config.yml`.
    branch
        The branch whose notebooks Colab opens. None: the one in `_config.yml`.

    Raises
    ------
    ValueError
        If `url` is no such address, or if a file has no place for it.
    """
    settings = read(root / "_config.yml")
    url, branch = (
        one(re.compile(rf'^  {key}: "?([^"\s]*)', flags=re.M), settings, "_config.yml")[1] if value is None else value
        for key, value in (("url", url), ("branch", branch))
    )
    if url and not ADDRESS.fullmatch(url):
        raise ValueError(
            f"The address is https://github.com/owner/name, without .git and without a slash; got {url!r}."
        )
    if not re.fullmatch(r"[\w.-]+", branch):
        raise ValueError(f"The branch is a name of letters, digits, dots and hyphens; got {branch!r}.")
    chapters = find(root)
    texts = {path: replace(SET_UP, rf'"REPOSITORY = \"{url}\"\n"', read(path), path.name) for path in chapters}
    opened = f"{COLAB}/github/{url.removeprefix('https://github.com/')}/blob/{branch}"
    links = {number(path): f"{opened}/{path.relative_to(root).as_posix()}" for path in chapters}
    return texts | {
        root / "_config.yml": config(settings, url, branch),
        root / "README.md": readme(read(root / "README.md"), url, links),
        root / "CITATION.cff": citation(read(root / "CITATION.cff"), url),
        root / "pyproject.toml": pyproject(read(root / "pyproject.toml"), url),
    }


def config(text: str, url: str, branch: str) -> str:
    """Write the address and the branch, and show the site's buttons where there is an address."""
    shown = "true" if url else "false"
    for key, value in {
        "url": f'"{url}"',
        "branch": branch,
        "colab_url": f'"{COLAB}"' if url else '""',
        "use_repository_button": shown,
        "use_issues_button": shown,
    }.items():
        text = replace(re.compile(rf"(?<=^  {key}: )\S+", flags=re.M), value, text, "_config.yml")
    return text


def readme(text: str, url: str, links: dict[str, str]) -> str:
    """Say how to open the chapters in Colab: by their links, or by hand where there is no address."""
    if url:
        badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({next(iter(links.values()), url)})"
        chapters = ", ".join(f"[{name}]({link})" for name, link in links.items())
        line = f"{badge} Chapter {chapters}; the first cell installs `course_lib`"
    else:
        line = (
            "upload the notebook and put a cell with `%env COURSE_LIB_SOURCE=git+https://…`, this repository's "
            "address, before the first; that one installs `course_lib`"
        )
    line = f"- **In Colab:** {line} and changes no package that is present."
    return replace(re.compile(r"^- \*\*In Colab:\*\* .*$", flags=re.M), line, text, "README.md")


def citation(text: str, url: str) -> str:
    """Name the repository in the citation file."""
    line = f'repository-code: "{url}"\n' if url else ""
    text = re.sub(r"^repository-code: .*\n", "", text, flags=re.M)
    return replace(re.compile(r"^(?=version: )", flags=re.M), line, text, "CITATION.cff")


def pyproject(text: str, url: str) -> str:
    """Name the repository in the library's metadata."""
    table = f'[project.urls]\nRepository = "{url}"\n\n' if url else ""
    text = re.sub(r'^\[project\.urls\]\nRepository = ".*"\n\n', "", text, flags=re.M)
    return replace(re.compile(r"^(?=\[tool\.setuptools\]$)", flags=re.M), table, text, "pyproject.toml")


def number(path: Path) -> str:
    """Return a chapter's number as its file name has it: "1" of 01_autoencoder.ipynb; else the name."""
    found = re.match(r"0*(\d+b?)_", path.name)
    return found[1] if found else path.stem


def read(path: Path) -> str:
    """Return a file's text with its line ends as they are."""
    return path.read_bytes().decode("utf-8")


def one(pattern: re.Pattern, text: str, name: str) -> re.Match:
    """Return the one match of a pattern in a file's text."""
    found = list(pattern.finditer(text))
    if len(found) != 1:
        raise ValueError(f"{name}: expected one place for the address, {pattern.pattern!r}; found {len(found)}.")
    return found[0]


def replace(pattern: re.Pattern, new: str, text: str, name: str) -> str:
    """Put `new`, as it stands, in the place of the one match of a pattern in a file's text."""
    found = one(pattern, text, name)
    return text[: found.start()] + new + text[found.end() :]


if __name__ == "__main__":
    sys.exit(main())
