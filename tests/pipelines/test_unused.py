"""Who sets what no component uses is told so, and nobody else is told anything."""

from pathlib import Path

import pytest

from ragsaver.errors import UsageError
from ragsaver.pipelines.unused import told_unused, unused_settings
from ragsaver.settings import Settings
from tests.commands import as_json, run, started

RETRIEVER, RERANKER = "ragsaver.components.retriever.HybridRetriever", "ragsaver.components.rerank.ConditionalReranker"
BARE = f"components:\n  r:\n    type: {RETRIEVER}\n    init_parameters: {{}}\nconnections: []\n"


def told(folder: Path, pipeline: str | None = None, **sections: object) -> list[str]:
    return unused_settings(Settings.model_validate({"pipelines_dir": folder, **sections}), pipeline)


@pytest.mark.parametrize("mode", ["always", "gated"])
def test_a_mode_of_reranking_is_told_where_nothing_that_answers_reranks(tmp_path: Path, mode: str):
    (one,) = told(tmp_path, rerank={"mode": mode})
    assert f"`rerank.mode: {mode}` changes searches alone" in one and "`query.pipeline: reranked`" in one
    (tmp_path / "search.yaml").write_text(BARE)
    (one,) = told(tmp_path, rerank={"mode": mode})
    assert f"`rerank.mode: {mode}` changes nothing" in one and "in `query` or `search`" in one


def test_nothing_is_told_of_what_is_used_or_was_not_set(tmp_path: Path):
    always = {"mode": "always"}
    assert told(tmp_path) == told(tmp_path, rerank={"cache_mb": 100}) == told(tmp_path, rerank={"mode": "never"}) == []
    assert told(tmp_path, rerank=always, query={"pipeline": "reranked"}) == []
    assert told(tmp_path, "reranked", rerank=always) == []
    assert told(tmp_path, context={"budget_tokens": 200}) == []


def test_a_search_that_reranks_uses_the_mode_though_answers_do_not(tmp_path: Path):
    (tmp_path / "search.yaml").write_text(BARE.replace(RETRIEVER, RERANKER))
    assert told(tmp_path, rerank={"mode": "always"}) == []


def test_a_context_is_told_where_nothing_is_packed(tmp_path: Path):
    (tmp_path / "bare.yaml").write_text(BARE)
    (one,) = told(tmp_path, "bare", context={"budget_tokens": 200, "match": "tokens"})
    assert "`context.budget_tokens`, `context.match`" in one and "ContextPacker" in one
    with pytest.raises(UsageError, match="no pipeline `none`"):
        told(tmp_path, "none", context={"budget_tokens": 200})


def test_a_component_of_somebody_else_s_may_use_anything():
    assert len(told_unused("always", ["match"], {"mine": {RETRIEVER, "haystack.components.joiners.Joiner"}})) == 2
    assert told_unused("always", ["match"], {"mine": {RETRIEVER, "ours.parts.Reranker"}}) == []


def test_commands_and_the_server_say_it_beside_what_they_do(tmp_path: Path):
    (tmp_path / "a.md").write_text("# Owls\n\nOwls hunt voles at night.")
    (tmp_path / "b.md").write_text("# Owls\n\nOwls hunt voles at night.")
    run(tmp_path, "ingest", "a.md", "b.md")
    mode = {"RAGSAVER_RERANK__MODE": "always"}
    for command in (("ask", "What do owls hunt?", "--json"), ("search", "owls")):
        said = run(tmp_path, *command, **mode).stderr
        assert said.count("`rerank.mode: always` changes searches alone") == 1
    assert "searches alone" not in run(tmp_path, "ask", "What?", "--pipeline", "reranked", **mode).stderr
    checks = as_json(tmp_path, "doctor", **mode)
    (row,) = (row for row in checks["checks"] if row["check"] == "settings")
    assert checks["ok"] and row["ok"] and row["warning"] and "`query.pipeline: reranked`" in row["detail"]
    assert "WARN  settings" in run(tmp_path, "doctor", **mode).stdout
    with started(tmp_path, **mode) as server:
        assert "`rerank.mode: always` changes searches alone" in server.said


def test_an_explanation_says_no_tokens_of_a_passage_that_was_not_packed(tmp_path: Path):
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("# Owls\n\nOwls hunt voles at night, and the voles know it.")
    run(tmp_path, "ingest", "a.md", "b.md")
    shown = run(tmp_path, "search", "What do owls hunt?", "--explain").stdout
    assert "; not packed" in shown and "; 0 tokens" not in shown
