"""The admin page: accounts and their roles, keys for programs, settings, the machine, and who did what.

Every button is an act of `Admin.on_act`, which asks for an admin before it looks at what is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from assistant import doctor
from assistant.accounts import LOCAL
from assistant.chinese import detail, said
from assistant.live import CHANGEABLE, HOUSE, OFF, change
from assistant.settings import Settings
from assistant.texts import Language, text
from assistant.ui import tables
from assistant.ui.markup import act_button, asked, both, dialog, field
from assistant.ui.shell import HIDDEN, House, Updates, acting, board, header, lang, outcome, pressed, told
from memory.accounts import Account, ApiKey, Deed, Role
from memory.errors import BadInput

DEEDS = 100
"""Lines of the audit log on the page; the ledger has them all."""

ROLES = "".join(f"<option value='{role}' data-zh='{text(f'state.{role}', 'zh')}'>{role}</option>" for role in Role)
"""The script says them in the page's language."""
PASSWORD = field(
    "password", "door.new", kind="password", more="required minlength='10' maxlength='200' autocomplete='new-password'"
)
DIALOGS = "".join(
    (
        dialog(
            "add-dialog",
            "accounts.add",
            field("name", "door.name", more="required maxlength='64' autocomplete='off'")
            + PASSWORD
            + f"<label>{both('accounts.role')}<select name='role'>{ROLES}</select></label>",
            "accounts.add",
        ),
        dialog(
            "role-dialog",
            "accounts.role",
            f"<p data-fill='name'></p><label>{both('accounts.role')}<select name='role'>{ROLES}</select></label>",
            "dialog.save",
        ),
        dialog("password-dialog", "accounts.password", f"<p data-fill='name'></p>{PASSWORD}", "dialog.save"),
        dialog(
            "remove-dialog",
            "accounts.remove",
            asked("name", "accounts.remove.means"),
            "accounts.remove",
            danger=True,
        ),
        dialog(
            "revoke-dialog",
            "keys.revoke.title",
            asked("name", "keys.revoke.means"),
            "keys.revoke",
            danger=True,
        ),
        dialog(
            "key-dialog",
            "keys.add",
            f"<p data-fill='name'></p>{field('label', 'keys.label', more='required maxlength=80')}",
            "keys.add",
        ),
        dialog(
            "setting-dialog",
            "settings.change",
            f"<p><code data-fill='name'></code></p><p class='quiet' data-fill='about'></p>"
            f"{field('value', 'settings.value', more='autocomplete=off')}<p class='quiet'>{both('settings.empty')}</p>",
            "dialog.save",
        ),
    )
)


def build(pages: gr.Blocks, house: House) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    admin = Admin(house)
    with gr.Column(elem_id="admin-page", elem_classes=["page", "wide"]):
        gr.HTML(header("admin"))
        admin.lay_out()
    admin.wire(pages)


class Admin:
    """The page's widgets and what happens on them. All that it shows is read from the ledger each time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.acts: dict[str, Callable[[Account, Mapping[str, str]], str | None]] = {
            "add": self._add,
            "role": self._role,
            "password": self._password,
            "remove": self._remove,
            "key": self._key,
            "revoke": self._revoke,
            "setting": self._setting,
        }
        """What a button may do; a text that comes of it is shown once."""

    def lay_out(self) -> None:
        gr.HTML(f"<h1>{both('nav.admin')}</h1>{DIALOGS}")
        self.secret = gr.HTML(visible=False, elem_id="secret")
        gr.HTML(f"<h2>{both('accounts.title')}</h2>")
        self.accounts = board("accounts")
        gr.HTML(f"<h2>{both('keys.title')}</h2>")
        self.keys = board("keys")
        gr.HTML(f"<h2>{both('settings.title')}</h2>")
        self.settings = board("settings")
        gr.HTML(f"<h2>{both('machine.title')}</h2>")
        self.machine = board("machine")
        gr.HTML(f"<h2>{both('audit.title')}</h2>")
        self.audit = gr.HTML(elem_id="audit")
        self.outcome = outcome()

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets."""
        boards = [self.accounts, self.keys, self.settings, self.machine]
        everything = [*boards, self.secret, self.audit]
        pages.load(self.on_load, None, everything, **HIDDEN)
        self.machine.select(self.on_examine, None, self.machine, **HIDDEN)
        for widget in boards[:-1]:
            widget.select(self.on_act, None, [*everything, self.outcome], **HIDDEN)

    # ------------------------------------------------------------------ what happens

    @told
    def on_load(self, request: gr.Request) -> Updates:
        self._house.who(request, Role.ADMIN)
        found = {self.machine: act_button("examine", text("machine.examine", lang(request)))}
        return {**self._everything(lang(request)), **found, self.secret: gr.HTML("", visible=False)}

    @acting
    def on_act(self, act: gr.EventData, request: gr.Request) -> Updates:
        who, sent = self._house.who(request, Role.ADMIN), pressed(act)
        do = self.acts.get(sent.get("act", ""))
        if do is None:
            raise BadInput(f"there is no button {sent.get('act', '')[:40]!r} on this page")
        secret = do(who, sent)
        shown = _secret(secret, lang(request)) if secret else ""
        return {**self._everything(lang(request)), self.secret: gr.HTML(shown, visible=bool(secret))}

    @told
    def on_examine(self, request: gr.Request) -> str:
        self._house.who(request, Role.ADMIN)
        language = lang(request)
        findings = doctor.examine(self._house.now.settings)
        head = [text(f"machine.{name}", language) for name in ("what", "well", "found")]
        rows = [
            [
                escape(said(f.what, language)),
                tables.badge("ok" if f.ok else "failed", language),
                escape(said(f.told, language)),
            ]
            for f in findings
        ]
        return tables.table(head, rows) + act_button("examine", text("machine.examine", language))

    def _add(self, who: Account, sent: Mapping[str, str]) -> None:
        role = _role(sent.get("role", ""))
        self._house.accounts.add(sent.get("name", ""), sent.get("password", ""), role, by=who.name)

    def _role(self, who: Account, sent: Mapping[str, str]) -> None:
        self._house.accounts.set_role(sent.get("id", ""), _role(sent.get("role", "")), by=who.name)

    def _password(self, who: Account, sent: Mapping[str, str]) -> None:
        self._house.accounts.set_password(sent.get("id", ""), sent.get("password", ""), by=who.name)

    def _remove(self, who: Account, sent: Mapping[str, str]) -> None:
        self._house.accounts.remove(sent.get("id", ""), by=who.name)

    def _key(self, who: Account, sent: Mapping[str, str]) -> str:
        return self._house.accounts.add_key(sent.get("id", ""), sent.get("label", ""), by=who.name)

    def _revoke(self, who: Account, sent: Mapping[str, str]) -> None:
        self._house.accounts.revoke_key(sent.get("id", ""), by=who.name)

    def _setting(self, who: Account, sent: Mapping[str, str]) -> None:
        assistant = self._house.assistant
        given = {sent.get("name", ""): sent.get("value", "").strip()}
        change(assistant.ledger, given, at=assistant.clock(), by=who.name)

    # ------------------------------------------------------------------ how the page stands

    def _everything(self, language: Language) -> Updates:
        accounts, ledger = self._house.accounts, self._house.assistant.ledger
        known = accounts.all()
        return {
            self.accounts: accounts_table(known, language),
            self.keys: keys_table(accounts.keys(), known, language),
            self.settings: settings_table(self._house.now.settings, ledger.choices(HOUSE), language),
            self.audit: audit_table(ledger.deeds(limit=DEEDS), language),
        }


