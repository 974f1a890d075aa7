import sys
from pathlib import Path

from lipstream.cli import main
from lipstream.machine import describe_machine
from lipstream_bench import doctor


def test_the_doctor_names_versions_backends_and_what_is_embedded_and_nothing_personal(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    parts = ("codecs", "encoder", "H.264 for viewers by", "embedded model", "serving")
    for word in ("lipstream", "python", "processor", "onnxruntime", *parts):
        assert word in out
    assert "broken" not in out
    assert str(Path.home()) not in out


def test_what_is_missing_comes_with_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pygame", None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "lipstream[mic]" in out
    assert "lipstream[cpu]" in out


def test_a_broken_part_does_not_stop_the_doctor():
    def _codecs():
        raise RuntimeError("no library")

    finding = doctor.guarded(_codecs)
    assert finding.text == "broken: RuntimeError: no library"
    assert finding.advice


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.cpu
    assert "numpy" in machine.versions
