import pytest

from convert_face_networks import NETWORKS, export_faces, find_wheel_files, main
from lipstream.errors import InputError
from lipstream.inference.manifest import embedded_folder


@pytest.fixture(scope="module")
def wheel_files():
    try:
        return find_wheel_files()
    except InputError as error:
        pytest.skip(str(error))


def test_the_embedded_files_are_made_anew_to_the_byte(wheel_files, tmp_path):
    export_faces(wheel_files, tmp_path / "faces")
    for name in ("detector.onnx", "mesh.onnx", "NOTICE.md", "sha256sums.txt"):
        embedded = (embedded_folder() / "faces" / name).read_bytes()
        assert (tmp_path / "faces" / name).read_bytes() == embedded, name


def test_the_command_compares_them_with_the_originals(wheel_files, tmp_path, capsys):
    given = ["--wheel-data", str(wheel_files), "-o", str(tmp_path / "faces")]
    assert main([*given, "--verify"]) == 0
    assert "parity: holds" in capsys.readouterr().out


def test_a_folder_without_the_networks_is_refused(tmp_path, capsys):
    given = ["--wheel-data", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main(given) == 2
    assert NETWORKS[0].file in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_files_of_the_same_name_are_refused(tmp_path, capsys):
    for network in NETWORKS:
        (tmp_path / network.file).write_bytes(b"TFL3")
    given = ["--wheel-data", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main(given) == 2
    assert "sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_notice_lists_the_checksums():
    notice = (embedded_folder() / "faces" / "NOTICE.md").read_text()
    sums = (embedded_folder() / "faces" / "sha256sums.txt").read_text()
    for line in sums.splitlines():
        digest, name = line.split("  ")
        assert f"| `{name}` | `{digest}` |" in notice
