"""The page in a process of its own, which a test may kill: `page_process.py HOME PORT`. Tells where it listens."""

from __future__ import annotations

import sys
import uuid
from dataclasses import replace
from pathlib import Path

import uvicorn

from assistant import api, testing
from assistant.accounts import Accounts
from assistant.server import listen, url
from assistant.ui import mount


def main(home: Path, port: int) -> None:
    """Serve until it is killed."""
    # Ids that no earlier start has given out.
    assistant = replace(testing.assistant(home), new_id=lambda: uuid.uuid4().hex)
    accounts = Accounts(assistant.ledger, assistant.clock, assistant.new_id)
    app = mount(api.create(assistant, ready=lambda: None, accounts=accounts), assistant, accounts)
    listener = listen("127.0.0.1", port)
    sys.stdout.write(url("127.0.0.1", listener) + "\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
