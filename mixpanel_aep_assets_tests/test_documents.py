"""What the documents promise: citations and links lead somewhere, and every setting is listed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixpanel_aep_assets.connection import PRIVACY_VARIABLES, SECRET_VARIABLES, VARIABLES

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
CODE = [
    path
    for folder in ("mixpanel_aep_assets", "mixpanel_aep_assets_tests", "bench")
    for path in (ROOT / folder).rglob("*.py")
]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

CITATION = re.compile(r"\b((?:mixpanel|platform|xdm|data-prep|peers|dagster)\.md)#([a-z0-9-]+)")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
ELSEWHERE = re.compile(r"\b(?:mixpanel-api|aep-api|dagster-style)\.md\b|\bsections? \d+(?:\.\d+)?\b")
"""Citations of documents that a reader of the repository does not have."""


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get, by the rule of GitHub and of MkDocs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def citations() -> Iterator[tuple[Path, str, str]]:
    for path in CODE:
        if path != Path(__file__):
            yield from ((path, page, anchor) for page, anchor in CITATION.findall(path.read_text()))


def test_each_citation_of_the_reference_names_a_page_and_a_heading() -> None:
    known = {page.name: anchors(page) for page in REFERENCE.glob("*.md")}
    wrong = [f"{path.name}: {page}#{anchor}" for path, page, anchor in citations() if anchor not in known.get(page, ())]
    assert wrong == []


def test_the_code_cites_the_reference_throughout() -> None:
    assert sum(1 for _ in citations()) > 100


def test_no_code_cites_a_document_that_is_not_in_the_repository() -> None:
    found = {str(path): ELSEWHERE.findall(path.read_text()) for path in CODE if path != Path(__file__)}
    assert {name: cited for name, cited in found.items() if cited} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("variable", sorted({**VARIABLES, **PRIVACY_VARIABLES, **SECRET_VARIABLES}.values()))
def test_the_readme_lists_every_variable(variable: str) -> None:
    readme = (ROOT / "README.md").read_text()
    short = "…_" + variable.rsplit("_", 1)[1]
    assert f"`{variable}`" in readme or f"`{short}`" in readme
