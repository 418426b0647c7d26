"""The page: one Gradio app with a page a module, mounted on the server that the HTTP routes live on.

`mount` is all that others need. Gradio is imported inside it, since it reads its settings from the environment while it
is imported, and since nobody who only wants a turn should wait for it.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from assistant.accounts import Accounts
from assistant.door import identify
from assistant.forgetting import sweep_uploads
from assistant.turn import Assistant
from assistant.ui.lines import Lines
from assistant.ui.policy import StayHome

if TYPE_CHECKING:
    from assistant.ui.shell import Titling


def mount(
    app: FastAPI, assistant: Assistant, accounts: Accounts | None = None, titles: Titling | None = None
) -> FastAPI:
    """Mount the pages on `app` at "/". Routes that `app` has already come first."""
    accounts = accounts or Accounts(assistant.ledger, assistant.clock, assistant.new_id)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(_temp_dir(assistant.settings.home))
    import gradio as gr

    from assistant.ui import admin, chat, history, learning, memory, theme
    from assistant.ui.shell import House, i18n
    from memory.documents import MOST_BYTES

    house = House(assistant, accounts, titles)
    with gr.Blocks(title="Nightschool", analytics_enabled=False, fill_width=True) as pages:
        chat.build(pages, house)
    with pages.route("History", "/history"):
        history.build(pages, house)
    with pages.route("Memory", "/memory"):
        memory.build(pages, house)
    with pages.route("Learning", "/learning"):
        learning.build(pages, house)
    with pages.route("Admin", "/admin"):
        admin.build(pages, house)
    pages.queue(api_open=False)

    def who(request: Request) -> str | None:
        found = identify(accounts, request.headers)
        return found.id if found else None

    app.add_middleware(StayHome, script=theme.SCRIPT, first=theme.FIRST)
    app.add_middleware(Lines, opened=lambda session: _reopen(pages, session))
    with warnings.catch_warnings():
        # It says that rendering on the server, which is switched off, is switched off.
        warnings.filterwarnings("ignore", message="SSR mode is not supported")
        mounted: FastAPI = gr.mount_gradio_app(
            app,
            pages,
            path="/",
            auth_dependency=who,
            i18n=i18n,
            footer_links=[],
            run_history=False,
            allowed_paths=[],
            # Documents to be remembered; what is larger is refused by `memory.documents` too.
            max_file_size=MOST_BYTES,
            show_error=False,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=theme.theme(),
            css=theme.CSS,
            head=theme.HEAD,
        )
    return mounted


def _reopen(pages: Any, session: str) -> None:
    """Gradio takes a page whose line ended for closed, and lets go of its state an hour later, though it is back."""
    state = pages.state_holder.session_data.get(session)
    if state is not None:
        state.is_closed = False


def _temp_dir(home: Path) -> Path:
    """Where Gradio keeps files for the page: in the home, or in a folder of its own where that can't be written."""
    folder = home / "page"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What was sent to an earlier server, and never used.
        sweep_uploads(home)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="nightschool-page-"))
