"""What the documents show is there, and the picture of the architecture is what the code gives."""

import re
import subprocess

from documents.markdown import DOCUMENTS
from draw_architecture import PICTURE, draw, package_arrows, ranks, without_detours
from source_tree import ROOT


def test_the_picture_of_the_architecture_is_what_the_code_gives():
    assert PICTURE.read_text("utf-8") == draw(), "the imports changed: run make docs"


def test_arrows_that_follow_from_two_others_are_left_out():
    arrows = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert without_detours(arrows) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert ranks(arrows) == {"a": 2, "b": 1, "c": 0, "d": 0}


def test_every_package_stands_on_the_engine_and_the_engine_on_none():
    arrows = package_arrows()
    assert arrows.pop("lipstream") == set()
    assert all("lipstream" in others for others in arrows.values())


def test_every_decision_is_listed():
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\S+\.md)\)", (folder / "README.md").read_text("utf-8")))
    assert listed == {path.name for path in folder.glob("*.md")} - {"README.md"}


def test_make_lists_every_target_that_the_documents_name():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for path in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)`", path.read_text("utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (path.name, target)


def test_the_script_for_a_bare_machine_is_valid_shell():
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
