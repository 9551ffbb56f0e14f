#!/usr/bin/env python3
"""Checks the files under deploy/ as far as that is possible without a cluster.

Every YAML and JSON file parses; the Kubernetes manifests have the fields that their kinds need and the
hardening that docs/deployment.md promises; the Prometheus rules inside PrometheusRule are those of
prometheus/rules.yaml; the dashboard's queries parse as far as brackets go.

    deploy/manifests.py           check; exit 1 with every problem
    deploy/manifests.py --write   write kubernetes/optional/prometheusrule.yaml from prometheus/rules.yaml
"""

import json
import pathlib
import sys

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent
PROBLEMS: list[str] = []


def problem(path: pathlib.Path, text: str) -> None:
    PROBLEMS.append(f"{path.relative_to(DEPLOY.parent)}: {text}")


def at(value, *steps):
    """The value below `steps`, or None."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def expect(path, document, want, *steps):
    """`want` is the value itself, or a predicate."""
    got = at(document, *steps)
    fits = want(got) if callable(want) else got == want
    if not fits:
        shown = ".".join(str(step) for step in steps)
        problem(path, f"{at(document, 'kind')}: {shown} is {got!r}" + ("" if callable(want) else f", not {want!r}"))


API_VERSIONS = {
    "Namespace": "v1",
    "ServiceAccount": "v1",
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "Secret": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
}
LABELS = {"app.kubernetes.io/name": "tollgate"}
present = bool


def check_deployment(path, document):
    spec = ("spec", "template", "spec")
    if at(document, "kind") == "Deployment":
        # Its ledger has one writer.
        expect(path, document, 1, "spec", "replicas")
        expect(path, document, "Recreate", "spec", "strategy", "type")
    expect(path, document, at(document, "spec", "selector", "matchLabels"), "spec", "template", "metadata", "labels")
    expect(path, document, False, *spec, "automountServiceAccountToken")
    expect(path, document, True, *spec, "securityContext", "runAsNonRoot")
    expect(path, document, "RuntimeDefault", *spec, "securityContext", "seccompProfile", "type")
    container = (*spec, "containers", 0)
    expect(path, document, False, *container, "securityContext", "allowPrivilegeEscalation")
    expect(path, document, True, *container, "securityContext", "readOnlyRootFilesystem")
    expect(path, document, ["ALL"], *container, "securityContext", "capabilities", "drop")
    expect(path, document, present, *container, "resources", "limits", "memory")
    expect(path, document, present, *container, "lifecycle", "preStop")
    for probe, url in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz"), ("startupProbe", "/readyz")):
        expect(path, document, url, *container, probe, "httpGet", "path")
        expect(path, document, "admin", *container, probe, "httpGet", "port")
    volumes = {volume["name"] for volume in at(document, *spec, "volumes") or []}
    volumes |= {at(claim, "metadata", "name") for claim in at(document, "spec", "volumeClaimTemplates") or []}
    mounts = at(document, *container, "volumeMounts") or []
    for mount in mounts:
        if mount["name"] not in volumes:
            problem(path, f"volumeMount {mount['name']} has no volume")
        if "subPath" in mount:
            problem(path, f"volumeMount {mount['name']} uses subPath, which does not follow changes")
    for name in volumes - {mount["name"] for mount in mounts}:
        problem(path, f"volume {name} is not mounted")


def check_kubernetes(path, document):
    kind = at(document, "kind")
    if kind not in API_VERSIONS:
        problem(path, f"unknown kind {kind!r}")
        return
    expect(path, document, API_VERSIONS[kind], "apiVersion")
    if kind != "Kustomization":
        expect(path, document, present, "metadata", "name")
    if kind in ("Deployment", "StatefulSet"):
        check_deployment(path, document)
    elif kind == "Service":
        expect(path, document, LABELS, "spec", "selector")
        expect(path, document, present, "spec", "ports")
    elif kind == "PodDisruptionBudget":
        expect(path, document, LABELS, "spec", "selector", "matchLabels")
        expect(path, document, present, "spec", "maxUnavailable")
    elif kind == "NetworkPolicy":
        expect(path, document, LABELS, "spec", "podSelector", "matchLabels")
        expect(path, document, ["Ingress", "Egress"], "spec", "policyTypes")
    elif kind == "HorizontalPodAutoscaler":
        expect(path, document, "Deployment", "spec", "scaleTargetRef", "kind")
        expect(path, document, "tollgate_in_flight_requests", "spec", "metrics", 0, "pods", "metric", "name")
    elif kind == "PersistentVolumeClaim":
        expect(path, document, ["ReadWriteOnce"], "spec", "accessModes")
    elif kind == "ServiceMonitor":
        expect(path, document, "/metrics", "spec", "endpoints", 0, "path")
    elif kind == "PrometheusRule":
        rules = yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text())
        if at(document, "spec") != rules:
            problem(path, "its rules are not those of prometheus/rules.yaml; run deploy/manifests.py --write")


def check_kustomization(path, document):
    for resource in at(document, "resources") or []:
        if not (path.parent / resource).is_file():
            problem(path, f"resource {resource} does not exist")
    for generator in at(document, "configMapGenerator") or []:
        for name in generator.get("files", []):
            if not (path.parent / name).is_file():
                problem(path, f"file {name} does not exist")
    expect(path, document, True, "generatorOptions", "disableNameSuffixHash")


def check_compose(path, document):
    for name, service in (at(document, "services") or {}).items():
        if not ("image" in service or "build" in service):
            problem(path, f"service {name} has neither image nor build")
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                problem(path, f"service {name} publishes {port} to the network")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (path.parent / source).exists():
                problem(path, f"service {name} mounts {source}, which does not exist")
            elif not source.startswith(".") and source not in (at(document, "volumes") or {}):
                problem(path, f"service {name} mounts the volume {source}, which is not declared")
    for name, service in (at(document, "services") or {}).items():
        if service.get("image") != "tollgate":
            continue
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]:
            problem(path, f"service {name} is not read-only without capabilities")


def check_dashboard(path, document):
    for key in ("uid", "title", "panels", "templating", "schemaVersion"):
        if not document.get(key):
            problem(path, f"{key} is missing")
    seen = set()
    cells = {}
    for panel in document.get("panels", []):
        title = panel.get("title")
        if panel.get("id") in seen:
            problem(path, f"panel {title}: its id {panel.get('id')} is taken")
        seen.add(panel.get("id"))
        place = panel.get("gridPos", {})
        if place.get("x", 0) + place.get("w", 0) > 24:
            problem(path, f"panel {title} is wider than the grid")
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in cells:
                    problem(path, f"panel {title} overlaps {cells[x, y]}")
                    return
                cells[x, y] = title
        if panel.get("type") != "row" and not panel.get("targets"):
            problem(path, f"panel {title} has no query")
        for target in panel.get("targets", []):
            for pair in ("()", "{}", "[]"):
                if target["expr"].count(pair[0]) != target["expr"].count(pair[1]):
                    problem(path, f"panel {title}: unbalanced {pair} in {target['expr']}")


def write_prometheus_rule() -> None:
    rules = (DEPLOY / "prometheus/rules.yaml").read_text()
    head = """# For the Prometheus operator: the rules of deploy/prometheus/rules.yaml, written by
