"""What is deployed asks only for metrics that there are, and Prometheus' own tool finds its rules right."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ragsaver.ingestion.jobs import JobStore
from ragsaver.workers.backlog import Backlog
from ragsaver.workers.gpu import GpuReading
from ragsaver.workers.metrics import IngestionMetrics
from ragsaver.workers.price_reading import PriceReading
from ragsaver.workers.readings import QueueReading
from ragsaver.workers.scaling import Policy

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KEDA = DEPLOY / "keda" / "scaledobject.yaml"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
WORDS = {"by", "on", "bool", "and", "or", "unless"}
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def scaled_object() -> dict:
    return next(one for one in yaml.safe_load_all(KEDA.read_text()) if one["kind"] == "ScaledObject")["spec"]


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    asked = [trigger["metadata"].get("query") for trigger in scaled_object()["triggers"]]
    return [rule["expr"] for rule in rules()] + [query for query in asked if query]


def names(query: str) -> set[str]:
    """The metrics of an expression: words that are no function, label, duration or keyword."""
    query = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) ?\([^)]*\)", " ", query)
    return set(re.findall(r"\b[a-z_][a-z_0-9]*\b(?!\s*\()", query)) - WORDS


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Names of samples, and the values that their labels take."""
    metrics = IngestionMetrics()
    metrics.registry.register(GpuReading(lambda: [0.5], metrics.embedded))
    jobs = JobStore(tmp_path_factory.mktemp("jobs") / "jobs.sqlite")
    metrics.registry.register(QueueReading(Backlog(jobs)))
    metrics.registry.register(PriceReading(lambda: {"nobody-knows-it": 1}))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(f"{key}={value}" for key, value in sample.labels.items())
    jobs.close()
    return found


@pytest.mark.parametrize("query", queries())
def test_a_query_names_only_metrics_and_labels_that_are_exposed(query, exposed):
    assert names(query) and names(query) <= set(exposed)
    for metric, matchers in re.findall(r"(\w+)\{([^}]*)\}", query):
        for label, value in re.findall(r'(\w+)!?="([^"]*)"', matchers):
            assert f"{label}={value}" in exposed[metric]


def test_every_alert_says_what_is_wrong_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"] and rule["annotations"]["remedy"]


def test_every_alert_is_shown_to_fire():
    shown = (ALERTS.parent / "alerts.test.yaml").read_text()
    assert {rule["alert"] for rule in rules()} == set(re.findall(r'alertname="(\w+)"', shown))


def test_the_scaler_takes_half_at_most_after_the_cool_down_like_the_controller():
    spec, policy = scaled_object(), Policy()
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == spec["cooldownPeriod"] == policy.cooldown_s
    assert behaviour["scaleDown"]["policies"] == [{"type": "Percent", "value": 50, "periodSeconds": 120}]
    assert spec["minReplicaCount"] == policy.min_workers
    assert spec["minReplicaCount"] < spec["fallback"]["replicas"] < spec["maxReplicaCount"]


def test_the_triggers_are_of_the_kind_that_the_fallback_is_for():
    triggers = scaled_object()["triggers"]
    assert [trigger["type"] for trigger in triggers] == ["redis", "prometheus"]
    assert {trigger["metricType"] for trigger in triggers} == {"AverageValue"}
    # KEDA reads metadata as strings only
    assert all(isinstance(value, str) for trigger in triggers for value in trigger["metadata"].values())


@promtool
@pytest.mark.parametrize("what", [("check", "alerts.yaml"), ("test", "alerts.test.yaml")], ids=lambda what: what[0])
def test_prometheus_finds_the_rules_right(what):
    kind, file = what
    done = subprocess.run(["promtool", kind, "rules", file], cwd=ALERTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
