"""Installing from source: the kernels' compiler is welcome, never required."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
hatch_build = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hatch_build)


def test_the_compiler_asked_for_is_taken(monkeypatch):
    monkeypatch.setenv("CC", "ccache gcc -m64")
    assert hatch_build.find_compiler() == ["ccache", "gcc", "-m64"]


def test_without_any_compiler_there_is_none(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert hatch_build.find_compiler() is None


def test_only_a_wheel_of_zigs_compiler_promises_an_old_glibc():
    assert (
        hatch_build.platform_tag(["python", "-I", "-m", "ziglang", "cc"]) == "manylinux_2_17_x86_64"
    )
    assert hatch_build.platform_tag(["/usr/bin/gcc"]) == "linux_x86_64"


def test_a_compiler_that_fails_leaves_the_library_as_it_was(tmp_path):
    target = tmp_path / "x.so"
    target.write_bytes(b"older")
    kernels = hatch_build.Kernels(Path("x.c"), (), ())
    with pytest.raises(subprocess.CalledProcessError):
        hatch_build.compile_kernels(
            [sys.executable, "-c", "raise SystemExit(1)"], kernels, tmp_path
        )
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_a_wheel_is_built_where_no_compiler_works(tmp_path):
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("the sources are not a git repository")
    for name in filter(lambda n: not n.startswith(("tests/", "docs/")), listed.stdout.split("\n")):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    build = [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        "--no-build-isolation",
    ]
    subprocess.run(
        [*build, "-w", str(tmp_path / "out"), str(source)],
        check=True,
        env={**os.environ, "CC": "/bin/false"},
    )
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "lipstream/py.typed" in names
    assert not [name for name in names if name.endswith(".so")]
