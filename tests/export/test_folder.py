import pytest

from lipstream_export.model_folder import atomic_folder


def write_and_fail(out):
    with atomic_folder(out) as folder:
        (folder / "face.onnx").write_text("new")
        raise RuntimeError


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError):
        write_and_fail(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_an_older_folder_as_it_was(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "face.onnx").write_text("old")
    with pytest.raises(RuntimeError):
        write_and_fail(out)
    assert (out / "face.onnx").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_files_of_the_same_name_are_replaced_and_others_stay(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "face.onnx").write_text("old")
    (out / "notes").write_text("mine")
    with atomic_folder(out) as folder:
        (folder / "face.onnx").write_text("new")
    assert (out / "face.onnx").read_text() == "new"
    assert (out / "notes").read_text() == "mine"
