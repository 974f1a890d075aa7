"""Turn networks into the files lipstream runs. The command line is ``lipstream export``."""

import lipstream  # noqa: F401  # pyright: ignore[reportUnusedImport]  before anything else: it switches off ONNX Runtime's telemetry

__all__: list[str] = []
