"""GitHub's workflows: they ask for little, type what a person would type, and their longer steps do what they say."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = {
    path.stem: yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # "on" stays a word
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
JOBS = {(name, job): body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()}
STEPS = [(name, job, step) for (name, job), body in JOBS.items() for step in body["steps"]]
RUNS = [(name, job, step["run"]) for name, job, step in STEPS if "run" in step]
WRITES = {
    ("book", "build"): {"contents": "write"},
    ("book", "publish"): {"pages": "write", "id-token": "write"},
    ("weekly", "report"): {"issues": "write"},
}


def script(workflow: str, job: str, name: str) -> str:
    """Return the script of a step as a shell gets it."""
    [step] = [step for step in JOBS[workflow, job]["steps"] if step.get("name", "").startswith(name)]
    return step["run"].replace("${{ github.sha }}", "abc")


def bash(text: str, folder: Path, **variables) -> subprocess.CompletedProcess:
    """Run a script as GitHub runs it."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)} | variables
    options = ["--noprofile", "--norc", "-eo", "pipefail", "-c"]
    return subprocess.run(["bash", *options, text], cwd=folder, env=environment, capture_output=True, text=True)


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=nobody", "-c", "user.email=", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    return subprocess.run(
        ["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path) -> Path:
    """A clone, with a branch main, of a repository that has a chapter, a library and this book's pyproject.toml."""
    git(tmp_path, "init", "--bare", "--initial-branch", "main", "origin")
    git(tmp_path, "clone", "origin", "clone")
    folder = tmp_path / "clone"
    for name in ("chapters/01_one.ipynb", "chapters/projects/guide.ipynb", "course_lib/one.py", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one\n")
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"))
    git(folder, "switch", "--create", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--message", "One")
    git(folder, "push", "origin", "main")
    return folder


def test_there_are_two():
    assert set(WORKFLOWS) == {"book", "weekly"}
    assert set(WORKFLOWS["book"]["on"]) == {"push", "pull_request", "workflow_dispatch"}
    assert set(WORKFLOWS["weekly"]["on"]) == {"schedule", "workflow_dispatch"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_read_and_runs_once_at_a_time(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert WORKFLOWS[name]["concurrency"]["group"].startswith(name)


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_may_write_what_it_must_and_ends_in_time(name, job):
    assert JOBS[name, job].get("permissions", {}) == WRITES.get((name, job), {})
    assert 0 < int(JOBS[name, job]["timeout-minutes"]) <= 180


def test_nothing_is_written_for_a_pull_request():
    assert "'refs/heads/main'" in JOBS["book", "build"]["if"] and "!= 'pull_request'" in JOBS["book", "build"]["if"]
    assert JOBS["book", "publish"]["needs"] == "build" and JOBS["book", "build"]["needs"] == "test"


def test_actions_are_githubs_own_at_a_major_version():
    used = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert {action for action in used if not re.fullmatch(r"actions/[a-z-]+@v\d+", action)} == set()
    assert len({action.partition("@")[0] for action in used}) == len(used)


@pytest.mark.parametrize(("name", "job", "run"), RUNS)
def test_no_script_holds_text_that_a_stranger_chose(name, job, run):
    """Titles and names of branches stay out of scripts, where they would be run."""
    allowed = {"github.server_url", "github.repository", "github.sha", "github.run_id"}
    assert set(re.findall(r"\$\{\{ *(.*?) *\}\}", run)) <= allowed


@pytest.mark.parametrize(("name", "job", "run"), [run for run in RUNS if "make " in run[2]])
def test_every_target_exists(name, job, run):
    for target in re.findall(r"\bmake ([a-z-]+)", run):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for module in re.findall(r"-m (tools\.\w+)", done.stdout):
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


def test_the_targets_are_those_that_a_person_types():
    typed = {(name, job): [] for name, job, _ in RUNS}
    for name, job, run in RUNS:
        typed[name, job] += re.findall(r"^make ([a-z-]+)", run)
    assert typed["book", "test"] == ["test"]
    assert typed["book", "build"] == ["stamp", "book"], "the address comes before the site"
    assert typed["weekly", "image"] == ["colab-image"] and typed["weekly", "versions"] == ["colab", "bench"]


def test_what_is_cached_exists_and_what_is_published_is_what_make_book_builds():
    settings = [step["with"] for _, _, step in STEPS if "with" in step]
    for path in {path for given in settings for path in given.get("cache-dependency-path", "").split()}:
        assert (ROOT / path).exists(), path
    [folder] = [given["path"] for given in settings if "path" in given]
    assert folder in (ROOT / "Makefile").read_text("utf-8")


class TestTag:
    NAME = "The tag"

    def test_a_missing_one_stops_the_publication_and_says_what_to_do(self, clone):
        done = bash(script("book", "build", self.NAME), clone)
        assert done.returncode == 1 and done.stdout.startswith("::error::")
        assert "git tag v0.1.0 && git push origin v0.1.0" in done.stdout

    def test_one_with_this_library_is_fine(self, clone):
        git(clone, "tag", "v0.1.0")
        (clone / "README.md").write_text("two\n")
        done = bash(script("book", "build", self.NAME), clone)
        assert (done.returncode, done.stdout) == (0, "")

    def test_one_with_another_library_is_told(self, clone):
        git(clone, "tag", "v0.1.0")
        (clone / "course_lib" / "one.py").write_text("two\n")
        git(clone, "commit", "--all", "--message", "Two")
        done = bash(script("book", "build", self.NAME), clone)
        assert done.returncode == 0 and done.stdout.startswith("::warning::course_lib has changed since v0.1.0")


def test_links_of_those_notebooks_lead_to_the_address_of_the_website(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    given = {"GITHUB_REPOSITORY_OWNER": "Some-One", "GITHUB_REPOSITORY": "Some-One/the.Book"}
    done = bash(script("book", "build", "Links between pages"), tmp_path, **given)
    assert (done.returncode, done.stdout) == (0, "-m tools.links https://some-one.github.io/the.Book\n")


def test_the_branch_that_colab_opens_holds_the_stamped_notebooks_alone(clone):
    """Twice, as at two pushes; main stays as it was."""
    before = git(clone, "rev-parse", "origin/main")
    for text in ("stamped\n", "stamped again\n"):
        (clone / "chapters" / "01_one.ipynb").write_text(text)
        done = bash(script("book", "build", "The stamped notebooks"), clone)
        assert done.returncode == 0, done.stderr
        git(clone, "fetch")
        files = git(clone, "ls-tree", "-r", "--name-only", "origin/colab").split()
        assert files == ["chapters/01_one.ipynb", "chapters/projects/guide.ipynb"]
        assert git(clone, "show", "origin/colab:chapters/01_one.ipynb") == text.strip()
        assert git(clone, "rev-list", "--count", "origin/colab") == "1"
        assert git(clone, "rev-parse", "origin/main") == before
        git(clone, "switch", "--force", "main")
        git(clone, "branch", "--delete", "--force", "colab")


class TestReport:
    @pytest.fixture
    def calls(self, tmp_path):
        """Run the step beside a `gh` that notes how it is called and prints the number of the open issue."""

        def run(number: str) -> list[str]:
            (tmp_path / "gh").write_text(f'#!/bin/sh\necho "$@" >> calls\n[ "$2" = list ] && echo {number} || true\n')
            (tmp_path / "gh").chmod(0o755)
            [step] = JOBS["weekly", "report"]["steps"]
            given = {"TITLE": step["env"]["TITLE"], "BODY": "the run", "PATH": f"{tmp_path}:/usr/bin:/bin"}
            done = bash(step["run"], tmp_path, **given)
            assert done.returncode == 0, done.stderr
            return (tmp_path / "calls").read_text().splitlines()[1:]

        return run

    def test_a_first_failure_opens_an_issue(self, calls):
        title = JOBS["weekly", "report"]["steps"][0]["env"]["TITLE"]
        assert calls("") == [f"issue create --title {title} --body the run"]

    def test_the_next_one_is_added_to_it(self, calls):
        assert calls("7") == ["issue comment 7 --body the run"]

    def test_it_runs_only_where_a_job_failed(self):
        report = JOBS["weekly", "report"]
        assert report["if"] == "failure()" and set(report["needs"]) == WORKFLOWS["weekly"]["jobs"].keys() - {"report"}
