"""Turn networks into the files lipstream runs. The command line is ``lipstream export``.

Here belongs the way from a checkpoint to graphs, lower precisions and kernel plans, each compared
with the network it came from. Networks are ``lipstream_models``', running graphs is the engine's.
"""

import lipstream  # noqa: F401  # pyright: ignore[reportUnusedImport]  before anything else: it switches off ONNX Runtime's telemetry

__all__: list[str] = []
