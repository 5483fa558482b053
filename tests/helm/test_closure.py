"""What objects refer to is there, and what containers are told is understood by what they run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.tools import broker_started, known_variables, parsed, read_yaml
from tests.helm.conftest import CHART, Rendered

from batchpilot.configuration import configuration
from batchpilot.pools import External
from batchpilot_broker.connect import connect
from batchpilot_broker.external import external_access


GIVEN = {
    ("Secret", "site-valkey"),
    ("Secret", "site-ca"),
    ("Secret", "registry-example-org"),
    ("PersistentVolumeClaim", "lustre-study"),
    ("ServiceAccount", "default"),
    ("TriggerAuthentication", "prometheus-reader"),
}
"""What the examples say that the user has."""

PASSWORD = "0123456789abcdef"  # noqa: S105 - of a broker that lives for one test
REFERENCES = {
    "claimName": "PersistentVolumeClaim",
    "secretName": "Secret",
    "serviceAccountName": "ServiceAccount",
    "serviceName": "Service",
}


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all that stands in an object, with where."""
    yield path, node
    inner = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for name, value in inner:
        yield from walk(value, (*path, str(name)))


def references(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what an object refers to."""
    for path, value in walk(found):
        last, outer = (path or ("",))[-1], path[-2] if len(path) > 1 else ""
        if last in REFERENCES:
            yield REFERENCES[last], value
        elif last == "name" and outer == "configMap":
            yield "ConfigMap", value
        elif last == "name" and outer == "secretKeyRef":
            yield "Secret", value
        elif last == "name" and outer == "scaleTargetRef":
            yield "Deployment", value
        elif last == "name" and outer == "authenticationRef":
            yield "TriggerAuthentication", value
        elif last == "name" and "imagePullSecrets" in path:
            yield "Secret", value


def selectors(found: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the labels by which an object chooses pods."""
    spec = found.get("spec", {})
    if found["kind"] == "Service":
        yield spec["selector"]
    for path, value in walk(spec, ("spec",)):
        if path[-1] == "matchLabels" and "namespaceSelector" not in path:
            yield value


def containers(rendered: Rendered) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each pod's specification with each of its containers."""
    for template in rendered.pods().values():
        for container in template["spec"]["containers"]:
            yield template["spec"], container


def test_all_that_is_referred_to_is_there(rendered: Rendered) -> None:
    there = {(found["kind"], found["metadata"]["name"]) for found in rendered.objects} | GIVEN

    wanted = {reference for found in rendered.objects for reference in references(found)}

    assert len(wanted) >= 3
    assert wanted - there == set()


def test_keys_of_secrets_and_configurations_are_there(rendered: Rendered) -> None:
    data = {
        (found["kind"], found["metadata"]["name"]): set(found["data"])
        for found in rendered.of_kind("ConfigMap", "Secret")
    }
    for template in rendered.pods().values():
        for volume in template["spec"]["volumes"]:
            secret = volume.get("secret", {})
            keys = data.get(("Secret", secret.get("secretName", "")))
            assert keys is None or {item["key"] for item in secret["items"]} <= keys


def test_every_selector_chooses_pods(rendered: Rendered) -> None:
    labels = [template["metadata"]["labels"] for template in rendered.pods().values()]

    for found in rendered.objects:
        for selector in selectors(found):
            if selector == {"kubernetes.io/metadata.name": "monitoring"}:
                continue
            chosen = [pod for pod in labels if selector.items() <= pod.items()]
            assert chosen, (found["kind"], found["metadata"]["name"], selector)


def test_a_service_monitor_chooses_a_service_and_its_port(rendered: Rendered) -> None:
    for monitor in rendered.of_kind("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        services = [
            found
            for found in rendered.of_kind("Service")
            if labels.items() <= found["metadata"]["labels"].items()
        ]
        assert len(services) == 1
        ports = {port["name"] for port in services[0]["spec"]["ports"]}
        assert {end["port"] for end in monitor["spec"]["endpoints"]} <= ports


def test_ports_that_are_named_are_ports_of_the_pods_meant(rendered: Rendered) -> None:
    named = {port["name"] for _, c in containers(rendered) for port in c.get("ports", ())}
    for _, container in containers(rendered):
        own = {port["name"] for port in container.get("ports", ())}
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(name, {})
            for how in ("httpGet", "tcpSocket"):
                assert how not in probe or probe[how]["port"] in own
    for found in rendered.of_kind("Service"):
        assert {port["targetPort"] for port in found["spec"]["ports"]} <= named
    for found in rendered.of_kind("NetworkPolicy"):
        for path, value in walk(found["spec"]):
            assert path[-1:] != ("port",) or value == 53 or value in named


def test_volumes_that_are_mounted_are_there_and_none_is_in_vain(rendered: Rendered) -> None:
    for name, template in rendered.pods().items():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        mounted = {m["name"] for c in template["spec"]["containers"] for m in c["volumeMounts"]}
        claimed = {"data"} if name.endswith("-broker") else set()
        assert mounted - volumes <= claimed
        assert volumes <= mounted


def test_our_command_line_understands_what_containers_are_told(rendered: Rendered) -> None:
    ours = [c for _, c in containers(rendered) if "command" not in c]

    commands = [parsed(container["args"]) for container in ours]

    assert sorted(name for name, _ in commands) == ["agents run", "coordinator run", "doctor"]
    assert len({parameters["directory"] for _, parameters in commands}) == 1


def test_batchpilot_reads_the_variables_that_are_set(rendered: Rendered) -> None:
    for _, container in containers(rendered):
        named = {entry["name"] for entry in container.get("env", ())}
        assert {n for n in named if n.startswith("BATCHPILOT_")} <= known_variables()


def test_the_registry_knows_the_pool_of_the_agents(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    conf = tmp_path / "batchpilot.toml"
    conf.write_text(rendered.one("ConfigMap", "-coordinator")["data"]["batchpilot.toml"])
    args = rendered.one("Deployment", "-agents")["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    _, agent = parsed(args)

    pools = configuration(conf).pools

    assert tomllib.loads(conf.read_text())
    assert pools is not None
    (pool,) = pools
    assert isinstance(pool, External)
    assert (pool.name, pool.slots, pool.memory) == (agent["pool"], agent["slots"], agent["memory"])


def test_agents_have_time_to_hand_back_their_jobs(rendered: Rendered) -> None:
    spec = rendered.one("Deployment", "-agents")["spec"]["template"]["spec"]
    _, agent = parsed(spec["containers"][0]["args"])

    assert spec["terminationGracePeriodSeconds"] > agent["grace"] + 30


def test_the_broker_is_one_that_batchpilot_would_connect_to(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, container = next(p for p in containers(rendered) if p[1]["name"] == "coordinator")
    named = {entry["name"]: entry["value"] for entry in container["env"]}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    for name in ("BATCHPILOT_BROKER_PASSWORD_FILE", "BATCHPILOT_BROKER_CA"):
        assert str(Path(named.get(name, "/tmp/x")).parent) in mounts  # noqa: S108 - any mount
        (tmp_path / name).write_text(PASSWORD)
        monkeypatch.setenv(name, str(tmp_path / name))

    access = external_access(named["BATCHPILOT_BROKER_URL"], None)

    assert access.password == PASSWORD
    (url,) = access.urls
    if rendered.of_kind("StatefulSet"):
        (service,) = [s for s in rendered.of_kind("Service") if s["metadata"]["name"] in url]
        assert url.endswith(f":{service['spec']['ports'][0]['port']}/0")


def test_only_what_must_be_reached_can_be_reached(default: Rendered) -> None:
    broker = default.one("NetworkPolicy", "-broker")["spec"]
    who = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in broker["ingress"]
        for peer in rule["from"]
    ]

    assert who == ["coordinator", "agents", "test"]
    assert broker["egress"] == []
    assert default.one("NetworkPolicy", "-agents")["spec"]["ingress"] == []


def test_containers_have_no_rights_that_they_do_not_need(rendered: Rendered) -> None:
    for pod, container in containers(rendered):
        rights = container["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_images_have_a_version_or_a_digest(rendered: Rendered) -> None:
    for _, container in containers(rendered):
        assert re.search(r"(:v?\d[\w.-]*|@sha256:[0-9a-f]{64})$", container["image"])


def test_there_is_one_coordinator_and_never_two_at_once(rendered: Rendered) -> None:
    spec = rendered.one("Deployment", "-coordinator")["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["template"]["spec"]["hostname"]


def test_no_password_stands_in_arguments_or_environment(default: Rendered) -> None:
    (secret,) = default.of_kind("Secret")
    (password,) = secret["data"].values()

    for _, container in containers(default):
        assert password not in str(container)
        assert all("valueFrom" not in entry for entry in container.get("env", ()))


def test_labels_by_which_pods_are_chosen_never_change(rendered: Rendered) -> None:
    version = read_yaml(CHART / "Chart.yaml")["version"]
    for found in rendered.of_kind("Deployment", "StatefulSet"):
        chosen = found["spec"]["selector"]["matchLabels"]
        assert set(chosen) == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }
        assert version not in chosen.values()


def test_the_broker_comes_up_with_the_password_of_the_secret(
    default: Rendered, tmp_path: Path
) -> None:
    broker = default.one("StatefulSet", "-broker")["spec"]["template"]["spec"]["containers"][0]
    conf = default.one("ConfigMap", "-broker")["data"]["valkey.conf"]
    files = {"/run/secrets/broker/password": PASSWORD, "/etc/valkey/valkey.conf": conf}
    assert broker["command"] == ["sh", "-euc"]

    with broker_started(broker["args"][0], files, tmp_path, PASSWORD) as (process, access):
        client = connect(access)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        assert b"valkey-server" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
