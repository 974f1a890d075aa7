"""The completion scripts, read by the shells they are for."""

import shutil
import subprocess
import sys

import pytest

from lipstream.cli import COMMANDS

ASK = {
    "bash": """source "$0"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lipstream; printf '%s\\n' "${COMPREPLY[@]}" """,
    "zsh": """source "$0"
compadd() { print -l -- "${@[2,-1]}" }  # the shell's own would need a line editor
_files() { }
words=("$@"); CURRENT=$#; _lipstream""",
    "fish": 'source $argv[1]; complete -C "$argv[2..]"',
}
RUN = {"bash": ["-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}


@pytest.fixture(scope="module", params=list(ASK))
def complete(request, tmp_path_factory):
    """Ask a shell what may stand in the place of the last word."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path_factory.mktemp(shell) / "script"
    command = [sys.executable, "-m", "lipstream", "completion", shell]
    script.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)

    def ask(*words):
        command = [shell, *RUN[shell], ASK[shell], str(script), "lipstream", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        offered = {line.split("\t")[0] for line in done.stdout.split("\n")}
        return {word for word in offered if word.startswith(words[-1])} - {""}

    return ask


def test_every_command_is_offered(complete):
    assert set(COMMANDS) <= complete("")


def test_a_command_offers_its_own_options(complete):
    assert complete("serve", "--prec") == {"--precision"}
    assert complete("avatar", "make", "--describ") == {"--describe"}


def test_an_option_offers_its_values_and_no_options(complete):
    assert complete("serve", "--precision", "b") == {"bf16"}


def test_a_command_of_a_command_is_offered(complete):
    assert "make" in complete("avatar", "")
    assert complete("models", "che") == {"check"}
