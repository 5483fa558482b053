"""What a real Prometheus has of a real run: every metric, every rule, every panel."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.conftest import Until
from tests.deploy.dashboards import Asked, all_queries, panel_queries

from batchpilot import control
from batchpilot.coordinator.watching.catalogue import CATALOGUE, Metric, Type

from .conftest import JOBS, Run
from .prometheus import DEPLOY, RULES, metrics_in


HOUSE = Path(__file__).parents[3]
RUNBOOK = HOUSE / "docs" / "runbook.md"
NOT_ON_A_PANEL = {
    # what it says is in a panel of a part of it, or nobody looks at it day by day
    "batchpilot_registry_measured_timestamp_seconds",
}
EXPECTED_RULES = [
    rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in EXPECTED_RULES if "alert" in rule]
RECORDED = [rule["record"] for rule in EXPECTED_RULES if "record" in rule]


def promtool(*words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here: scripts/test-deps installs it")
    return subprocess.run(
        [program, *words], input=text, capture_output=True, text=True, check=False, cwd=DEPLOY
    )


def sample_name(metric: Metric) -> str:
    return f"{metric.name}_bucket" if metric.type is Type.HISTOGRAM else metric.name


def exported_name(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def scraped(run: Run) -> str:
    address = control.coordinator_status(run.registry.paths)["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def test_promtool_finds_nothing_to_complain_of_in_the_metrics(run: Run) -> None:
    checked = promtool("check", "metrics", text=scraped(run))

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_each_metric_was_seen_by_prometheus(run: Run, metric: Metric) -> None:
    assert run.prometheus.series(sample_name(metric)) > 0


def test_the_counters_say_what_has_happened(run: Run) -> None:
    value = run.prometheus.value
    status = run.registry.get_status()

    assert (status.done, status.error, status.expired) == (JOBS - 14, 13, 1)
    for outcome in ("done", "error", "expired"):
        counted = value(f'batchpilot_jobs_finished_total{{outcome="{outcome}"}}')
        assert counted == getattr(status, outcome)
    assert value("batchpilot_job_run_duration_seconds_count") == JOBS
    assert value("batchpilot_job_queue_wait_seconds_count") == JOBS
    assert value("batchpilot_job_peak_memory_bytes_count") >= 28
    assert value('batchpilot_agents_ended_total{reason="lost"}') == 1
    assert value("batchpilot_agents_started_total") == 2
    assert value('batchpilot_jobs_requeued_total{reason="agent_lost"}') > 0
    assert value('batchpilot_jobs_requeued_total{reason="lost"}') > 0
    assert value('sum(batchpilot_job_run_duration_seconds_bucket{le="0.1"})') <= 1


def test_no_rule_fails(run: Run) -> None:
    rules = run.prometheus.rules()

    assert len(rules) == len(EXPECTED_RULES)
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


@pytest.mark.parametrize("record", RECORDED)
def test_each_recording_rule_has_recorded(run: Run, record: str) -> None:
    assert run.prometheus.series(record) > 0


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_asks_for_what_is_there(run: Run, alert: dict[str, str]) -> None:
    there = run.prometheus.names()
    recorded = set(re.findall(r"\w+:\w+:\w+", alert["expr"]))

    assert metrics_in(alert["expr"]) or recorded
    assert metrics_in(alert["expr"]) <= there
    assert recorded <= there


@pytest.mark.parametrize(
    "asked",
    [pytest.param(a, id=f"{number} {a.where}") for number, a in enumerate(panel_queries())],
)
def test_each_panel_shows_data(run: Run, asked: Asked) -> None:
    assert run.prometheus.series(asked.substituted()) > 0
    assert asked.metrics() <= run.prometheus.names()


def test_each_metric_is_on_a_panel_or_known_not_to_be() -> None:
    shown = {exported_name(name) for asked in all_queries() for name in asked.metrics()}

    assert {metric.name for metric in CATALOGUE} - shown == NOT_ON_A_PANEL


def test_nothing_of_the_users_is_in_a_label(run: Run) -> None:
    text = scraped(run)
    agents = [path.stem for path in run.registry.paths.segments.glob("local-*.results")]

    assert len(agents) == 2
    assert not any(agent in text for agent in agents)
    assert str(run.registry.file_dir) not in text
    assert run.registry.paths.secret.read_bytes().hex() not in text
    assert json.loads(run.registry.paths.broker.read_text())["password"] not in text


def test_prometheus_was_told_where_to_look(run: Run, until: Until) -> None:
    told = json.loads(run.registry.paths.targets.read_text())
    (active,) = run.prometheus.ask("targets")["activeTargets"]

    until(lambda: run.prometheus.ask("targets")["activeTargets"][0]["health"] == "up")
    assert active["scrapeUrl"] == f"http://{told[0]['targets'][0]}/metrics"


def test_promtool_understands_rules_and_configuration() -> None:
    rules = promtool("check", "rules", *RULES)
    configuration = promtool("check", "config", "prometheus.yml")

    assert rules.returncode == 0, rules.stderr
    assert configuration.returncode == 0, configuration.stderr


@pytest.mark.parametrize("name", sorted(p.name for p in (DEPLOY / "tests").glob("*.yml")))
def test_the_rules_pass_their_own_tests(name: str) -> None:
    tested = promtool("test", "rules", DEPLOY / "tests" / name)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_fires_in_a_test_and_stays_silent_in_another() -> None:
    tests = yaml.safe_load((DEPLOY / "tests" / "alerts.yml").read_text())["tests"]
    asked = [test["alert_rule_test"][0] for test in tests]
    names = {alert["alert"] for alert in ALERTS}

    assert {test["alertname"] for test in asked if test["exp_alerts"]} == names
    assert {test["alertname"] for test in asked if not test["exp_alerts"]} == names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_it_means_and_where_help_is(alert: dict[str, dict[str, str]]) -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    said = alert["annotations"]
    page, _, anchor = said["runbook_url"].partition("#")

    assert set(said) == {"summary", "description", "runbook_url"}
    assert all(said.values())
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert (HOUSE / page) == RUNBOOK
    assert anchor in [heading.lower() for heading in headings]


def test_the_runbook_has_no_section_without_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert headings == [alert["alert"] for alert in ALERTS]
