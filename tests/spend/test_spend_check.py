"""What of prices and budgets in the settings would harm without a word is said by `ragsaver doctor`."""

import json
from pathlib import Path

import pytest

from tests.commands import as_json, run


def told(project: Path, models: list[str], **spend: object) -> dict:
    named = (
        {"generation": {"models": [{"name": name, "base_url": "http://127.0.0.1:1/v1"} for name in models]}}
        if models
        else {}
    )
    (project / "ragsaver.yaml").write_text(json.dumps({**named, "spend": spend}))
    code = 2 if models else 0  # nobody answers there
    checks = json.loads(run(project, "doctor", "--json", code=code).stdout.splitlines()[-1])["checks"]
    return next(row for row in checks if row["check"] == "spend")


@pytest.mark.parametrize(
    ("scope", "name", "there"),
    [
        ("tenant", "default", True),
        ("tenant", "acme", True),
        ("tenant", "amce", False),
        ("principal", "acme/bob", True),
        ("principal", "default/bob", False),
        ("pipeline", "reranked", True),
        ("pipeline", "qurey", False),
        ("total", None, True),
        ("tenant", None, True),
    ],
)
def test_a_budget_that_names_nobody_is_told(shared: Path, scope: str, name: str | None, there: bool):
    row = told(shared, [], budgets=[{"scope": scope, "name": name, "period": "day", "limit_usd": 1}])
    assert (row["ok"], row["warning"]) == (True, not there)
    assert there or f"the budget of {scope} `{name}` per day limits nobody known here" in row["detail"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("project")
    as_json(project, "keys", "create", "--principal", "bob", "--tenant", "acme")
    return project


@pytest.mark.parametrize(("wish", "becomes"), [("refuse", "is not asked"), ("upper_bound", "at an upper price")])
def test_a_model_without_a_price_is_told(tmp_path: Path, wish: str, becomes: str):
    prices = {"mine": {"input_per_mtok": 1, "output_per_mtok": 2}}
    row = told(tmp_path, ["mine", "nobody-s"], unknown_price=wish, prices=prices)
    assert row["warning"] and row["detail"].startswith("`nobody-s` is ") and becomes in row["detail"]
    assert not told(tmp_path, ["mine"], prices=prices)["warning"]
