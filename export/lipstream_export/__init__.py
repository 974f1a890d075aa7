"""Turn networks into the files lipstream runs. The command line is ``lipstream export``."""

__all__: list[str] = []
