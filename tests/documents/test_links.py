"""Every link within the repository leads somewhere, to the heading that it names."""

import importlib
import re
import subprocess
from functools import reduce

import pytest

from documents.markdown import CURRENT, DOCUMENTS, ROOT, anchors, prose
from source_tree import MODULES

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_pictures_and_headings_exist(path):
    for link, anchor in LINK.findall(prose(path)):
        target = path.parent / link if link else path
        assert target.exists(), link
        if anchor:
            assert target.suffix == ".md", link
            assert anchor in anchors(target), f"{link}#{anchor}"


def test_anchors_are_made_as_the_forge_makes_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A, b & `c d`\n## [x](y) z\n## x z\n```sh\n# no heading\n```\n", "utf-8")
    assert anchors(page) == {"a-b--c-d", "x-z", "x-z-1"}


def test_source_files_that_are_named_are_there():
    names = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(names, cwd=ROOT, capture_output=True, text=True, check=True)
    files = {f"/{name}" for name in listed.stdout.splitlines()}
    for path in CURRENT:
        for name in re.findall(r"`([\w-]+/[\w/-]+\.(?:py|c|h|js|toml))`", path.read_text("utf-8")):
            assert any(file.endswith(f"/{name}") for file in files), (path.name, name)


def test_python_names_that_are_named_are_there():
    groups = {"lipstream.backends", "lipstream.voices", "lipstream.sinks"}  # of entry points
    for path in CURRENT:
        for name in re.findall(r"`(lipstream(?:_\w+)?(?:\.\w+)+)", path.read_text("utf-8")):
            assert name in groups or is_there(name), (path.name, name)


def is_there(name):
    """Whether a module is there and has the name; those that need torch are not imported."""
    module, parts = name, list[str]()
    while module not in MODULES:
        module, _, last = module.rpartition(".")
        parts.insert(0, last)
    if module.startswith(("lipstream_models", "lipstream_export")):
        source = MODULES[module].read_text("utf-8")
        return all(re.search(rf"(class|def) {part}\b|^{part}\b", source, re.M) for part in parts)
    try:
        reduce(getattr, parts, importlib.import_module(module))
    except AttributeError:
        return False
    return True
