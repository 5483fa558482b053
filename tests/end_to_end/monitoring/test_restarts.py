"""Counters over deaths of the coordinator, and metrics where they were asked for."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import Until
from tests.end_to_end.conftest import MakeStudy

import batchpilot as bp
from batchpilot import control
from batchpilot.checkup.running import check_running


def get(address: str, token: str = "") -> str:
    request = urllib.request.Request(f"http://{address}/metrics")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - only on loopback
        return str(answer.read().decode())


def counters(address: str) -> dict[str, float]:
    """Return what never may go back."""
    return {
        f"{sample.name} {sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(get(address))
        for sample in family.samples
        if sample.name.startswith("batchpilot")
        and sample.name.endswith(("_total", "_bucket", "_count", "_sum"))
    }


def office(registry: bp.Registry) -> tuple[int, str]:
    state = control.coordinator_status(registry.paths)
    return state["pid"] or 0, state["metrics"] or ""


def test_no_counter_goes_back_when_the_coordinator_is_killed(
    make_study: MakeStudy, until: Until
) -> None:
    registry = make_study()
    registry.batch_map(abs, x=range(300))
    registry.submit_jobs()
    registry.wait_for_jobs(progress=False)
    done = "batchpilot_jobs_finished_total [('outcome', 'done'), "
    pid, address = office(registry)
    until(lambda: any(k.startswith(done) and v == 300 for k, v in counters(address).items()))
    before = counters(address)

    os.kill(pid, signal.SIGKILL)
    until(lambda: office(registry)[0] not in {0, pid} and office(registry)[1])
    after = counters(office(registry)[1])

    assert len(before) > 50
    assert {name for name, value in before.items() if after.get(name, 0) < value} == set()
    assert [v for k, v in after.items() if k.startswith(done)] == [300]


def test_metrics_are_where_the_configuration_file_says_and_ask_for_its_token(
    make_study: MakeStudy, port: int, tmp_path: Path, until: Until
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("letmein\n")
    (tmp_path / "batchpilot.toml").write_text(
        f'[metrics]\nlisten = "127.0.0.1:{port}"\ntoken_file = "{token}"\n'
    )
    make_study.watch(tmp_path / "guarded")
    registry = bp.make_registry(
        tmp_path / "guarded", work_dir=tmp_path, conf_file=tmp_path / "batchpilot.toml"
    )
    control.start(registry.paths)
    until(lambda: office(registry)[1])
    address = office(registry)[1]

    assert address == f"127.0.0.1:{port}"
    assert "batchpilot_build_info" in get(address, "letmein")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(address, "wrong")
    findings = [f for f in check_running(registry.paths) if f.check == "metrics"]
    assert [(f.health, f.text) for f in findings] == [
        ("ok", f"at {address}, for those who have the token")
    ]
    registry.close()