def accounts_table(found: Sequence[Account], language: Language) -> str:
    """HTML: one row an account, with what can be done to it; what to do where there is none."""
    add = act_button(
        "add", text("accounts.add", language), {"role": Role.USER if found else Role.ADMIN}, ask="add-dialog"
    )
    if not found:
        return tables.empty(text("accounts.none", language)) + f"<p>{add}</p>"
    head = [text(f"accounts.{name}", language) for name in ("name", "role", "made", "do")]
    rows = []
    for one in found:
        given = {"id": one.id, "name": one.name, "role": str(one.role)}
        buttons = [
            act_button("role", text("accounts.role", language), given, ask="role-dialog"),
            act_button("password", text("accounts.password", language), given, ask="password-dialog"),
            act_button("key", text("keys.add", language), given, ask="key-dialog"),
            act_button("remove", text("accounts.remove", language), given, ask="remove-dialog", danger=True),
        ]
        acts = f"<div class='acts'>{''.join(buttons)}</div>"
        rows.append([f"<b>{escape(one.name)}</b>", tables.badge(one.role, language), tables.time(one.created_at), acts])
    return tables.table(head, rows) + f"<p>{add}</p>"


def keys_table(found: Sequence[ApiKey], accounts: Sequence[Account], language: Language) -> str:
    """HTML: one row a key: how it begins, never the whole."""
    if not found:
        return tables.empty(text("keys.none" if accounts else "keys.none.needed", language))
    names = {account.id: account.name for account in accounts}
    head = [text(f"keys.{name}", language) for name in ("for", "of", "begins", "made", "do")]
    rows = [
        [
            escape(key.label),
            escape(names.get(key.account_id, LOCAL.name)),
            f"<code>{escape(key.begins)}…</code>",
            tables.time(key.created_at),
            act_button(
                "revoke",
                text("keys.revoke", language),
                {"id": key.id, "name": f"{key.label} ({key.begins}…)"},
                ask="revoke-dialog",
                danger=True,
            ),
        ]
        for key in found
    ]
    return tables.table(head, rows)


def settings_table(now: Settings, chosen: Mapping[str, Any], language: Language) -> str:
    """HTML: one row a setting that may change while the server runs."""
    head = [text(f"settings.{name}", language) for name in ("name", "value", "about", "do")]
    rows = []
    for name in CHANGEABLE:
        value, about = getattr(now, name), said(Settings.model_fields[name].description or "", language)
        shown = OFF if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        mark = f" {tables.badge('changed', language)}" if name in chosen else ""
        given = {"name": name, "value": shown, "about": about}
        rows.append(
            [
                f"<code>{name}</code>",
                escape(shown) + mark,
                escape(about),
                act_button("setting", text("settings.do", language), given, ask="setting-dialog"),
            ]
        )
    return tables.table(head, rows) + f"<p class='quiet'>{text('settings.others', language)}</p>"


def audit_table(found: Sequence[Deed], language: Language) -> str:
    """HTML: who did what, newest first."""
    if not found:
        return tables.empty(text("audit.none", language))
    head = [text(f"audit.{name}", language) for name in ("at", "by", "did", "detail")]
    rows = [
        [
            tables.time(d.at),
            escape(d.by),
            escape(said(d.action, language)),
            escape(tables.short(detail(d.action, d.detail, language), 200)),
        ]
        for d in found
    ]
    return tables.table(head, rows)


def _secret(secret: str, language: Language) -> str:
    copy = f"<button type='button' class='act' data-copy>{text('keys.copy', language)}</button>"
    return f"<p role='status'>{escape(text('keys.once', language))}<br><code>{escape(secret)}</code> {copy}</p>"


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise BadInput(f"there is no role {name[:40]!r}: it is one of {', '.join(Role)}") from None
