"""compose.yaml: no engine runs here; it is checked by schema, by references, and part by part."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.deploy.tools import HOUSE, broker_started, known_variables, parsed, read_yaml

from batchpilot.configuration import configuration
from batchpilot.pools import External
from batchpilot_broker.connect import connect
from batchpilot_broker.errors import BatchpilotError, BrokerRefused


DEPLOY = HOUSE / "deploy"
COMPOSE = read_yaml(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("coordinator", "agents")
PASSWORD = "0123456789abcdef"  # noqa: S105 - of a broker that lives for one test

services = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
Service = dict[str, Any]


def test_it_is_what_the_specification_of_compose_allows() -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))

    assert [error.message for error in Draft202012Validator(schema).iter_errors(COMPOSE)] == []
    wrong = {**COMPOSE, "services": {"x": {"imagge": "y"}}}
    assert not Draft202012Validator(schema).is_valid(wrong)


@pytest.mark.parametrize("name", OURS)
def test_our_command_line_understands_what_containers_are_told(name: str) -> None:
    command, parameters = parsed(SERVICES[name]["command"])

    assert command in {"coordinator run", "agents run"}
    assert parameters["directory"] == "/registry/study"
    assert parameters["stay"]


@services
def test_all_that_is_referred_to_is_there(service: Service) -> None:
    volumes = [volume.split(":") for volume in service.get("volumes", ())]

    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert {c["source"] for c in service.get("configs", ())} <= COMPOSE["configs"].keys()
    assert set(service.get("depends_on", ())) <= SERVICES.keys()
    for source, *_ in volumes:
        assert (DEPLOY / source).exists() if "/" in source else source in COMPOSE["volumes"]


def test_files_of_configurations_are_there() -> None:
    named = [DEPLOY / config["file"] for config in COMPOSE["configs"].values()]

    assert named
    assert [path for path in named if not path.is_file()] == []


@services
def test_containers_have_no_rights_that_they_do_not_need(service: Service) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


@services
def test_images_have_a_version(service: Service) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"])


@services
def test_ports_are_open_to_this_machine_only(service: Service) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@services
def test_no_secret_stands_in_environment_or_arguments(service: Service) -> None:
    for name, value in service.get("environment", {}).items():
        assert name.endswith("FILE") or "PASSWORD" not in name
        assert "PASSWORD" not in name or value.startswith("/run/secrets/")
    assert "password=" not in str(service.get("command"))


def test_batchpilot_reads_the_variables_that_are_set() -> None:
    named = {name for service in OURS for name in SERVICES[service].get("environment", {})}

    assert named
    assert named <= known_variables()


def test_agents_need_no_secret_and_the_coordinator_has_a_lasting_name() -> None:
    assert "secrets" not in SERVICES["agents"]
    assert "environment" not in SERVICES["agents"]
    assert SERVICES["coordinator"]["hostname"]
    assert "hostname" not in SERVICES["agents"]


def test_the_pool_of_the_registry_is_the_one_of_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    conf = configuration(DEPLOY / "compose" / "batchpilot.toml")
    _, parameters = parsed(SERVICES["agents"]["command"])

    assert conf.pools is not None
    (pool,) = conf.pools
    assert isinstance(pool, External)
    assert (pool.name, pool.slots) == (parameters["pool"], parameters["slots"])
    assert SERVICES["agents"]["deploy"]["replicas"] <= pool.max_agents


def test_agents_have_time_to_hand_back_their_jobs() -> None:
    _, parameters = parsed(SERVICES["agents"]["command"])
    grace = parameters["grace"] or 10.0

    assert int(SERVICES["agents"]["stop_grace_period"].removesuffix("s")) > grace + 20


def test_the_broker_comes_up_with_the_password_and_turns_others_away(tmp_path: Path) -> None:
    service = SERVICES["broker"]
    script = service["command"][0].replace("$$", "$")
    conf = (DEPLOY / COMPOSE["configs"]["valkey"]["file"]).read_text()
    assert service["entrypoint"] == ["sh", "-euc"]

    files = {"/run/secrets/broker-password": PASSWORD, "/etc/valkey/valkey.conf": conf}
    with broker_started(script, files, tmp_path, PASSWORD) as (process, access):
        client = connect(access)
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        client.close()
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"valkey-server" in line  # the shell has become it, so signals reach it
        assert PASSWORD.encode() not in line
        wrong = replace(access, password=PASSWORD[::-1])
        with pytest.raises(BrokerRefused):
            connect(wrong)


def test_prometheus_looks_where_the_coordinator_shows_its_metrics() -> None:
    conf = read_yaml(DEPLOY / "compose" / "prometheus.yml")
    _, parameters = parsed(SERVICES["coordinator"]["command"])
    port = parameters["metrics_listen"].rpartition(":")[2]

    assert conf["scrape_configs"][0]["static_configs"] == [{"targets": [f"coordinator:{port}"]}]


def test_grafana_finds_its_source_and_its_dashboards() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = read_yaml(provisioning / "datasources" / "batchpilot.yaml")["datasources"]
    (provider,) = read_yaml(provisioning / "dashboards" / "batchpilot.yaml")["providers"]
    mounts = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    scraped = read_yaml(DEPLOY / "compose" / "prometheus.yml")["global"]

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]
    assert provider["options"]["path"] in mounts


def test_the_example_of_a_configuration_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")

    conf = configuration(DEPLOY / "batchpilot.toml")

    assert conf.seed == 1
    assert conf.pools is not None
    assert [pool.name for pool in conf.pools] == ["local", "elsewhere"]
    assert conf.default_resources["walltime"] == 3600


def test_the_example_says_all_that_can_be_said(tmp_path: Path) -> None:
    text = (DEPLOY / "batchpilot.toml").read_text()
    wrong = tmp_path / "batchpilot.toml"
    wrong.write_text("[registry]\nx = 1\n[y]\n")

    with pytest.raises(BatchpilotError) as caught:
        configuration(wrong)

    known = re.findall(r"\w+", caught.value.remedy.partition("known are")[2])
    assert {"registry", "pools", "default_resources"} <= set(known)
    assert [word for word in known if word not in text] == []
