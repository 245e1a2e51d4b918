"""A model that a chat generator of the team's own asks: the whole way from question to bill."""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tests import foreign_generators
from tests.commands import as_json, run, serving
from tests.e2e.test_with_a_model import streamed
from tests.foreign_generators import ANTHROPIC
from tests.openai_server import Script, openai_server

QUESTION = "Who issues the export permit for parrots?"
GUIDE = (
    "# Parrots\n\nParrots need an export permit before they may cross a border. The permit is issued by the "
    "veterinary office.\n"
)
SETTINGS = """generation:
  extractive_first: false
  models:
    - name: tiny
      max_retries: 0
      max_output_tokens: 300
      generator:
        type: house.{kind}
        output_limit: most_tokens
        init_parameters:
          url: "{url}"
          api_key: {{type: env_var, env_vars: [HOUSE_KEY], strict: false}}
          generation_kwargs: {{style: dry}}
spend:
  prices:
    tiny: {{input_per_mtok: 1, cached_input_per_mtok: 0.5, output_per_mtok: 10}}
"""


@pytest.fixture
def script() -> Script:
    return Script(reply="The veterinary office issues it [1].", usage=ANTHROPIC)


@pytest.fixture
def project(tmp_path: Path, script: Script, request: pytest.FixtureRequest):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(GUIDE)
    shutil.copy(foreign_generators.__file__, tmp_path / "house.py")
    with openai_server(script) as url:
        (tmp_path / "ragsaver.yaml").write_text(SETTINGS.format(kind=request.param, url=url))
        run(tmp_path, "ingest", "docs")
        yield tmp_path


every_kind = pytest.mark.parametrize("project", ["Blocking", "Whole", "Both"], indirect=True)


@every_kind
def test_an_answer_has_its_bill_its_limit_and_its_stream(project: Path, script: Script, request: pytest.FixtureRequest):
    kind = request.node.callspec.params["project"]
    result = as_json(project, "ask", QUESTION)
    assert (result["answer"], result["route"]["tier"]) == (script.reply, "small")
    assert result["receipt"]["tokens"] == {"input": 60, "cached_input": 40, "output": 20, "reasoning": 0}
    assert Decimal(str(result["receipt"]["cost_usd"])) == Decimal("0.00028")
    assert (script.requests[-1]["most_tokens"], script.requests[-1]["style"]) == (192, "dry")

    with serving(project) as url:
        events = streamed(url, f"Now: {QUESTION}")
        pieces = [data for kind, data in events if kind == "delta"]
        assert "".join(pieces).strip() == json.loads(events[-1][1])["answer"] == script.reply
        assert kind == "Whole" or len(pieces) > 2
        script.statuses = [500]
        failed = httpx.post(f"{url}/v1/query", json={"query": f"Then: {QUESTION}"}, timeout=60)
        assert (failed.status_code, failed.json()["title"]) == (502, "Generation failed")
        assert f"{kind} at http://" in failed.text and "HTTP 500" in failed.text
    # two that the client told of, and one that may have used all that was held for it
    assert as_json(project, "usage")["total"]["cost_usd"] > 2 * 0.00028 + 192 * 0.00001


@every_kind
def test_doctor_says_that_it_did_not_probe_and_what_is_wrong(project: Path, script: Script):
    asked = len(script.requests)
    (row,) = (one for one in as_json(project, "doctor")["checks"] if one["check"] == "generation")
    assert row["ok"] and "not probed" in row["detail"] and len(script.requests) == asked
    file = project / "ragsaver.yaml"
    file.write_text(file.read_text().replace("        output_limit: most_tokens\n", ""))
    (row,) = (one for one in as_json(project, "doctor", code=2)["checks"] if one["check"] == "generation")
    assert not row["ok"] and "output_limit" in row["detail"]
    error = as_json(project, "ask", QUESTION, code=2)["error"]
    assert "output_limit" in json.dumps(error)
