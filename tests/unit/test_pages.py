"""Links, named tests and commands of the pages exist."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue import cli
from tests.deploy import sources
from tests.helpers import settings

DOCS: Final = sources.ROOT / "docs"
PAGES: Final = (*sorted(DOCS.rglob("*.md")), *sorted(sources.ROOT.glob("*.md")))
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
THREAT_HEAD: Final = "| threat | protection | test |"
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    headings = [line.lstrip("#").strip() for line in page.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(sources.ROOT)))
def test_links_have_existing_targets(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(sources.ROOT)))
def test_tests_named_by_docs_exist(page: Path) -> None:
    for file, name in TEST.findall(page.read_text()):
        text = (sources.ROOT / file).read_text()
        assert not name or f"def {name}(" in text or f"class {name}(" in text, (file, name)


def test_each_threat_names_a_test() -> None:
    section = (sources.ROOT / "docs" / "security.md").read_text().partition("## Threat by threat")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [line for line in lines if line not in {THREAT_HEAD, "|---|---|---|"}]
    assert len(rows) >= 15
    assert [row for row in rows if not TEST.search(row)] == []


def test_index_lists_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())}
    pages = {page for page in PAGES if page.is_relative_to(DOCS) and page.parent not in linked}
    assert pages - linked == {index}


def test_readme_is_short_and_links_the_index() -> None:
    readme = (sources.ROOT / "README.md").read_text()
    assert "docs/README.md" in readme
    assert len(readme.splitlines()) <= 120


def test_configuration_of_the_quick_start_is_valid(tmp_path: Path) -> None:
    page = (DOCS / "quickstart.md").read_text()
    configuration = page.partition("```json\n")[2].partition("```")[0]
    outcome = settings.read(tmp_path, configuration.encode(), strict=True)
    assert outcome.warnings == ()
    [app] = outcome.apps
    assert [webhook.name for webhook in app.webhooks] == ["receiver"]
    [served] = json.loads(configuration)["app_manager"]["array"]["apps"]
    assert f"APP_SECRET={served['secret']} " in page
    assert f"/app/{served['key']}?" in page


def test_each_command_has_a_heading_on_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    commands = set(re.findall(r"^ {4}([a-z-]+)(?= |$)", capsys.readouterr().out, re.MULTILINE))
    assert {"run", "dead-letters", "version"} <= commands
    headings = re.findall(r"^## (.*)$", (sources.ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert set(", ".join(headings).split(", ")) == commands


def test_quick_start_of_the_readme_distinguishes_versions_of_sockudo_before_any_command() -> None:
    """A concurrency of 0 is right up to 4.7, and switches all webhooks of a newer server off."""
    block = (sources.ROOT / "README.md").read_text().partition("## Quick start")[2].partition("```sh\n")[2]
    lines = block.partition("```")[0].splitlines()
    comments = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    [up_to] = [line for line in comments if "UP TO 4.7" in line]
    [later] = [line for line in comments if "FROM 5.0 ON" in line]
    assert "QUEUE_REDIS_CONCURRENCY=0" in up_to
    assert "NEVER" in later
    assert "check --acl" in block
    assert not [line for line in lines[len(comments) :] if "CONCURRENCY" in line]
