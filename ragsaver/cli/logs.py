"""`ragsaver logs`: what was kept of questions, contexts and answers, and how to be rid of it."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import UsageError
from ragsaver.settings_file import load_settings
from ragsaver.timestamps import iso

if TYPE_CHECKING:
    from ragsaver.logs.policy import Said

app = typer.Typer(no_args_is_help=True)

_Tenant = Annotated[str | None, typer.Option(help="Of this tenant only.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@app.command("show")
def show(
    tenant: _Tenant = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
    as_json: _Json = False,
) -> None:
    """What was kept, as the policy left it."""
    with errors_told(as_json):
        from ragsaver.logs.content_store import ContentStore

        with closing(ContentStore(load_settings().home)) as store:
            found = list(store.all(tenant, limit))
        if as_json:
            print_json(json.dumps({"entries": [_shown(policy, said) for policy, said in found]}))
            return
        for policy, said in found:
            say(f"{iso(said.at)}  {said.request_id}  {said.tenant}  {policy}, {said.outcome}")
            say(f"    {said.question}\n    {said.answer or '-'}")


@app.command("purge")
def purge(
    tenant: _Tenant = None,
    principal: Annotated[str | None, typer.Option(help="Of this one only, as its API key names it.")] = None,
    before: Annotated[
        str | None, typer.Option(help="What is older than this: a day, 2026-11-01 (UTC), or an age, 30d, 12h.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Delete for good what meets every condition; at least one has to be named."""
    with errors_told(as_json):
        from ragsaver.logs.content_store import ContentStore

        if tenant is None and principal is None and before is None:
            raise UsageError(
                "nothing is named that should go", remedy="Name --tenant, --principal or --before; --before 0s is all"
            )
        until = None if before is None else _moment(before)
        with closing(ContentStore(load_settings().home)) as store:
            deleted = store.purge(tenant, until, principal)
        if as_json:
            print_json(json.dumps({"deleted": deleted}))
        else:
            say(f"{deleted} entries deleted")


def _moment(text: str) -> float:
    """Seconds since 1970."""
    from ragsaver.access.duration import seconds_of

    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    return datetime.now(UTC).timestamp() - seconds_of(text, "--before")


def _shown(policy: str, said: "Said") -> dict[str, Any]:
    return {
        "at": iso(said.at),
        "policy": policy,
        "request_id": said.request_id,
        "tenant": said.tenant,
        "principal": said.principal,
        "pipeline": said.pipeline,
        "outcome": said.outcome,
        "question": said.question,
        "contexts": list(said.contexts),
        "answer": said.answer,
    }
