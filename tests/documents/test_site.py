"""The site: it builds without a warning, and what the pages name is on it."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import lipstream
from documents.markdown import ROOT


class Addresses(HTMLParser):
    """The addresses that a page leads to, the names in it, and what a browser fetches for it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.names |= {told[key] for key in ("id", "name") if told.get(key)}
        address = told.get("href") or told.get("src")
        if address:
            self.links.add(address)
            if tag in ("img", "script", "iframe") or (
                tag == "link" and told.get("rel") in ("stylesheet", "icon", "preload")
            ):
                self.fetched.add(address)


def test_every_page_of_the_documents_is_named_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {str(one.relative_to(ROOT / "docs")) for one in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 30
    assert sorted(page for page in pages if not re.search(rf"\b{re.escape(page)}\s", text)) == []


def build(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {page: Addresses(page) for page in site.rglob("*.html") if page.name != "404.html"}


@pytest.mark.slow
def test_every_link_of_the_site_leads_to_a_page_and_a_place_on_it(site, pages):
    dead = []
    for page, addresses in pages.items():
        for link in addresses.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                parts.fragment and target in pages and parts.fragment not in pages[target].names
            ):
                dead.append((str(page.relative_to(site)), link))
    assert dead == []


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(pages):
    fetched = set().union(*(addresses.fetched for addresses in pages.values()))
    assert {address for address in fetched if urlsplit(address).netloc} == set()
    assert not any('data-md-component="source"' in page.read_text("utf-8") for page in pages), (
        "the theme asks the repository's host for stars"
    )


@pytest.mark.slow
def test_the_reference_describes_every_public_name(pages, site):
    names = pages[site / "reference" / "engine" / "index.html"].names
    assert {f"lipstream.{name}" for name in lipstream.__all__} <= names


@pytest.mark.slow
def test_pages_from_elsewhere_in_the_repository_are_there(site):
    for page in ("index.html", "contributing/index.html", "security/index.html"):
        assert (site / page).stat().st_size > 5000
    start = (site / "index.html").read_text("utf-8")
    assert re.search(r'href="(\./)?text/"', start)
    assert 'href="https://github.com/lipstream/lipstream/blob/main/LICENSE' not in start


@pytest.mark.slow
def test_a_dead_link_and_a_page_that_is_not_listed_fail_the_build(tmp_path):
    """With the same settings, over other pages."""
    pages = tmp_path / "docs"
    pages.mkdir()
    (pages / "page.md").write_text("# Page\n[gone](gone.md)\n", "utf-8")
    (pages / "unlisted.md").write_text("# Unlisted\n", "utf-8")
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    hooks = ROOT / "docs" / "mkdocs_hooks.py"
    settings = settings[: settings.index("nav:\n")].replace("docs/mkdocs_hooks.py", str(hooks))
    (tmp_path / "mkdocs.yml").write_text(f"{settings}docs_dir: {pages}\nnav: [page.md]\n", "utf-8")
    done = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert done.returncode == 1
    assert "docs/gone.md, which is not there" in done.stderr
    assert "unlisted.md" in done.stderr
