"""`ragsaver keys`: who may ask the server from elsewhere, in whose name, and for how long."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import UsageError
from ragsaver.settings_file import load_settings
from ragsaver.timestamps import iso

if TYPE_CHECKING:
    from ragsaver.access.key import Key
    from ragsaver.access.key_store import KeyStore
    from ragsaver.access.secret import Presented
    from ragsaver.settings import Settings

app = typer.Typer(no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="As `ragsaver keys list` shows it.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@app.command("create")
def create(
    principal: Annotated[str, typer.Option(help="Who will hold it: spending is noted under this name.")],
    tenant: Annotated[
        str | None, typer.Option(help="Whose documents it works on; the setting `tenant` if none.")
    ] = None,
    groups: Annotated[str, typer.Option(help="That it reads in the name of, with commas.")] = "",
    scopes: Annotated[str, typer.Option(help="What it is for: query, ingest, admin, with commas.")] = "query",
    pipelines: Annotated[str, typer.Option(help="That it may ask, the usual one first; all if none.")] = "",
    expires: Annotated[str | None, typer.Option(help="After how long: 90d, 24h; never if none.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Only if there never was one; else nothing is made.")] = False,
    as_json: _Json = False,
) -> None:
    """Make a key. It is shown once; only a hash of it is kept."""
    with errors_told(as_json):
        from ragsaver.access.duration import seconds_of

        settings = load_settings()
        lasts_s = None if expires is None else seconds_of(expires, "--expires")
        if lasts_s == 0:
            raise UsageError("it would let nobody in", where="--expires", remedy="Write 90d, 24h or 15m")
        with _keys(settings) as keys:
            if first and keys.any():
                _show_none(as_json)
                return
            key, presented = keys.create(
                _name(principal, "--principal"),
                _name(tenant or settings.tenant, "--tenant"),
                _words(groups),
                _permissions(scopes),
                _known_pipelines(_words(pipelines), settings) or None,
                lasts_s,
            )
        _show_once(key, presented, as_json)


@app.command("list")
def list_keys(as_json: _Json = False) -> None:
    """Every key, oldest first; never what it is."""
    with errors_told(as_json):
        with _keys(load_settings()) as keys:
            found = keys.all()
        if as_json:
            print_json(json.dumps({"keys": [_shown(key) for key in found]}))
            return
        for key in found:
            say(_line(key))
        if not found:
            say("There is no key: the server answers this machine only, and asks it for none.")


@app.command("revoke")
def revoke(id: _Id, as_json: _Json = False) -> None:
    """Let a key let nobody in any more."""
    with errors_told(as_json):
        with _keys(load_settings()) as keys:
            key = keys.revoke(id)
        if as_json:
            print_json(json.dumps({"key": _shown(key)}))
        else:
            say(_line(key))


@app.command("rotate")
def rotate(
    id: _Id,
    overlap: Annotated[str, typer.Option(help="For how long the one before is good too: 24h, 0s.")] = "24h",
    as_json: _Json = False,
) -> None:
    """Give a key another secret; id, name and rights stay."""
    with errors_told(as_json):
        from ragsaver.access.duration import seconds_of

        with _keys(load_settings()) as keys:
            key, presented = keys.rotate(id, seconds_of(overlap, "--overlap"))
        _show_once(key, presented, as_json)


@contextmanager
def _keys(settings: "Settings") -> "Iterator[KeyStore]":
    from ragsaver.access.key_store import open_keys

    with closing(open_keys(settings)) as keys:
        yield keys


def _show_once(key: "Key", presented: "Presented", as_json: bool) -> None:
    if as_json:
        print_json(json.dumps({"secret": presented.text(), "key": _shown(key)}))
        return
    say(_line(key), err=True)
    say("Keep it now: it is not shown again.", err=True)
    say(presented.text())


def _show_none(as_json: bool) -> None:
    if as_json:
        print_json(json.dumps({"secret": None, "key": None}))
    else:
        say("There was a key already: none is made.", err=True)


def _shown(key: "Key") -> dict[str, Any]:
    moments = {
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "previous_good_until": key.previous_until,
    }
    return {
        "id": key.id,
        "principal": key.principal,
        "tenant": key.tenant,
        "groups": list(key.groups),
        "scopes": [str(one) for one in key.permissions],
        "pipelines": None if key.pipelines is None else list(key.pipelines),
        "state": key.state(time.time()),
        **{name: None if moment is None else iso(moment) for name, moment in moments.items()},
    }


def _line(key: "Key") -> str:
    until = f", until {iso(key.expires_at)}" if key.expires_at else ""
    groups = f" in {', '.join(key.groups)}" if key.groups else ""
    return (
        f"{key.id}  {key.state(time.time()):<8} {key.principal} of {key.tenant}{groups}: "
        f"{', '.join(key.permissions)}{until}"
    )


def _words(text: str) -> list[str]:
    return [word for one in text.split(",") if (word := one.strip())]


def _name(text: str, option: str) -> str:
    if not (0 < len(text) <= 64 and all(one.isalnum() or one in "._-@" for one in text) and text.isascii()):
        raise UsageError(
            f"`{text}` is no name", where=option, remedy="Use up to 64 letters, digits, dots, dashes, underscores, @"
        )
    return text


def _permissions(text: str) -> list[Any]:
    from ragsaver.access.identity import Permission

    words = _words(text)
    unknown = [word for word in words if word not in list(Permission)]
    if unknown or not words:
        raise UsageError(
            f"there is no scope `{', '.join(unknown)}`" if unknown else "a key is for something",
            where="--scopes",
            remedy=f"Take some of these: {', '.join(Permission)}",
        )
    return [Permission(word) for word in words]


def _known_pipelines(names: list[str], settings: "Settings") -> list[str]:
    if names:
        from ragsaver.settings import quiet_haystack

        quiet_haystack()
        from ragsaver.pipelines.places import find_pipeline

        for name in names:
            find_pipeline(name, settings.pipelines_dir)
    return names
