"""The forge's files are valid, name actions by their commits, and give no job more rights than it uses."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema.validators import validator_for

from sockudo_queue import __version__
from tests.deploy import sources

FORGE: Final = sources.ROOT / ".github"
WORKFLOWS: Final = sorted((FORGE / "workflows").glob("*.yml"))
SCHEMAS: Final = {
    **dict.fromkeys(WORKFLOWS, "github-workflows"),
    FORGE / "dependabot.yml": "dependabot",
    FORGE / "ISSUE_TEMPLATE" / "config.yml": "github-issue-config",
    FORGE / "ISSUE_TEMPLATE" / "bug.yml": "github-issue-forms",
    FORGE / "ISSUE_TEMPLATE" / "feature.yml": "github-issue-forms",
}
PINNED: Final = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
PROJECT: Final = tomllib.loads((sources.ROOT / "pyproject.toml").read_text())
ADDRESS: Final = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]


def faults(document: Any, name: str) -> list[str]:
    schema = sources.schema("check_jsonschema", f"check_jsonschema/builtin_schemas/vendor/{name}.json")
    return [f"{error.json_path}: {error.message}" for error in validator_for(schema)(schema).iter_errors(document)]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_forge_file_is_valid(path: Path) -> None:
    document = sources.read(path)
    if "on" not in document and True in document:
        document["on"] = document.pop(True)  # YAML 1.1 reads the word as a boolean
    assert faults(document, SCHEMAS[path]) == []
    assert faults({**document, "job": {}}, SCHEMAS[path]) != []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    own = [line for line in used if line.startswith("uses: ./.github/workflows/")]
    assert [line for line in used if not PINNED.fullmatch(line)] == own


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_only_reads_unless_a_job_says_more(path: Path) -> None:
    workflow = sources.read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        checkouts = [step for step in job.get("steps", ()) if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        assert "uses" in job or job["timeout-minutes"] <= 90


def test_every_supported_python_is_tested() -> None:
    classified = {
        each.rpartition(" ")[2] for each in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", each)
    }
    matrix = sources.read(FORGE / "workflows" / "checks.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert set(matrix["python"]) == classified


def test_the_address_of_the_repository_is_written_once() -> None:
    """Its owner replaces a placeholder, and finds no second one."""
    tracked = subprocess.run(["git", "ls-files"], cwd=sources.ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("this is no clone")
    files = [sources.ROOT / name for name in tracked.stdout.splitlines()]
    texts = {path: path.read_text(errors="replace") for path in files if path.is_file()}
    assert [path.name for path, text in texts.items() if ADDRESS in text] == ["pyproject.toml"]


def test_a_release_needs_one_version_everywhere_and_no_placeholder() -> None:
    done = script("release-check", "9.9.9", "https://example.com/other")
    assert done.returncode == 1
    named = [line.partition(":")[0] for line in done.stderr.splitlines()]
    chart = "deploy/helm/sockudo-queue/Chart.yaml"
    assert named == ["pyproject.toml", "sockudo_queue/__init__.py", chart, chart, "CHANGELOG.md"]
    ours = script("release-check", __version__, ADDRESS).stderr.splitlines()
    assert [line.partition(":")[0] for line in ours] in ([], ["CHANGELOG.md"])  # before its release it has no date


def test_sbom_must_list_every_package(tmp_path: Path) -> None:
    lock = (sources.ROOT / "requirements" / "image.txt").read_text()
    packages = [
        {"name": name.replace("-", "_"), "versionInfo": version}
        for name, version in re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    ]
    path = tmp_path / "sbom.json"
    path.write_text(json.dumps({"packages": packages}))
    assert script("sbom", path).returncode == 0
    path.write_text(json.dumps({"packages": [each for each in packages if each["name"] != "redis"]}))
    done = script("sbom", path)
    assert done.returncode == 1
    assert re.fullmatch(r"the SBOM lacks redis==\S+\n", done.stderr)


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sources.ROOT / "scripts" / name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
