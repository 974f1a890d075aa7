"""Every command and snippet of the documents runs, or is read by what would run it."""

import argparse
import ast
import asyncio
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from contextlib import redirect_stderr
from importlib.resources import files
from io import StringIO
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
import yaml

from documents.markdown import (
    CURRENT,
    DOCUMENTS,
    ROOT,
    Block,
    blocks,
    commands,
    prose,
    run_python,
    without_redirections,
)
from lipstream import Avatar, MouthModel, Worker
from lipstream.cli import COMMANDS
from lipstream.completion_command import Words, command_words
from lipstream.film.job import read_segments
from lipstream_clients.stage_client import StageClient
from lipstream_server.studio.orders import OrderMessage
from media_files import tone, write_film, write_wav
from server.peers import running

LIPSTREAM = [sys.executable, "-m", "lipstream"]
LANGUAGES = {"sh", "python", "js", "json", "toml", "yaml", "nginx", "ini"}
OTHER_PROGRAMS = {
    "make": "its targets are looked for by tests/architecture/test_documents.py",
    "pip": "the extras that it names are looked for below",
    "/opt/lipstream/bin/pip": "the same",
    "python": "modules that it runs are looked for below",
    "python3": "makes a virtual environment",
    "cat": "joins files",
    "curl": "those of docs/live-api.md are run below",
    "npm": "needs an index",
    "tar": "unpacks what npm brought",
    "cp": "needs root",
    "install": "needs root",
    "systemctl": "needs root; the unit is read by tests/deploy",
    "serve": "Ray's own; tests/deploy/test_ray.py starts what it starts",
    "podman": "needs podman and an index; the file is read by tests/deploy",
}
"""Program -> why its commands are not run."""
NOT_RUN = {
    "README.md": "tests/test_readme.py runs all of it",
    "docs/upstream-faults.md": "fragments that need a library without its guards;"
    " tests/server/webrtc runs these attacks against the guards",
    "models/README.md": "hours of training on corpora that are downloaded;"
    " tests/models/training runs each step on a little",
    "models/lipstream_models/embedded/sync_scorer/CARD.md": "the same",
    "docs/describe.md": "needs Blender; tests/models/synthetic reads the words",
}
"""Document -> why its commands and snippets are read, but not run."""
SCHEMA = json.loads((files("lipstream_clients") / "web" / "live-api.json").read_text("utf-8"))


def name_of(block: Block) -> str:
    return str(block)


def lipstream_commands() -> list[tuple[str, list[str]]]:
    return [
        (block.document, without_redirections(words))
        for block in blocks("sh")
        for words in commands(block.text)
        if words[0] == "lipstream"
    ]


def run_commands() -> list[list[str]]:
    """Commands that are neither run elsewhere nor listed as not run."""
    return [words for document, words in lipstream_commands() if document not in NOT_RUN]


@pytest.mark.parametrize("block", blocks(), ids=name_of)
def test_every_block_names_a_language_that_is_tested(block):
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", blocks("sh"), ids=name_of)
def test_a_shell_block_is_valid_and_each_of_its_programs_is_known(block):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for words in commands(block.text):
        assert words[0] in {"lipstream", *OTHER_PROGRAMS}, words


