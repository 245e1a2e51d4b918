"""What a command says: one JSON object on stdout for scripts, words for people, errors with their remedy."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ragsaver.errors import RagSaverError, StorageError

INCOMPLETE = 3
_ENOSPC = 28


def print_json(model_json: str) -> None:
    """The last line of stdout."""
    sys.stdout.write(model_json + "\n")
    sys.stdout.flush()


@contextmanager
def errors_told(as_json: bool) -> Iterator[None]:
    """Turn errors into a message and an exit code by the contract."""
    try:
        yield
    except RagSaverError as error:
        _tell(error, as_json)
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        if error.errno != _ENOSPC:
            raise
        _tell(StorageError("the disk is full", remedy="Free some space and run the command again"), as_json)
        raise typer.Exit(StorageError.exit_code) from None
    except KeyboardInterrupt:
        _tell(RagSaverError("stopped", remedy="What is in stays: run the same command again to complete it"), as_json)
        raise typer.Exit(INCOMPLETE) from None


def _tell(error: RagSaverError, as_json: bool) -> None:
    typer.echo(f"ragsaver: {error}", err=True)
    if as_json:
        fields = {
            "title": error.title,
            "problem": error.problem,
            "where": error.where,
            "remedy": error.remedy,
        }
        print_json(json.dumps({"error": fields}))
