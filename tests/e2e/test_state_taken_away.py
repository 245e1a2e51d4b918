"""State that goes while somebody works with it: told with the remedy, and nothing is said to be in that is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.commands import as_json, environment, started

HEADERS = {"content-type": "application/json"}


def refused(url: str, path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with pytest.raises(HTTPError) as error:
        urlopen(Request(url + path, data, HEADERS), timeout=30)
    return json.load(error.value)


@pytest.mark.parametrize("again", [False, True])
def test_a_server_whose_state_was_removed_takes_no_document(tmp_path: Path, again: bool):
    (tmp_path / "a.md").write_text("# Owls\n\nOwls hunt voles.")
    with started(tmp_path) as (process, url, _):
        shutil.rmtree(tmp_path / ".ragsaver")
        if again:
            as_json(tmp_path, "ingest", "a.md")
        told = refused(url, "/v1/documents", {"documents": [{"source": "b", "text": "Bees dance."}]})
        assert told["type"] == "urn:ragsaver:problem:storage-error"
        assert told["where"] == ".ragsaver" and "Start this process again" in told["remedy"]
        assert refused(url, "/readyz")["remedy"] == told["remedy"]
        process.terminate()
        assert "Traceback" not in process.stderr.read()
    assert as_json(tmp_path, "ingest", "a.md")["documents"]["unchanged"] == again
    assert as_json(tmp_path, "verify")["documents"] == 1


def test_a_command_in_a_folder_that_was_deleted_says_that_it_is_the_folder(tmp_path: Path):
    folder = tmp_path / "project"
    folder.mkdir()
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$0" -m ragsaver ingest docs', sys.executable]
    done = subprocess.run(command, cwd=folder, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2
    assert "the working folder is not there any more" in done.stderr and "Go to a folder" in done.stderr
