"""The backend of our own kernels: where it runs, and what it says where it does not."""

import ctypes
import platform
from types import SimpleNamespace

import numpy as np
import pytest

import lipstream.inference.kernels
from engine.inference.kernels.toy_plans import needs_kernels, small_feeds, small_mouth
from lipstream.errors import BackendUnavailable
from lipstream.inference.backends import BankRow, TensorInfo, open_backend
from lipstream.inference.kernels import (
    LIBRARY,
    check_abi,
    kernels_run_here,
    load_library,
    step_header,
)
from lipstream.inference.kernels.plan import save_plan


@pytest.fixture
def path(tmp_path):
    save_plan(tmp_path / "small.plan", small_mouth())
    return tmp_path / "small.plan"


@pytest.fixture
def forgotten():
    """The library is looked for anew, in the test and after it."""
    load_library.cache_clear()
    yield
    load_library.cache_clear()


def test_where_it_can_be_built_the_library_is_installed():
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the kernels are built on Linux x86-64 alone")
    assert LIBRARY.is_file(), "hatch_build.py did not build it: pip install -v says why"
    assert LIBRARY.read_bytes()[:4] == b"\x7fELF"


def test_a_processor_that_lacks_something_is_told_what(path, monkeypatch, forgotten):
    monkeypatch.setattr(lipstream.inference.kernels, "_NEEDED", ("avx512_dream", "amx_tale"))
    assert not kernels_run_here()
    with pytest.raises(BackendUnavailable, match=r"lacks avx512_dream, amx_tale: choose openvino"):
        open_backend(path, "native", 1, "int8")


def test_a_library_that_was_not_built_says_how_to_install_it(
    path, tmp_path, monkeypatch, forgotten
):
    monkeypatch.setattr(lipstream.inference.kernels, "_NEEDED", ())
    monkeypatch.setattr(lipstream.inference.kernels, "LIBRARY", tmp_path / "gone.so")
    assert not kernels_run_here()
    with pytest.raises(BackendUnavailable, match=r"pip install --force-reinstall.*gone\.so"):
        open_backend(path, "native", 1, "int8")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_another_precision_than_int8_is_refused(path, precision):
    with pytest.raises(BackendUnavailable, match=f"int8 alone, not {precision}: choose int8"):
        open_backend(path, "native", 1, precision)


@needs_kernels
def test_it_says_what_it_takes_and_gives(path):
    backend = open_backend(path, "native", 1, "int8")
    assert backend.name == "native"
    assert backend.inputs["mel"] == TensorInfo((None, 1, 21, 11), "float32")
    assert backend.inputs.keys() == {"mel", "f", "share"}
    assert backend.outputs == {"mouth": TensorInfo((None, 13, 22, 3), "uint8")}
    backend.close()
    backend.close()


@needs_kernels
def test_frame_threads_are_runners_of_one_thread_that_paint_the_same(path):
    feeds = small_feeds(2)
    alone = open_backend(path, "native", 1, "int8")
    several = open_backend(path, "native", 4, "int8", frame_threads=2)
    assert (alone.frame_threads, several.frame_threads) == (1, 2)
    clone = several.clone()
    wanted = alone.run(feeds)["mouth"]
    np.testing.assert_array_equal(several.run(feeds)["mouth"], wanted)
    np.testing.assert_array_equal(clone.run(feeds)["mouth"], wanted)
    for one in (alone, several, clone):
        one.close()


@needs_kernels
def test_rows_of_a_bank_are_painted_as_when_they_are_handed_over(path):
    feeds = small_feeds(3)
    backend = open_backend(path, "native", 1, "int8")
    wanted = backend.run(feeds)["mouth"].copy()
    bank = backend.open_bank({name: feeds[name] for name in ("f", "share")}, 3)
    order = (2, 0, 1)
    mels = [feeds["mel"][at : at + 1] for at in order]
    rows = [BankRow(bank, at) for at in order]
    np.testing.assert_array_equal(backend.run_rows(mels, rows)["mouth"], wanted[list(order)])
    np.testing.assert_array_equal(backend.run_rows(mels[:1], rows[:1])["mouth"], wanted[2:])
    backend.close()


@needs_kernels
def test_threads_are_the_runtimes_own_choice_when_none_are_named(path):
    backend = open_backend(path, "native", 0, "int8")
    wanted = open_backend(path, "native", 1, "int8").run(small_feeds(1))["mouth"]
    np.testing.assert_array_equal(backend.run(small_feeds(1))["mouth"], wanted)
    backend.close()


def test_kinds_fields_and_number_of_the_abi_are_read_from_the_header():
    header = step_header()
    kinds = ("convert", "quantize_f32", "quantize", "igemm", "winograd", "sigmoid")
    assert header.kinds == kinds
    names = [name for name, _ in header.step._fields_]
    assert (names[0], names[-1], len(names)) == ("from_", "add_pitch", 24)
    assert ctypes.sizeof(header.step) == 10 * 8 + 2 * 4 + 12 * 4


def test_the_library_installed_is_of_this_header():
    if not LIBRARY.is_file():
        pytest.skip("the kernels were not built here")
    check_abi(ctypes.CDLL(str(LIBRARY)))


def test_a_library_of_another_build_is_refused_with_what_to_do():
    older = SimpleNamespace(lipstream_step_size=lambda: 136)
    newer = SimpleNamespace(lipstream_abi=lambda: 99, lipstream_step_size=lambda: 136)
    for library, abi in ((older, 0), (newer, 99)):
        with pytest.raises(BackendUnavailable, match=rf"ABI {abi}, .*pip install --force-rein"):
            check_abi(library)
