"""The manifests match the schemas of Kubernetes and have what the daemon needs."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from sockudo_queue.config import Settings
from sockudo_queue.delivery.addresses import Rules, refusal
from tests.deploy import sources
from tests.helpers.settings import read

# The first with native sidecars switched on, one in the middle, the newest that there are schemas of.
VERSIONS: Final = ("1.29", "1.33", "1.37")
# KEDA's own kind is not among the schemas of Kubernetes; the test of scaling reads it.
OF_KUBERNETES: Final = ("config.yaml", "networkpolicy.yaml", "sidecar.yaml", "standalone.yaml")


def schema_of(document: dict[str, Any], version: str) -> Draft202012Validator:
    """Return the strict schema of a document's kind: an unknown key is a fault."""
    group, _, api_version = document["apiVersion"].rpartition("/")
    name = "-".join([document["kind"].lower(), *filter(None, [group.partition(".")[0]]), api_version])
    schema = sources.schema("kubernetes_validate", f"{folder_of(version)}/{name}.json")
    return Draft202012Validator(schema, registry=definitions(version))


def folder_of(version: str) -> str:
    return f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict"


@cache
def definitions(version: str) -> Registry[Any]:
    """Return what the schemas of a version refer to. It is large, and searched for identifiers once."""
    read = sources.schema("kubernetes_validate", f"{folder_of(version)}/_definitions.json")
    registry: Registry[Any] = Registry().with_resource("_definitions.json", DRAFT202012.create_resource(read))
    return registry.crawl()


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_match_the_schemas_of_kubernetes(version: str) -> None:
    for name in OF_KUBERNETES:
        for document in sources.manifests(name):
            faults = [
                f"{error.json_path}: {error.message}" for error in schema_of(document, version).iter_errors(document)
            ]
            assert faults == [], name


def test_the_schema_is_one_that_finds_faults() -> None:
    document = sources.manifest("sidecar.yaml", "Deployment")
    [sidecar] = document["spec"]["template"]["spec"]["initContainers"]
    sidecar["livenessProb"] = sidecar.pop("livenessProbe")
    assert [error.validator for error in schema_of(document, VERSIONS[0]).iter_errors(document)] == [
        "additionalProperties"
    ]


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = sources.manifest(name, "Deployment")["spec"]["template"]["spec"]
    return found


def daemon(name: str) -> dict[str, Any]:
    containers = [*pod(name).get("initContainers", ()), *pod(name)["containers"]]
    found: dict[str, Any]
    [found] = [container for container in containers if container["name"] == "sockudo-queue"]
    return found


def test_the_sidecar_starts_first_stops_last_and_never_takes_the_server_out_of_service() -> None:
    [sidecar] = pod("sidecar.yaml")["initContainers"]
    assert sidecar["name"] == "sockudo-queue"
    assert sidecar["restartPolicy"] == "Always"
    assert "readinessProbe" not in sidecar
    for probe in ("startupProbe", "livenessProbe"):
        assert sidecar[probe]["httpGet"]["path"] == "/livez"


def test_annotation_of_a_shared_pod_names_the_servers_port() -> None:
    """A pod has one, so the daemon's own port must be found by its name."""
    template = sources.manifest("sidecar.yaml", "Deployment")["spec"]["template"]
    [server] = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    [port] = daemon("sidecar.yaml")["ports"]
    assert port["name"] == "queue-metrics"
    assert f"regex: {port['name']}," in (sources.ROOT / "docs" / "deployment.md").read_text()


def test_the_server_beside_it_only_produces() -> None:
    """By the user that its file names. A concurrency of 0 would switch its webhooks off."""
    [server] = pod("sidecar.yaml")["containers"]
    assert server["image"].endswith(":5.2.0")
    assert server["env"] == [{"name": "QUEUE_DRIVER", "value": "redis"}]
    config, _ = (document["stringData"] for document in sources.manifests("config.yaml"))
    url = json.loads(config["config.json"])["queue"]["redis"]["url_override"]
    assert url.startswith("redis://sockudo-producer:")


@pytest.mark.parametrize("name", ["sidecar.yaml", "standalone.yaml"])
def test_the_time_to_stop_is_not_that_of_the_servers_file(name: str) -> None:
    [own] = [each for each in daemon(name)["env"] if each["name"] == "QUEUE_SHUTDOWN_TIMEOUT_MS"]
    assert int(own["value"]) == Settings().reliability.shutdown_timeout_ms
    room = pod(name)["terminationGracePeriodSeconds"] * 1000 - int(own["value"])
    # A server of 5.2.0 goes down first, in 10 s and its own queue's shutdown_timeout_ms.
    assert room >= (45_000 if name == "sidecar.yaml" else 5_000)


