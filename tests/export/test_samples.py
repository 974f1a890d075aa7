import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream_export.precisions import Samples, collect_samples


def numbered(count):
    """Samples whose first pixel is their place."""
    crops = np.tile(np.arange(count, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    return Samples(crops, np.zeros((count, 1, 80, 16), np.float32), "numbers")


@pytest.mark.parametrize("files", [2, 3, 4, 5, 16])
def test_a_file_is_either_learnt_from_or_judged_on(files):
    seen, held_out = (part.crops[:, 0, 0, 0] for part in numbered(12 * files).split())
    assert len(seen) + len(held_out) == 12 * files
    assert not set(seen // 12) & set(held_out // 12)
    assert 0 < len(held_out) <= len(seen)


def test_one_file_is_parted_within():
    seen, held_out = numbered(9).split()
    assert (len(seen.crops), len(held_out.mels)) == (6, 3)


def test_a_folder_of_nothing_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    for folder, says in ((tmp_path, "no film of a talking face"), (tmp_path / "x", "no such")):
        with pytest.raises(InputError, match=says):
            collect_samples(None, folder)
