"""`lipstream serve`, from the outside."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from lipstream.cli import main
from lipstream.errors import ServerError
from lipstream_server.command import bind, listen

SERVE = [
    sys.executable,
    "-c",
    "import sys; from lipstream.cli import main; sys.exit(main())",
    "serve",
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.slow
def test_it_says_where_the_page_is_and_stops_cleanly(toy_folder, toy_pack, number):
    command = [*SERVE, "--port", "0", "--model", str(toy_folder), "--avatar", str(toy_pack)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline()).group()
        with urllib.request.urlopen(url) as page:
            assert b"<title>lipstream</title>" in page.read()
        process.send_signal(number)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "", "")


def test_a_port_in_use_is_named_and_nothing_is_loaded(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port), "--model", "/nowhere"]) == 2
    assert capsys.readouterr().err == (
        f"lipstream: port {port} is in use: stop what uses it, or give another with --port\n"
    )


def test_a_port_taken_between_binding_and_listening_is_named():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            listen(first)
            with pytest.raises(ServerError, match=f"port {port} is in use"):
                listen(second)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--port", "99999"], "--port"),
        (["--port", "0", "--model", "/nowhere"], "no model"),
        (["--port", "0", "--avatar", "/nowhere.avatar"], "/nowhere.avatar"),
        (["--port", "0", "--avatar", "nobody"], "one of ada"),
        (["--host", "no.such.host.invalid", "--token", "long enough"], "--host"),
        (["--port", "0", "--studio-limit", "upload-mb=0"], "upload_mb=0: give 1 or more"),
        (["--port", "0", "--studio-limit", "files=3"], "there is no such limit"),
        (["--port", "0", "--record", "nowhere/show.mp4"], "a folder that is there"),
        (["--port", "0", "--record", "show.mp4", "--stage", "a/b"], "a stage's name"),
        (["--port", "0", "--recordings", __file__], "--recordings"),
    ],
)
def test_bad_settings_end_in_one_line(arguments, says, capsys, toy_folder, toy_pack):
    defaults = ["--avatar", str(toy_pack)] if "--avatar" not in arguments else []
    assert main(["serve", *defaults, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lipstream: ")
    assert says in error
    assert error.count("\n") == 1


def test_a_precision_that_the_model_lacks_is_said(toy_folder, toy_pack, capsys):
    words = ["serve", "--port", "0", "--model", toy_folder, "--avatar", toy_pack]
    assert main([*map(str, words), "--precision", "int8"]) == 2
    assert "'toy' has no int8 graph" in capsys.readouterr().err
