"""The door: who a request is from, what it may reach, and the few pages that one can see before logging in.

`Door` stands in front of everything that is served. What is behind it asks for a role itself, too: a page that is not
shown is no protection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from html import escape
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from string import Template
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.accounts import LOCAL, SESSION_LASTS, Accounts
from assistant.chinese import said
from assistant.routes.errors import refusal
from assistant.texts import language, text
from memory.accounts import Account, Role
from memory.errors import BadInput, NightschoolError, NotAllowed

COOKIE = "nightschool_session"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The addresses of this machine that no other can reach."""

OPEN = ("/login", "/health", "/ready")
FIRST = "/first/"
"""What nobody needs to log in for: these, and the link to the first account."""

PAGES: dict[str, Role] = {"/admin": Role.ADMIN}
"""Pages that are shown only from some role on."""

FORM_BYTES = 8_192
STREAMS = 10_000
"""Pages of which it is remembered whose they are."""
FRAME = Template((Path(__file__).parent / "door.html").read_text(encoding="utf-8"))


def identify(accounts: Accounts, headers: Headers) -> Account | None:
    """Who a request is from: the one whose key it bears, or whose session its cookie names."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    key = credentials.strip() if scheme.casefold() == "bearer" else None
    return accounts.of(session=_cookie(headers), key=key)


def me(request: Request) -> Account:
    """Who asks: for routes behind the door."""
    who: Account = request.state.who
    return who


Me = Annotated[Account, Depends(me)]
"""Who asks; the door has found out."""


class Door:
    """Middleware: nobody gets behind it who must log in first, and each request bears who it is from."""

    def __init__(self, app: ASGIApp, accounts: Accounts) -> None:
        self._app, self._accounts = app, accounts
        self._streams: OrderedDict[str, str] = OrderedDict()
        """What a page's answers are streamed under → the account whose page it is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        who = identify(self._accounts, headers)
        scope.setdefault("state", {})["who"] = who
        refused = self._refuse(who, scope["path"], scope.get("query_string", b""), headers)
        await (refused or self._app)(scope, receive, send)

    def _refuse(self, who: Account | None, path: str, query: bytes, headers: Headers) -> Response | None:
        if not self._accounts.needed and not _is_loopback(headers.get("host", "")):
            # Without a login, a name of somebody else's that resolves to this machine must not reach it (DNS
            # rebinding). With one, another name has no cookie.
            return refusal(400, "without accounts only this machine is served, under its own name", "bad_host")
        if path in OPEN or path.startswith(FIRST):
            return None
        if who is None:
            if "text/html" in headers.get("accept", "") and not path.startswith("/v1/"):
                return RedirectResponse(f"/login?next={quote(path)}", status_code=303)
            return refusal(401, "log in first, or send an API key: Authorization: Bearer ns-…", "invalid_api_key")
        least = PAGES.get(path.rstrip("/"))
        if least and not who.role.may(least):
            return RedirectResponse("/", status_code=303)
        if path.endswith("/queue/data") and not self._is_own(who, query):
            return refusal(403, "this is another account's page", "not_allowed")
        return None

    def _is_own(self, who: Account, query: bytes) -> bool:
        """Whether a stream is of a page of `who`'s: the first who asks for it is whose it is."""
        name = parse_qs(query.decode("latin-1")).get("session_hash", [""])[0]
        owner = self._streams.setdefault(name, who.id)
        self._streams.move_to_end(name)
        while len(self._streams) > STREAMS:
            self._streams.popitem(last=False)
        return owner == who.id


