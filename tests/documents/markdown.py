"""The documents of the repository: their blocks, links and anchors, and the commands in them."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "tests/**/*.md", "models/**/*.md")
    for path in ROOT.glob(pattern)
)
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
"""That one tells of what is gone, too."""
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_BETWEEN = {";", "&&", "||", "|", "&", "(", ")"}
_BEFORE = {"do", "then", "else", "sudo", "if", "while"}
_ENDS = {"for", "done", "fi"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    document: str
    """Path from the repository's root."""
    number: int
    """In its document, from 1."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}, block {self.number}"


def blocks(*languages: str, of: str | None = None) -> list[Block]:
    """Return the blocks of all documents or of one, in all languages or in some."""
    found = [
        Block(path.relative_to(ROOT).as_posix(), number, *match.groups())
        for path in (DOCUMENTS if of is None else [ROOT / of])
        for number, match in enumerate(_FENCE.finditer(path.read_text("utf-8")), 1)
    ]
    return [block for block in found if not languages or block.language in languages]


async def run_python(block: Block, given: dict[str, object]) -> dict[str, object]:
    """Run a block among names that are given; return all names there are after it."""
    code = compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ended = eval(code, given)
    if inspect.isawaitable(ended):
        await ended
    return given


def prose(path: Path) -> str:
    """Return a document without its blocks."""
    return _FENCE.sub("", path.read_text("utf-8"))


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of every simple command of a shell script; redirections are left out."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in _BETWEEN:
                while words and (words[0] in _BEFORE or re.match(r"\w+=", words[0])):
                    words.pop(0)
                if words and words[0] not in _ENDS:
                    yield words
                words = []
            else:
                words.append(word)


def without_redirections(words: list[str]) -> list[str]:
    """Return a command's words without ``> FILE``."""
    kept: list[str] = []
    for word in words:
        if set(word) <= set("<>"):
            return kept
        kept.append(word)
    return kept


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as the forge and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+?) *#*$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found
