"""What the studio's subprocess answers: lines of JSON, progress first and the end last."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Reply:
    """Where answers go."""

    to: TextIO

    def step(self, done: int, of: int) -> None:
        """Say how far it is."""
        self._write({"step": [done, of]})

    def end(self, **said: object) -> None:
        """Say how it ended."""
        self._write(said)

    def _write(self, said: Mapping[str, object]) -> None:
        self.to.write(json.dumps(said) + "\n")
        self.to.flush()