def test_the_deployment_of_its_own_is_ready_when_the_queue_is() -> None:
    container = daemon("standalone.yaml")
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/livez"


def test_the_budget_keeps_no_node_from_being_drained() -> None:
    """Scaling may leave one replica, and an outage of Redis none that is ready."""
    budget = sources.manifest("standalone.yaml", "PodDisruptionBudget")["spec"]
    assert (budget.get("minAvailable"), budget["maxUnavailable"]) == (None, 1)
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("name", ["sidecar.yaml", "standalone.yaml"])
def test_requirements_common_to_both_manifests(name: str) -> None:
    container, whole = daemon(name), pod(name)
    settings = Settings()
    [port] = container["ports"]
    assert port["containerPort"] == settings.metrics.port
    assert {container[key]["httpGet"]["port"] for key in container if key.endswith("Probe")} == {port["name"]}
    # The drain must fit, with room for putting back.
    assert whole["terminationGracePeriodSeconds"] * 1000 >= settings.reliability.shutdown_timeout_ms + 5_000
    rights = whole.get("securityContext", {}) | container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["runAsNonRoot"] is True
    assert rights["runAsUser"] == rights["runAsGroup"] == 65532
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    # A Service called "queue" would otherwise become a variable QUEUE_PORT.
    assert whole["enableServiceLinks"] is False
    assert whole["automountServiceAccountToken"] is False
    # One thread needs one core at most, and a limit on CPU would only slow its drain.
    assert "cpu" not in container["resources"]["limits"]


def test_the_configuration_is_where_the_image_looks_and_is_one_that_the_daemon_takes(tmp_path: Path) -> None:
    for name in ("sidecar.yaml", "standalone.yaml"):
        assert {"name": "config", "mountPath": "/etc/sockudo-queue", "readOnly": True} in daemon(name)["volumeMounts"]
    assert "WORKDIR /etc/sockudo-queue" in sources.DOCKERFILE.read_text()
    secrets = {document["metadata"]["name"]: document["stringData"] for document in sources.manifests("config.yaml")}
    outcome = read(
        tmp_path,
        secrets["sockudo-config"]["config.json"].encode(),
        {"REDIS_URL": secrets["sockudo-redis"]["url"]},
        strict=True,
    )
    assert outcome.warnings == ()
    assert json.loads(secrets["sockudo-config"]["config.json"])["app_manager"]["array"]["apps"]


def test_troubleshooting_runs_commands_in_the_daemons_container() -> None:
    page = (sources.ROOT / "docs" / "troubleshooting.md").read_text()
    row = r"\[(\S+\.yaml)\]\(\S+\) \| `kubectl exec deploy/(\S+) (?:-c (\S+) )?-- sockudo-queue "
    commands = re.findall(row, page)
    assert [manifest for manifest, _, _ in commands] == ["standalone.yaml", "sidecar.yaml"]
    for manifest, deployment, container in commands:
        assert deployment == sources.manifest(manifest, "Deployment")["metadata"]["name"]
        # Without -c, kubectl takes the first container that is not an init container.
        assert (container or pod(manifest)["containers"][0]["name"]) == daemon(manifest)["name"]


def test_network_policy_selects_the_daemon_and_lets_only_its_traffic_through() -> None:
    policy = sources.manifest("networkpolicy.yaml", "NetworkPolicy")["spec"]
    template = sources.manifest("standalone.yaml", "Deployment")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"] == template["metadata"]["labels"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    [scrapes] = policy["ingress"]
    assert [port["port"] for port in scrapes["ports"]] == [Settings().metrics.port]
    assert all(peer for peer in scrapes["from"])
    excepted = [
        network for rule in policy["egress"] for to in rule["to"] for network in to.get("ipBlock", {}).get("except", [])
    ]
    rules = Rules(private=False)
    assert all(refusal(rules, network.partition("/")[0], 443) for network in excepted)
    assert {"10.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10"} <= set(excepted)
    assert all(rule["to"] and rule["ports"] for rule in policy["egress"])


def test_scaling_is_of_the_deployment_and_never_to_nothing() -> None:
    scaling = sources.manifest("keda.yaml", "ScaledObject")["spec"]
    assert scaling["scaleTargetRef"]["name"] == sources.manifest("standalone.yaml", "Deployment")["metadata"]["name"]
    assert scaling["minReplicaCount"] >= 1  # the series it scales by come from a replica
    assert scaling["maxReplicaCount"] > scaling["minReplicaCount"]
    assert len({trigger["name"] for trigger in scaling["triggers"]}) == len(scaling["triggers"])
    for trigger in scaling["triggers"]:
        assert trigger["type"] == "prometheus"
        assert trigger["metadata"].keys() == {"serverAddress", "query", "threshold"}
        assert float(trigger["metadata"]["threshold"]) > 0
