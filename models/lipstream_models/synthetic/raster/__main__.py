"""``python -m lipstream_models.synthetic.raster``: film synthetic people."""

import argparse
import sys

from lipstream.errors import InputError
from lipstream_models.synthetic.raster.command import add_arguments, run


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m lipstream_models.synthetic.raster", description=__doc__
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except InputError as error:
        sys.stderr.write(f"lipstream: {error}\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
