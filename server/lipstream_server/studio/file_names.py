"""Names from visitors: shown and offered for download, but never a part of a path."""

import unicodedata

LONGEST = 80
_SUFFIXES = (
    ".aac .aif .aiff .amr .avi .avif .bmp .caf .flac .flv .gif .heic .heif .jpeg .jpg .m4a .m4v"
    " .mkv .mov .mp3 .mp4 .mpeg .mpg .mts .oga .ogg .opus .png .tif .tiff .ts .wav .webm .webp .wma"
    " .wmv"
)
_KNOWN = {suffix: suffix for suffix in _SUFFIXES.split()}
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shown_name(given: str, otherwise: str) -> str:
    """Return a name fit to show: one short line without folders and invisible letters."""
    last = given.replace("\\", "/").rpartition("/")[2]
    kept = (c if unicodedata.category(c) not in _UNSHOWN else " " for c in last)
    name = " ".join("".join(kept).split())
    if len(name) > LONGEST:
        name = name[: LONGEST - 1].rstrip() + "…"
    return name or otherwise


def known_suffix(given: str) -> str:
    """Return the ending to keep a file under: one of ours, whatever the visitor wrote."""
    _, dot, last = given.lower().rpartition(".")
    return _KNOWN.get(dot + last, ".media")
