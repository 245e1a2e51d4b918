"""A pipeline's YAML loads, or the error names the file and what is wrong; nothing else can be imported."""

import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import PipelineError, UsageError
from ragsaver.pipelines.loader import load_pipeline
from ragsaver.pipelines.places import find_pipeline, pipeline_names


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_the_project_s_own_pipeline_wins_over_the_shipped_one(tmp_path: Path):
    shipped = find_pipeline("query", tmp_path)
    (tmp_path / "query.yaml").write_text(shipped.read_text())
    assert find_pipeline("query", tmp_path) == tmp_path / "query.yaml" != shipped


@pytest.mark.parametrize("name", ["nope", "../query", "/etc/passwd", "", "a/b", "query.yaml"])
def test_a_name_that_is_none_lists_those_that_are(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match=r"there is no pipeline.*Pipelines here: outlined, query, reranked, search"):
        find_pipeline(name, tmp_path)
    assert pipeline_names(tmp_path) == ["outlined", "query", "reranked", "search"]


QUERY = find_pipeline("query", Path()).read_text()
RETRIEVER = "ragsaver.components.retriever.HybridRetriever"
PACKER = "ragsaver.components.packer.ContextPacker"
TO_PACKER = "  - {sender: retriever.documents, receiver: packer.documents}\n"
# Each line holds the one above twice, by YAML's merge key.
LAUGHS = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [*{above}, *{above}]}}\n" for above, name in pairwise("abcdefghijklmnopqrstuvw")
)

LOOP = """  one: {type: ragsaver.components.deduplicator.NearDuplicateFilter}
  other: {type: ragsaver.components.deduplicator.NearDuplicateFilter}
connections:
  - {sender: one.documents, receiver: other.documents}
  - {sender: other.documents, receiver: one.documents}
"""


def edited(before: str, after: str) -> str:
    assert before in QUERY
    return QUERY.replace(before, after, 1)


def taking(component: str, parameters: str) -> str:
    return edited(f"{component}\n    init_parameters: {{}}", f"{component}\n    init_parameters: {parameters}")


