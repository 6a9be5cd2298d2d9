"""The chart renders what the plain manifests say, for each of its values files. scripts/deploy runs this with helm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy import sources
from tests.deploy.test_kubernetes import VERSIONS, schema_of

CHART: Final = Path(__file__).parent / "sockudo-queue"
VALUES: Final = ("standalone", "sidecar", "full")
OTHERS: Final = ("ScaledObject", "PodMonitor", "PrometheusRule")  # not among the schemas of Kubernetes
LABELS: Final = ("labelSelector", "matchLabels")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False, timeout=60)


def rendered(name: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the objects by their kinds."""
    values = CHART / "ci" / f"{name}-values.yaml"
    done = helm("template", "release", CHART, "--kube-version", "1.33.0", "--values", values, *arguments)
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize("name", VALUES)
def test_lint_finds_nothing(name: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", CHART / "ci" / f"{name}-values.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VALUES)
def test_rendered_manifests_match_the_schemas_of_kubernetes(name: str, version: str) -> None:
    for kind, document in rendered(name).items():
        if kind not in OTHERS:
            faults = [
                f"{fault.json_path}: {fault.message}" for fault in schema_of(document, version).iter_errors(document)
            ]
            assert faults == [], kind


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    """Return a pod's specification without what a chart adds: labels, pull policy, and where a right is written."""
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    rights = spec.pop("securityContext", {})
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        if container["name"] == "sockudo-queue":
            container.pop("imagePullPolicy", None)
            container["securityContext"] = rights | container["securityContext"]
    for constraint in spec.get("topologySpreadConstraints", ()):
        del constraint["labelSelector"]
    return spec


@pytest.mark.parametrize("name", ["standalone", "sidecar"])
def test_pod_is_that_of_the_plain_manifest(name: str) -> None:
    ours, plain = rendered(name)["Deployment"], sources.manifest(f"{name}.yaml", "Deployment")
    for deployment in (ours, plain):
        assert deployment["spec"].pop("selector")["matchLabels"].items() <= (
            deployment["spec"]["template"]["metadata"].pop("labels").items()
        )
    assert ours["metadata"]["name"] == plain["metadata"]["name"]
    assert pod(ours) == pod(plain)
    assert ours["spec"] == plain["spec"]


def test_budget_and_scaling_are_those_of_the_plain_manifests() -> None:
    ours = rendered("standalone", "--set", "keda.enabled=true")
    budget, plain = ours["PodDisruptionBudget"], sources.manifest("standalone.yaml", "PodDisruptionBudget")
    assert {**budget["spec"], "selector": None} == {**plain["spec"], "selector": None}
    assert budget["spec"]["selector"] == ours["Deployment"]["spec"]["selector"]
    assert ours["ScaledObject"]["spec"] == sources.manifest("keda.yaml", "ScaledObject")["spec"]
    assert "replicas" not in ours["Deployment"]["spec"]  # each upgrade would set the number back


def test_alerts_and_dashboard_are_the_ones_beside_the_chart(tmp_path: Path) -> None:
    full = rendered("full")
    rules = full["PrometheusRule"]["spec"]
    assert rules == sources.read(sources.ALERTS)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    checked = subprocess.run([sources.promtool(), "check", "rules", tmp_path / "rules.yaml"], check=False, timeout=60)
    assert checked.returncode == 0
    assert json.loads(full["ConfigMap"]["data"]["sockudo-queue.json"]) == json.loads(sources.DASHBOARD.read_text())


def test_login_and_tls_reach_daemon_probes_and_monitor() -> None:
    full = rendered("full")
    spec = full["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    environment = {each["name"]: each for each in container["env"]}
    for variable, key in (("QUEUE_METRICS_USERNAME", "username"), ("QUEUE_METRICS_PASSWORD", "password")):
        wanted = {"name": "sockudo-queue-login", "key": key}
        assert environment[variable]["valueFrom"]["secretKeyRef"] == wanted
    assert "QUEUE_METRICS_TOKEN" not in environment
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["QUEUE_METRICS_TLS_CERT_FILE"]["value"] == f"{mounts['metrics-tls']}/tls.crt"
    probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
    assert {probe["scheme"] for probe in probes} == {"HTTPS"}
    [endpoint] = full["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["basicAuth"]["password"] == {"name": "sockudo-queue-login", "key": "password"}
    plain = rendered("standalone")["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert not [each["name"] for each in plain["env"] if each["name"].startswith("QUEUE_METRICS_")]


@pytest.mark.parametrize(
    "keys", [{}, {"passwordKey": "p"}, {"usernameKey": "u"}, {"usernameKey": "u", "tokenKey": "t"}]
)
def test_login_without_the_keys_that_it_needs_is_refused(keys: dict[str, str]) -> None:
    login = json.dumps({"existingSecret": "login", **keys})
    ran = helm("template", "x", CHART, "--kube-version", "1.33.0", "--set-json", f"metrics.login={login}")
    assert ran.returncode != 0
    assert "metrics.login: set usernameKey and passwordKey" in ran.stderr


def test_token_alone_is_the_login_of_the_monitor() -> None:
    login = {"existingSecret": "login", "usernameKey": "", "passwordKey": "", "tokenKey": "token"}
    ours = rendered("sidecar", "--set-json", f"metrics.login={json.dumps(login)}")
    [endpoint] = ours["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "queue-metrics"
    assert endpoint["authorization"] == {"credentials": {"name": "login", "key": "token"}}
    assert "basicAuth" not in endpoint


def test_names_that_refer_to_each_other_agree() -> None:
    full = rendered("full")
    deployment = full["Deployment"]
    assert full["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    selector = deployment["spec"]["selector"]["matchLabels"].items()
    assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for kind, key in (
        ("PodMonitor", "selector"),
        ("NetworkPolicy", "podSelector"),
        ("PodDisruptionBudget", "selector"),
    ):
        assert full[kind]["spec"][key]["matchLabels"].items() == selector
    [port] = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert full["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"port": port["name"], "protocol": "TCP"}]
    assert port["containerPort"] == 9700


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("replicas=3", "replicas"),  # the name of another chart's value
        ("settings.QUEUE_WORKERS=20", "QUEUE_WORKERS"),  # a number, where a variable is text
        ("mode=daemonset", "mode"),
        ("terminationGracePeriodSeconds=20", "set it to 30 or more"),
        ("config.existingSecret=", "existingSecret"),
    ],
)
def test_wrong_values_are_refused(value: str, fault: str) -> None:
    done = helm("template", "release", CHART, "--kube-version", "1.33.0", "--set", value)
    assert done.returncode != 0
    assert fault in done.stderr
