import subprocess
import sys

import pytest

from lipstream.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    assert f"lipstream {name}" in capsys.readouterr().out


def test_an_unknown_command_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["sing"])
    assert exit_.value.code == 2
    assert "render" in capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path):
    arguments = ["render", str(tmp_path / "no.png"), str(tmp_path / "no.wav"), "-o", "x.mp4"]
    assert main(arguments) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("lipstream: ")
    assert "\n" not in err


def test_a_missing_package_names_the_extra(capsys, monkeypatch):
    def missing(module):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.import_module", missing)
    assert main(["train"]) == 2
    assert "lipstream[train]" in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_runs_as_the_script_does():
    done = subprocess.run(
        [sys.executable, "-m", "lipstream", "--version"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("lipstream ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["render"], "the following arguments are required: FACE, -o/--output"),
        (["render", "a", "b", "-o", "c.mp4", "--ends", "now"], "invalid choice: 'now'"),
        (["render", "a", "b", "-o", "c.mp4", "--fps", "fast"], "'fast' is no frame rate"),
        (["avatar", "make", "a.png"], "the following arguments are required: -o/--output"),
        (["sing"], "invalid choice: 'sing'"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_how_to_see_the_usage(arguments, says, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert "--help' says what it takes" in said
