"""Commands about accounts: who may log in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from app.house import AsJson, house_of
from assistant.terminal import (
    out,
    print_json,
    print_table,
)
from memory.accounts import Account, Role
from memory.errors import BadInput

if TYPE_CHECKING:
    from assistant.accounts import Accounts

cli = typer.Typer(no_args_is_help=True, help="Who may log in: add, list, change and remove accounts.")


FromStdin = Annotated[bool, typer.Option("--password-stdin", help="read it from there instead of asking")]
COMMAND_LINE = "the command line"


@cli.command("add")
def users_add(
    context: typer.Context,
    name: str,
    role: Annotated[Role | None, typer.Option(help="user unless it is the first account: that is an admin's")] = None,
    from_stdin: FromStdin = False,
) -> None:
    """Make an account. The first one owns what was said so far, and from then on everybody logs in."""
    accounts = house_of(context).accounts()
    role = role or (Role.USER if accounts.needed else Role.ADMIN)
    made = accounts.add(name, _password(from_stdin=from_stdin), role, by=COMMAND_LINE)
    out.print(f"{escape(made.name)} may log in, as {made.role}", highlight=False)


@cli.command("list")
def users_list(context: typer.Context, as_json: AsJson = False) -> None:
    """The accounts, oldest first."""
    found = house_of(context).records.accounts()
    if as_json:
        print_json(
            [{"id": a.id, "name": a.name, "role": a.role, "created_at": a.created_at.isoformat()} for a in found]
        )
        return
    rows = [[a.name, a.role, f"{a.created_at:%Y-%m-%d %H:%M}"] for a in found]
    print_table(["name", "role", "made"], rows, none="no account yet: whoever uses this machine is its one user")


@cli.command("role")
def users_role(context: typer.Context, name: str, role: Role) -> None:
    """Make somebody user, teacher or admin."""
    accounts = house_of(context).accounts()
    accounts.set_role(_named(accounts, name).id, role, by=COMMAND_LINE)
    out.print(f"{escape(name)} is {role}", highlight=False)


@cli.command("password")
def users_password(context: typer.Context, name: str, from_stdin: FromStdin = False) -> None:
    """Set a new password; all browsers of the account are logged out."""
    accounts = house_of(context).accounts()
    accounts.set_password(_named(accounts, name).id, _password(from_stdin=from_stdin), by=COMMAND_LINE)
    out.print(f"{escape(name)} has a new password", highlight=False)


@cli.command("remove")
def users_remove(context: typer.Context, name: str) -> None:
    """Remove an account with its sessions and keys. What was said under it stays."""
    accounts = house_of(context).accounts()
    accounts.remove(_named(accounts, name).id, by=COMMAND_LINE)
    out.print(f"{escape(name)} may not log in any more", highlight=False)


def _named(accounts: Accounts, name: str) -> Account:
    found = [account for account in accounts.all() if account.name.casefold() == name.strip().casefold()]
    if not found:
        raise BadInput(f"there is no account {name[:40]!r}: see nightschool users list")
    return found[0]


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