@pytest.mark.parametrize("words", [w for _, w in lipstream_commands()], ids=" ".join)
def test_the_command_line_is_understood(words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(COMMANDS[words[1]].module).add_arguments(parser)
    complaint = StringIO()
    try:
        with redirect_stderr(complaint):
            parser.parse_args(words[2:])
    except SystemExit:
        pytest.fail(complaint.getvalue())


def test_extras_that_are_named_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for path in DOCUMENTS:
        for names in re.findall(r"lipstream\[([\w,-]+)\]", path.read_text("utf-8")):
            assert set(names.split(",")) <= set(project["optional-dependencies"]), path


def test_modules_that_are_run_are_there():
    for path in CURRENT:
        for name in re.findall(r"python -m (lipstream[\w.]*)", path.read_text("utf-8")):
            assert importlib.util.find_spec(name) is not None, (path, name)


def options_of(words: Words) -> set[str]:
    return set(words.options).union(*map(options_of, words.below.values()))


def test_options_that_are_mentioned_are_there():
    """Those of a command whose name stands before them, or else of any command."""
    every = command_words()
    others = {"--help", "--no-deps", "--network", "--proxy-location"}
    for path in CURRENT:
        for code in re.findall(r"`([^`\n]+)`", prose(path)):
            named = re.match(rf"lipstream ({'|'.join(COMMANDS)})\b", code)
            known = options_of(every.below[named[1]]) if named else options_of(every)
            mentioned = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
            assert mentioned <= known | others, (path.name, code)


@pytest.mark.parametrize("block", blocks("python"), ids=name_of)
def test_a_python_block_is_valid(block):
    compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_python_block_is_run_here_or_told_why_not():
    here = {"docs/live-api.md", "docs/text.md", "docs/frameworks.md", "docs/reference/engine.md"}
    """Those of ``frameworks.md`` by ``test_frameworks.py``."""
    assert {block.document for block in blocks("python")} <= here | set(NOT_RUN)


@pytest.mark.slow
def test_the_python_client_of_a_stage_says_what_it_is_given(toy_folder, toy_avatar):
    (block,) = blocks("python", of="docs/live-api.md")

    async def talk(worker):
        async with running(worker, toy_avatar) as server:
            moved = Block(
                block.document,
                block.number,
                "python",
                block.text.replace("http://127.0.0.1:8080", server.url),
            )
            async with asyncio.timeout(30):
                return await run_python(
                    moved, {"StageClient": StageClient, "pcm": tone(24_000, 9600)}
                )

    with Worker(MouthModel.open(toy_folder, threads=1)) as worker:
        told = asyncio.run(talk(worker))
    assert told["event"]["id"] == "a"
    assert told["event"]["heard_ms"] == pytest.approx(400, abs=1)


@pytest.mark.slow
def test_a_conversation_without_a_server_is_heard_to_its_end(capsys):
    (block,) = blocks("python", of="docs/reference/engine.md")
    shown, played = [], []
    given = {
        "pcm": tone(24_000, 9600),
        "show": lambda image: shown.append(image.shape),
        "play": played.append,
    }
    asyncio.run(run_python(block, given))
    assert set(shown) == {(512, 512, 3)}
    assert len(shown) >= 10
    assert np.abs(np.concatenate(played)).max() > 1000
    kinds = capsys.readouterr().out.split()
    assert (kinds[0], kinds[-1]) == ("began", "ended")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: apt install curl")
def test_a_stage_is_opened_spoken_on_and_ended_by_curl(toy_folder, toy_avatar):
    (block,) = [one for one in blocks("sh", of="docs/live-api.md") if "curl" in one.text]

    async def ask(worker):
        async with running(worker, toy_avatar) as server:
            script = block.text.replace("http://127.0.0.1:8080", server.url)
            answers = [
                await asyncio.to_thread(
                    subprocess.run, [*words, "-sSf"], capture_output=True, check=True
                )
                for words in commands(script)
            ]
            return [answer.stdout for answer in answers], list(server.sessions.stages)

    with Worker(MouthModel.open(toy_folder, threads=1)) as worker:
        (opened, spoken, interrupted, ended), left = asyncio.run(ask(worker))
    assert json.loads(opened)["avatar"] == "mei"
    assert set(json.loads(spoken)) == {"id", "queued_ms"}
    assert set(json.loads(interrupted)) == {"heard_ms"}
    assert (ended, left) == (b"", [])


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng: apt install espeak-ng")
def test_the_voice_of_a_program_tells_where_its_words_are(capsys):
    (block,) = blocks("python", of="docs/text.md")
    asyncio.run(run_python(block, {}))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert "'sentence', 0" in lines[0]


def test_a_malformed_attribute_raises_in_the_library_as_the_page_of_faults_says():
    """In a process of its own: here the guards are in place."""
    (block,) = [b for b in blocks("python", of="docs/upstream-faults.md") if "stun." in b.text]
    alone = [sys.executable, "-c", f"from aioice import stun\n{block.text}"]
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert "struct.error" in done.stderr


def inline_messages() -> list[tuple[Path, str]]:
    return [
        (path, code)
        for path in (ROOT / "docs" / "live-api.md", ROOT / "docs" / "text.md")
        for code in re.findall(r"`(\{\"type\".*?\})`", path.read_text("utf-8"))
    ]


@pytest.mark.parametrize(("path", "code"), inline_messages(), ids=lambda one: str(one)[-50:])
def test_a_message_is_as_its_schema_says(path, code):
    schema = {**SCHEMA, "anyOf": [{"$ref": "#/$defs/in"}, {"$ref": "#/$defs/out"}]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(code))


def test_messages_are_found():
    assert len(inline_messages()) >= 6


@pytest.mark.parametrize("block", blocks("json"), ids=name_of)
def test_json_is_what_the_studio_takes(block):
    assert block.document == "docs/studio.md", "say here what reads it"
    msgspec.convert(json.loads(block.text), OrderMessage)


@pytest.mark.parametrize("block", blocks("toml"), ids=name_of)
def test_toml_is_a_list_of_segments(block, tmp_path):
    assert block.document == "docs/text.md", "say here what reads it"
    path = tmp_path / "speech.toml"
    path.write_text(block.text, "utf-8")
    (segment,) = read_segments(path)
    assert (segment.at_s, segment.until_s) == (63.5, 70)


@pytest.mark.parametrize("block", blocks("js"), ids=name_of)
def test_javascript_is_run_by_a_browser(block):
    """By ``tests/browser/test_stage.py``, and ``test_three.py``."""
    assert block.document == "docs/live-api.md", "say here what runs it"


@pytest.mark.parametrize("block", blocks("nginx", "ini"), ids=name_of)
def test_settings_of_other_programs_are_read_by_them(block):
    """By ``test_deployment.py``."""
    assert block.document == "docs/deployment.md", "say here what runs it"


@pytest.mark.parametrize("block", blocks("yaml"), ids=name_of)
def test_yaml_asks_a_server_for_its_metrics(block):
    (job,) = yaml.safe_load(block.text)["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["avatar.example.org:8080"]
    assert set(job["authorization"]) == {"credentials_file"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the reader has: avatars, a film and sounds, a token, a certificate."""
    path = tmp_path_factory.mktemp("reader")
    face = Avatar.open().frames[0]
    write_film(path / "film.mp4", [face[::2, ::2]] * 25 * 24)
    Avatar.open().save(path / "old.avatar")
    write_wav(path / "speech.wav", tone(16_000, 16_000), 16_000)
    write_wav(path / "laugh.wav", tone(16_000, 16_000), 16_000)
    (path / "speech.txt").write_text("مرحبا.", "utf-8")
    (path / "token").write_text("correct horse battery staple", "utf-8")
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost"
    names = ["-out", "fullchain.pem", "-keyout", "privkey.pem"]
    subprocess.run(["openssl", *request.split(), *names], cwd=path, check=True, capture_output=True)
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("words", [w for w in run_commands() if w[1] != "serve"], ids=" ".join)
def test_the_command_runs(words, folder):
    if shutil.which("espeak-ng") is None:
        pytest.skip("no espeak-ng: apt install espeak-ng")
    more = ["--no-sound"] if words[1] == "window" else []  # no loudspeaker
    done = subprocess.run(
        [*LIPSTREAM, *words[1:], *more],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SDL_VIDEODRIVER": "dummy"},
    )
    assert done.returncode == 0, done.stderr
    if "-o" in words:
        assert (folder / words[words.index("-o") + 1]).stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("words", [w for w in run_commands() if w[1] == "serve"], ids=" ".join)
def test_the_server_starts_and_ends(words, folder):
    """On any free port of this machine, with the files of the reader."""
    told = [word.replace("/etc/lipstream/", "") for word in words[1:]]
    server = subprocess.Popen(
        [*LIPSTREAM, *told, "--host", "127.0.0.1", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            url = re.search(r"https?://\S+", server.stdout.readline()).group()
            if url.startswith("http:"):
                with urllib.request.urlopen(f"{url}/healthz", timeout=30) as answer:
                    assert answer.status == 200
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