class SameOrigin:
    """Refuses what a page of another origin makes a browser send; programs send no `Origin` and pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin", "")
            foreign = origin and origin.partition("://")[2] != headers.get("host", "")
            # Old browsers send no Origin with some requests, and new ones say more than that.
            across = headers.get("sec-fetch-site") == "cross-site" and scope.get("method") not in ("GET", "HEAD")
            if foreign or across:
                await refusal(403, "requests from pages of another origin are refused", "other_origin")(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)


# ---------------------------------------------------------------------- the pages of the door


def routes(accounts: Accounts, *, start: str) -> APIRouter:
    """Log in and out, the first account, one's own password, and who one is.

    Args:
        start: names this start of the server, so that a page that was open meanwhile knows of it.
    """
    router = APIRouter(include_in_schema=False)
    _route_sessions(router, accounts)
    _route_first_account(router, accounts)
    _route_oneself(router, accounts, start)
    return router


def _route_sessions(router: APIRouter, accounts: Accounts) -> None:
    @router.get("/login")
    def login(request: Request) -> Response:
        if not accounts.needed or identify(accounts, request.headers):
            return RedirectResponse("/", status_code=303)
        return _form(request, "login")

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        sent = await _sent(request)
        address = request.client.host if request.client else "?"
        return await _tried(
            request, "login", lambda: accounts.log_in(sent["name"], sent["password"], address=address), sent
        )

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        session = _cookie(request.headers)
        if session:
            accounts.log_out(session)
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE)
        return response


def _route_first_account(router: APIRouter, accounts: Accounts) -> None:
    @router.get("/first/{link}")
    def first(request: Request, link: str) -> Response:
        return RedirectResponse("/", status_code=303) if accounts.needed else _form(request, "first")

    @router.post("/first/{link}")
    async def make_first(request: Request, link: str) -> Response:
        sent = await _sent(request)
        address = request.client.host if request.client else "?"

        def make() -> str:
            accounts.add_first(link, sent["name"], sent["password"])
            return accounts.log_in(sent["name"], sent["password"], address=address)

        return await _tried(request, "first", make, sent)


def _route_oneself(router: APIRouter, accounts: Accounts, start: str) -> None:
    @router.get("/password")
    def password(request: Request) -> Response:
        return RedirectResponse("/", status_code=303) if me(request) is LOCAL else _form(request, "password")

    @router.post("/password")
    async def change_password(request: Request) -> Response:
        sent = await _sent(request)
        who, address = me(request), request.client.host if request.client else "?"

        def change() -> str:
            accounts.change_password(who, sent["old"], sent["password"])
            return accounts.log_in(who.name, sent["password"], address=address)

        return await _tried(request, "password", change, sent)

    @router.get("/whoami")
    def whoami(request: Request) -> dict[str, Any]:
        who = me(request)
        return {"id": who.id, "name": who.name, "role": who.role, "accounts": accounts.needed, "start": start}


async def _sent(request: Request) -> dict[str, str]:
    """The fields of a form; a field that is missing is empty. Raises: BadInput."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            raise BadInput(f"the form is over {FORM_BYTES} bytes")
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: fields.get(name, [""])[0] for name in ("name", "password", "old")}


async def _tried(request: Request, form: str, act: Callable[[], str], sent: dict[str, str]) -> Response:
    """Do what a form asks for and open the session that comes of it, or show the form again with why not."""
    try:
        # Argon2 takes its time on purpose.
        session = await run_in_threadpool(act)
    except (NotAllowed, BadInput) as error:
        status = error.status if isinstance(error, NotAllowed) else 400
        return _form(request, form, why=error, status=status, name=sent["name"])
    target = request.query_params.get("next", "/")
    # Only ways within this house: "//elsewhere" is one out of it.
    inside = target.startswith("/") and not target.startswith(("//", "/\\"))
    response = RedirectResponse(target if inside else "/", status_code=303)
    response.set_cookie(
        COOKIE,
        session,
        max_age=int(SESSION_LASTS.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


def _form(
    request: Request, form: str, *, why: NightschoolError | None = None, status: int = 200, name: str = ""
) -> Response:
    lang = language(request.headers.get("accept-language", ""))
    new = "current-password" if form == "login" else "new-password"
    fields = [
        ("name", "text", text("door.name", lang), "username", name) if form != "password" else None,
        ("old", "password", text("door.old", lang), "current-password", "") if form == "password" else None,
        ("password", "password", text("door.password" if form == "login" else "door.new", lang), new, ""),
    ]
    inputs = "".join(
        f"<label>{escape(label)}<input name='{field}' type='{kind}' autocomplete='{hint}' value='{escape(value)}'"
        f" required{' autofocus' if first else ''}></label>"
        for first, (field, kind, label, hint, value) in zip(
            (True, False, False), [field for field in fields if field], strict=False
        )
    )
    told = f"<p role='alert'>{escape(said(str(why), lang))}</p>" if why else ""
    page = FRAME.substitute(
        lang=lang,
        title=escape(text(f"door.{form}.title", lang)),
        told=told,
        about=escape(text(f"door.{form}.about", lang)),
        inputs=inputs,
        action=escape(text(f"door.{form}.action", lang)),
    )
    return HTMLResponse(page, status)


def _cookie(headers: Headers) -> str | None:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


def _is_loopback(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.casefold() in LOOPBACK