# `deploy/manifests.py --write`. Change them there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tollgate
  namespace: tollgate
  labels: { app.kubernetes.io/name: tollgate }
spec:
"""
    body = rules[rules.index("groups:"):]
    indented = "".join(f"  {line}" if line.strip() else line for line in body.splitlines(keepends=True))
    (DEPLOY / "kubernetes/optional/prometheusrule.yaml").write_text(head + indented)


def main() -> int:
    if sys.argv[1:] == ["--write"]:
        write_prometheus_rule()
        return 0
    count = 0
    for path in sorted(DEPLOY.rglob("*")):
        if path.suffix == ".json":
            try:
                document = json.loads(path.read_text())
            except ValueError as error:
                problem(path, str(error))
                continue
            count += 1
            if path.parent.name == "grafana":
                check_dashboard(path, document)
        elif path.suffix in (".yaml", ".yml"):
            try:
                documents = list(yaml.safe_load_all(path.read_text()))
            except yaml.YAMLError as error:
                problem(path, str(error))
                continue
            count += 1
            in_kubernetes = "kubernetes" in path.parts and path.name != "routes.yaml"
            for document in documents:
                if in_kubernetes:
                    check_kubernetes(path, document)
                if path.name == "kustomization.yaml":
                    check_kustomization(path, document)
                elif path.name == "compose.yaml":
                    check_compose(path, document)
    for text in PROBLEMS:
        print(text, file=sys.stderr)
    print(f"deploy: {count} files, {len(PROBLEMS)} problems")
    return 1 if PROBLEMS else 0


if __name__ == "__main__":
    sys.exit(main())
