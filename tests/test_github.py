"""What GitHub reads: workflows, issue forms, Dependabot. GitHub tells of a mistake there only late.

A key that is spelled wrongly is ignored, a form with an error is not offered, and a release is
tried once. An unpacked sdist has no `.github`: there these tests are skipped.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ON = True  # YAML 1.1 reads the key `on` as a truth value
PINNED = re.compile(r"[\w-]+/[\w./-]+@(v\d+(\.\d+)*|release/v\d+|[0-9a-f]{40})")


@pytest.fixture(scope="module")
def github(root: Path) -> Path:
    folder = root / ".github"
    if not folder.is_dir():
        pytest.skip("no .github here: this is an unpacked sdist, not a checkout")
    return folder


@pytest.fixture(scope="module")
def workflows(github: Path) -> dict[str, dict]:
    """Each workflow by its file's name, without the suffix."""
    return {path.stem: load(path) for path in (github / "workflows").glob("*.yml")}


@pytest.fixture(scope="module")
def forms(github: Path) -> dict[str, dict]:
    paths = (github / "ISSUE_TEMPLATE").glob("*.yml")
    return {path.stem: load(path) for path in paths if path.stem != "config"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(workflows: dict[str, dict]) -> Iterator[tuple[str, dict]]:
    for name, workflow in workflows.items():
        for job, content in workflow["jobs"].items():
            yield f"{name}.{job}", content


def calls(job: dict) -> list[str]:
    """Every line that the steps of a job run."""
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


def actions(job: dict) -> list[str]:
    return [step["uses"] for step in job["steps"] if "uses" in step]


def test_every_yaml_file_can_be_read(github: Path) -> None:
    paths = [*github.rglob("*.yml"), *github.rglob("*.yaml")]
    assert len(paths) >= 8
    assert [path.name for path in paths if not isinstance(load(path), dict)] == []


def test_the_workflows_are_these(workflows) -> None:
    assert set(workflows) == {"ci", "weekly", "release"}
    assert {name: workflow["name"] for name, workflow in workflows.items()} == {
        name: name for name in workflows
    }


def test_every_job_ends_after_some_minutes(workflows) -> None:
    limits = {name: job.get("timeout-minutes", 0) for name, job in jobs(workflows)}
    assert {name: limit for name, limit in limits.items() if not 0 < limit <= 120} == {}


def test_every_action_is_pinned(workflows) -> None:
    used = {(name, action) for name, job in jobs(workflows) for action in actions(job)}
    assert used
    assert {(name, action) for name, action in used if not PINNED.fullmatch(action)} == set()


@pytest.mark.parametrize(
    ("action", "pinned"),
    [
        ("actions/checkout@v4", True),
        ("pypa/gh-action-pypi-publish@release/v1", True),
        ("a/b/c@0123456789abcdef0123456789abcdef01234567", True),
        ("actions/checkout", False),
        ("actions/checkout@main", False),
        ("actions/checkout@v4-beta", False),
    ],
)
def test_what_counts_as_pinned(action: str, pinned: bool) -> None:
    assert bool(PINNED.fullmatch(action)) == pinned


def test_workflows_may_only_read_unless_a_job_of_the_release_must_write(workflows) -> None:
    tops = {name: workflow.get("permissions") for name, workflow in workflows.items()}
    assert tops == {name: {"contents": "read"} for name in workflows}
    more = {name: job["permissions"] for name, job in jobs(workflows) if "permissions" in job}
    assert more == {
        "release.publish": {"id-token": "write"},
        "release.site": {"pages": "write", "id-token": "write"},
    }


def test_every_action_is_pinned_to_a_commit(github: Path) -> None:
    """A tag can be moved to other code; the version stands beside the commit for people."""
    for path in (github / "workflows").iterdir():
        for line in path.read_text("utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_no_workflow_reads_a_stored_secret(github: Path) -> None:
    texts = {path.name: path.read_text("utf-8") for path in (github / "workflows").iterdir()}
    assert [name for name, text in texts.items() if re.search(r"\bsecrets\b", text)] == []


def test_jobs_wait_for_jobs_that_exist(workflows) -> None:
    for workflow in workflows.values():
        for job in workflow["jobs"].values():
            needs = job.get("needs", [])
            assert set([needs] if isinstance(needs, str) else needs) <= set(workflow["jobs"])


def test_a_new_push_ends_the_run_of_the_older_one(workflows) -> None:
    limit = workflows["ci"]["concurrency"]
    assert "github.ref" in limit["group"] and limit["cancel-in-progress"] is True
    assert workflows["release"]["concurrency"]["cancel-in-progress"] is False


def test_ci_tries_every_system_and_every_python(workflows, root: Path) -> None:
    tests = workflows["ci"]["jobs"]
    assert tests["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert '">=3.11,<3.14"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    assert tests["without-make"]["strategy"]["matrix"]["os"] == ["windows-latest", "macos-latest"]


def test_ci_runs_what_the_readme_says_without_make(workflows, root: Path) -> None:
    section = (root / "README.md").read_text(encoding="utf-8").split("\n## Without make")[1]
    _, block, after = section.partition("\n## ")[0].split("```")
    elsewhere = re.search(r"^On Linux and macOS .*$", after, re.MULTILINE)[0]
    commands = [*block.strip().splitlines(), *re.findall(r"`([^`]+)`", elsewhere)]
    assert len(commands) == 10
    run = [line.strip() for line in calls(workflows["ci"]["jobs"]["without-make"])]
    assert [command for command in commands if command not in run] == []
    common = [line for line in run if line in commands[2:6]]
    assert common == commands[2:6]  # in this order


def test_weekly_tries_the_newest_and_the_lowest_versions(workflows) -> None:
    weekly = workflows["weekly"]
    assert {"schedule", "workflow_dispatch"} == set(weekly[ON])
    lines = {name: calls(job) for name, job in weekly["jobs"].items()}
    assert set(lines) == {"newest", "lowest"}
    assert not any("requirements.lock" in line for run in lines.values() for line in run)
    assert any("--resolution lowest-direct" in line for line in lines["lowest"])
    assert all(any(line.startswith("pytest") for line in run) for run in lines.values())


def test_a_release_is_made_by_a_tag_alone(workflows) -> None:
    assert workflows["release"][ON] == {"push": {"tags": ["v*"]}}
    publish = {"deploy-pages", "upload-pages-artifact", "gh-action-pypi-publish"}
    publishing = {
        name
        for name, job in jobs(workflows)
        for action in actions(job)
        if action.partition("@")[0].rpartition("/")[2] in publish
    }
    assert publishing == {"release.test", "release.publish", "release.site"}


def test_nothing_is_published_before_everything_was_checked(workflows) -> None:
    release = workflows["release"]["jobs"]
    assert release["test"]["needs"] == release["build"]["needs"] == "check"
    assert release["publish"]["needs"] == release["site"]["needs"] == ["test", "build"]
    assert release["publish"]["environment"] == "release"


@pytest.mark.skipif(sys.platform == "win32", reason="the release runs in bash on Linux")
@pytest.mark.parametrize(
    ("tag", "heading", "message"),
    [
        ("v1.2.0", "## 1.2.0 (2026-12-01)", None),
        ("v1.2.1", "## 1.2.0 (2026-12-01)", "the tag is v1.2.1, but pyproject.toml says 1.2.0"),
        ("1.2.0", "## 1.2.0 (2026-12-01)", "the tag is 1.2.0"),
        ("v1.2.0", "## 1.2.0 (unreleased)", "CHANGELOG.md calls a version unreleased"),
    ],
)
def test_a_release_is_refused(workflows, tmp_path: Path, tag, heading, message) -> None:
    """The check of release.yml itself, in a folder that holds only what it reads."""
    bash = shutil.which("bash") or pytest.skip("no bash")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n", encoding="utf-8")
    [script] = [step["run"] for step in workflows["release"]["jobs"]["check"]["steps"][2:]]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": programs, "GITHUB_REF_NAME": tag}
    command = [bash, "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode == 0) == (message is None), done.stdout + done.stderr
    assert message is None or f"::error::{message}" in done.stdout


def test_issue_forms_have_the_keys_that_github_demands(forms) -> None:
    assert set(forms) == {"bug", "page", "idea"}
    for form in forms.values():
        assert set(form) <= {"name", "description", "labels", "body"}
        assert all(isinstance(form[key], str) and form[key] for key in ("name", "description"))
        assert isinstance(form["body"], list)
        assert any(element["type"] != "markdown" for element in form["body"])
    assert len({form["name"] for form in forms.values()}) == len(forms)


def test_elements_of_the_issue_forms_are_what_github_knows(forms) -> None:
    for form in forms.values():
        for element in form["body"]:
            assert set(element) <= {"type", "id", "attributes", "validations"}
            kind, attributes = element["type"], element["attributes"]
            assert kind in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
            assert attributes["value" if kind == "markdown" else "label"]
            if kind == "checkboxes":
                assert all(option["label"] for option in attributes["options"])
        named = [element for element in form["body"] if element["type"] != "markdown"]
        for key in ([e["id"] for e in named], [e["attributes"]["label"] for e in named]):
            assert len(set(key)) == len(key)


def test_every_form_says_that_no_scan_may_be_attached(forms) -> None:
    for form in forms.values():
        words = " ".join(
            element["attributes"]["value"]
            for element in form["body"]
            if element["type"] == "markdown"
        )
        assert re.search(r"attach (the|no) scan of a person", words)


def test_the_chooser_of_issues_leads_somewhere(github: Path) -> None:
    config = load(github / "ISSUE_TEMPLATE" / "config.yml")
    assert set(config) == {"blank_issues_enabled", "contact_links"}
    for link in config["contact_links"]:
        assert set(link) == {"name", "url", "about"}
        assert link["url"].startswith("https://")


def test_dependabot_looks_after_packages_and_actions(github: Path) -> None:
    config = load(github / "dependabot.yml")
    assert config["version"] == 2
    assert {update["package-ecosystem"] for update in config["updates"]} == {
        "pip",
        "github-actions",
    }
    for update in config["updates"]:
        assert update["directory"] == "/"
        assert update["schedule"] == {"interval": "weekly"}
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def test_people_find_out_how_to_report_in_private(github: Path) -> None:
    conduct = (github / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8")
    assert "*Report a vulnerability*" in conduct
    assert not re.search(r"\S@\S", conduct)  # no address is invented