@pytest.mark.parametrize(
    ("text", "at", "problem", "remedy"),
    [
        # no pipeline at all
        ("components: [", "", "is not valid YAML", None),
        ("components: &it\n  a: *it", "components", "is not valid YAML: what an alias names holds that alias", None),
        (LAUGHS, "o: &o", "is not valid YAML: its aliases make more than 100000 keys of it", None),
        ("components: " + "{a: " * 500, "components", "is not valid YAML: more than 64 levels lie in each other", None),
        ("", "", "needs `components`", "ragsaver init"),
        ("just words", "", "needs `components`", "ragsaver init"),
        ("components: []", "components", "needs `components`", "ragsaver init"),
        ("components: !!python/object/apply:os.system [ls]", "components", "is not valid YAML", None),
        # a component's name, its keys, its class
        (edited("prompt_builder: #", "packer: #"), "packer: # stable", "stands there twice", "another name"),
        (edited("init_parameters", "init_params"), "init_params:", "unknown key `init_params`", "`init_parameters`"),
        (edited(f"    type: {PACKER}\n", ""), "packer:", "component `packer` has no `type`", "class"),
        (edited("HybridRetriever", "HybridRetreiver"), "Retreiver", "there is no", f"`{RETRIEVER}`"),
        (edited("components.retriever", "components.retreiver"), "retreiver", "there is no", f"`{RETRIEVER}`"),
        (edited(RETRIEVER, "os.path.join"), "os.path", "`os.path`, which may not be loaded", "allow_modules: [os]"),
        (
            edited(RETRIEVER, "haystack.components.rankers.LostInTheMiddleRanker"),
            "rankers",
            "there is no `haystack.components.rankers.LostInTheMiddleRanker`",
            "haystack.components.rankers.lost_in_the_middle.LostInTheMiddleRanker",
        ),
        # its parameters
        (taking(RETRIEVER, "{topk: 5}"), "{topk", "no parameter `topk`", "`top_k`"),
        (taking(RETRIEVER, "{top_k: ten}"), "{top_k", "not allowed (given: 'ten')", "valid integer"),
        (taking(RETRIEVER, "{top_k: 2.5}"), "{top_k", "not allowed (given: 2.5)", "valid integer"),
        (taking(RETRIEVER, "{top_k: true}"), "{top_k", "not allowed (given: True)", "valid integer"),
        (taking(RETRIEVER, "{fusion: [rrf]}"), "{fusion", "not allowed", "valid string"),
        (taking(RETRIEVER, "{fusion: rff}"), "{fusion", "fusion must be one of minmax, zscore, rrf, dbsf", "takes"),
        (taking(RETRIEVER, "[5]"), "[5]", "must hold names and values", "{}"),
        (taking(PACKER, "{complete_from: most}"), "{complete_from", "not allowed", "valid number"),
        (taking(PACKER, "{budget_tokens: 0}"), "{budget_tokens", "must be at least 1, got 0", "complete_from"),
        (
            edited(
                "CitedAnswerBuilder\n    init_parameters: {}", "CitedAnswerBuilder\n    init_parameters: {quote: 1}"
            ),
            "{quote",
            "no parameter `quote`",
            "none",
        ),
        # connections
        (edited("connections:", "conections:"), "conections", "unknown key `conections`", "`connections`"),
        (edited(TO_PACKER, "  - retriever.documents\n"), "- retriever", "needs a `sender` and a `receiver`", "Write"),
        (
            edited("sender: retriever", "sender: retreiver"),
            "retreiver.",
            "`retreiver.documents` is of no",
            "`retriever`",
        ),
        (edited("packer.documents}", "packer.document}"), "document}", "Input connections of packer are", None),
        (edited("sender: retriever.documents", "sender: generator.replies"), "packer.documents}", "do not match", None),
        (edited(TO_PACKER, ""), "packer:", "component `packer` gets no `documents`", "sender: retriever.documents"),
        (f"components:\n{LOOP}", "one:", "`one` and `other` can never run", "circle"),
        (f"{QUERY}max_runs_per_component: 0\n", "max_runs", "whole number above 0, got 0", None),
    ],
)
def test_what_is_wrong_with_a_yaml_is_named_with_its_line_and_a_remedy(
    tmp_path: Path, text: str, at: str, problem: str, remedy: str | None
):
    file = written(tmp_path, text)
    with pytest.raises(PipelineError) as caught:
        load_pipeline(file)
    error = caught.value
    line = next((number for number, one in enumerate(text.splitlines(), start=1) if at in one), 1)
    assert error.where == f"{tmp_path.name}/mine.yaml:{line}"
    assert problem in error.problem and (remedy or "") in (error.remedy or "")
    assert "\n" not in str(error) and "unsafe" not in str(error)


@given(st.integers(0, len(QUERY)), st.integers(1, 40), st.sampled_from(["", " ", "\n", ":", "-", "{", "x"]))
def test_whatever_is_cut_out_of_a_pipeline_it_loads_or_says_why(at: int, length: int, instead: str):
    with TemporaryDirectory() as folder:
        file = written(Path(folder), QUERY[:at] + instead + QUERY[at + length :])
        with suppress(PipelineError):
            load_pipeline(file)


def test_a_parameter_of_another_module_s_component_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "their_parts.py").write_text(
        "from haystack import component\n\n\n@component\nclass Part:\n    def __init__(self, size: float = 1):\n"
        "        self.size = 1 / size\n\n    @component.output_types(said=str)\n    def run(self, query: str):\n"
        "        return {'said': query}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def told(parameters: str) -> str:
        text = f"components: {{a: {{type: their_parts.Part, init_parameters: {parameters}}}}}"
        with pytest.raises(PipelineError) as caught:
            load_pipeline(written(tmp_path / "pipelines", text), None, ["their_parts"])
        return str(caught.value)

    assert "component `a` has no parameter `sise`. Did you mean `size`?" in told("{sise: 2}")
    assert "component `a` can't be made: division by zero. Part takes: size" in told("{size: 0}")


def test_an_extra_that_a_component_lacks_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    kind = "ragsaver.components.lexical_retriever.LexicalRetriever"
    with pytest.raises(PipelineError, match=r"component `a` can't be made: .*rank.bm25.*pip install"):
        load_pipeline(written(tmp_path, f"components: {{a: {{type: {kind}}}}}"))


def test_a_module_that_the_operator_did_not_name_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    file = written(tmp_path / "pipelines", "components: {a: {type: evil_module.Thing, init_parameters: {}}}")
    with pytest.raises(PipelineError, match="allow_modules"):
        load_pipeline(file)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_no_text_is_named(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineError, match="can't be read"):
        load_pipeline(file)
