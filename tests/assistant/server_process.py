"""A server in a process of its own: `apart`.

Its model is loaded once HOME/go is there, or can't be. It tells where it listens, and `ended` when `run` comes back.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from assistant import testing
from assistant.server import Server, listen, url
from memory.errors import ModelUnavailable, NightschoolError

ERRORS: dict[str, type[Exception]] = {"ModelUnavailable": ModelUnavailable, "ImportError": ImportError}


@dataclass
class SlowEngine(testing.ScriptedEngine):
    """An engine that is loaded when `go` is there."""

    go: Path = Path()
    failure: Exception | None = None
    ready: bool = False

    def load(self) -> None:
        deadline = time.monotonic() + 20
        while not self.go.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if self.failure:
            raise self.failure
        self.ready = True


def tell(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(home: Path, error: str = "", message: str = "") -> int:
    """Serve until a signal, or until the model can't be loaded."""
    engine = SlowEngine(pause=0.02, go=home / "go", failure=ERRORS[error](message) if error else None)
    assistant = testing.assistant(home, engine=engine)
    listener = listen("127.0.0.1", 0)
    server = Server(assistant, engine)
    tell(url("127.0.0.1", listener))
    try:
        server.run(listener)
    except NightschoolError as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    tell("ended")
    return 0


def apart(told: str, complained: str, home: str, *failure: str) -> None:
    """`main` as a process: what it says goes into the files `told` and `complained`. Raises: SystemExit."""
    for stream, path in ((sys.stdout, told), (sys.stderr, complained)):
        with Path(path).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    Path(home).mkdir(exist_ok=True)
    sys.exit(main(Path(home), *failure))
