"""What ``mkdocs build`` does beside: pages from elsewhere in the repository, links out of ``docs``.

Pages are written for who reads the repository: a link leads to a file beside them, wherever that
is. On the site a link to another page leads to that page, a picture is copied, and any other file
is shown where the source is.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.links")  # a warning here fails a strict build

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "models/README.md": "making-models.md",
}
"""File of the repository -> page of the site; every other page lies in ``docs``."""
_FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
_SOURCE = re.compile(r"(?<= src=\")(?!\w+:)([^\"]+)(?=\")")
"""Of an element of HTML, which is not looked at by Markdown."""
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the pictures that lie elsewhere."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    for path in ROOT.glob("bench/results/*.png"):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the page's links to where they are on the site."""
    sources = {name: source for source, name in PAGES.items()}
    name = page.file.src_uri
    source = sources.get(name, f"docs/{name}")

    def on_site(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        return f"{_address(path, name, config, files)}{link[2] or ''}"

    def in_html(address: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), address[1]))
        file = files.get_file_from_path(path)
        if file is None:
            log.warning("%s shows %s, which is not there", name, address[1])
        return address[1] if file is None else file.url_relative_to(page.file)

    parts = _FENCE.split(markdown)
    parts[::2] = [_SOURCE.sub(in_html, _LINK.sub(on_site, part)) for part in parts[::2]]
    return "".join(parts)


def _address(path: str, page: str, config: MkDocsConfig, files: Files) -> str:
    """Return where a file of the repository is, for a link on ``page``."""
    target = PAGES.get(path, path.removeprefix("docs/"))
    if files.get_file_from_path(target) is not None:
        return posixpath.relpath(target, posixpath.dirname(page) or ".")
    if not (ROOT / path).exists():
        log.warning("%s leads to %s, which is not there", page, path)
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{config.extra['source']}/{kind}/main/{path}"
