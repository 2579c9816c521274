"""Breaks the manifests on purpose, one thing after the other, and holds the rules to it.

Enters: renderings and rules of kubernetes_rules.py. Leaves: a sentence for each break that the rule for it did not see,
and for each rule that no break is for. A rule that cannot fail is a fault of its own.
"""

import copy
import os
import re

from kubernetes_rules import NAME, SELECTOR


def breaks():
    """(rule, kinds that a rendering needs, what is done to it): each must be found by that rule."""
    def pod(shape, **values):
        shape.pod.update(values)

    def own(shape, key, value):
        shape.container["securityContext"][key] = value

    def env(shape, name, value):
        shape.container["env"] = [e for e in shape.container["env"] if e["name"] != name]
        shape.container["env"].append({"name": name, "value": value})

    def toml(shape, old, new):
        data = shape.one("ConfigMap")["data"]
        changed = data["clarion-collector.toml"].replace(old, new)
        assert changed != data["clarion-collector.toml"], f"{old} is not in the file any more"
        data["clarion-collector.toml"] = changed

    def spec(shape, kind, **values):
        shape.one(kind)["spec"].update(values)

    def port(shape, name, **values):
        next(p for p in shape.container["ports"] if p["name"] == name).update(values)

    def volume(shape, kind):
        return next(v for v in shape.pod["volumes"] if kind in v)[kind]

    def scaler(shape):
        return shape.one("HorizontalPodAutoscaler")["spec"]

    def endpoint(shape, index, **values):
        shape.one("PodMonitor")["spec"]["podMetricsEndpoints"][index].update(values)

    def daemon(shape):
        return shape.one("DaemonSet")["spec"]["template"]["spec"]

    def more(shape, kind, **values):
        shape.objects.append({"kind": kind, "metadata": {"name": NAME, "namespace": NAME}, "spec": values})

    def named(shape, name):
        shape.adapter["rules"][0]["name"]["as"] = name
        scaler(shape)["metrics"][0]["pods"]["metric"]["name"] = name

    yield from (
        ("security", [], lambda s: own(s, "readOnlyRootFilesystem", False)),
        ("security", [], lambda s: own(s, "allowPrivilegeEscalation", True)),
        ("security", [], lambda s: own(s, "capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]})),
        ("security", [], lambda s: own(s, "privileged", True)),
        ("security", [], lambda s: own(s, "runAsUser", 0)),
        ("security", [], lambda s: s.pod["securityContext"].pop("seccompProfile")),
        ("security", [], lambda s: s.pod["securityContext"].pop("runAsNonRoot")),
        ("security", [], lambda s: s.pod["securityContext"].pop("fsGroup")),
        ("namespace", [], lambda s: s.one("Namespace")["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "baseline"})),
        ("identity", [], lambda s: pod(s, serviceAccountName="default")),
        ("identity", [], lambda s: pod(s, automountServiceAccountToken=True)),
        ("links", [], lambda s: s.pod.pop("enableServiceLinks")),
        ("host", [], lambda s: pod(s, dnsPolicy="Default")),
        ("host", ["host"], lambda s: s.container["ports"].append(
            {"name": "netflow", "containerPort": 2055, "protocol": "UDP"})),
        ("host", ["host"], lambda s: s.pod.pop("affinity")),
        ("host", ["host"], lambda s: more(s, "NetworkPolicy", podSelector={"matchLabels": SELECTOR})),
        ("resources", [], lambda s: s.container["resources"]["limits"].update({"cpu": "500m"})),
        ("resources", [], lambda s: s.container["resources"]["requests"].pop("cpu")),
        ("resources", [], lambda s: s.container["resources"]["requests"].update({"memory": "64Mi"})),
        ("workers", [], lambda s: toml(s, "workers = 2", "workers = 8")),
        ("workers", [], lambda s: s.container["resources"]["requests"].update({"cpu": "500m"})),
        ("memory", [], lambda s: s.container["resources"].update(
            {"limits": {"memory": "512Mi"}, "requests": {"cpu": "2", "memory": "512Mi"}})),
        ("rollout", [], lambda s: spec(
            s, "Deployment", strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})),
        ("budget", [], lambda s: s.one("PodDisruptionBudget")["spec"].pop("unhealthyPodEvictionPolicy")),
        ("budget", [], lambda s: spec(s, "PodDisruptionBudget", maxUnavailable="50%")),
        ("drain", [], lambda s: env(s, "CLARION_COLLECTOR_SHUTDOWN_DRAIN_DELAY", "0s")),
        ("grace", [], lambda s: env(s, "CLARION_COLLECTOR_SHUTDOWN_TIMEOUT", "1m")),
        ("grace", [], lambda s: s.pod.pop("terminationGracePeriodSeconds")),
        ("configuration", [], lambda s: toml(s, "workers", "wrokers")),
        ("configuration", [], lambda s: env(s, "CLARION_COLLECTOR_BACKEND_URL", "gopher://x")),
        ("configuration", [], lambda s: s.container.update(args=["--config", "/etc/clarion-collector/other.toml"])),
        ("variables", [], lambda s: env(s, "CLARION_COLLECTOR_BATCH_SISE", "1")),
        ("variables", [], lambda s: s.container["env"].append(dict(s.container["env"][-1]))),
        ("name", [], lambda s: env(s, "POD_NAME", "one-for-all")),
        ("http port", [], lambda s: toml(s, "port = 8081", "port = 8082")),
        ("http port", [], lambda s: port(s, "http", containerPort=8082)),
        ("probes", [], lambda s: s.container["livenessProbe"]["httpGet"].update(path="/readyz")),
        ("probes", [], lambda s: s.container["readinessProbe"]["httpGet"].update(path="/health")),
        ("probes", [], lambda s: s.container["readinessProbe"]["httpGet"].update(port=8080)),
        ("probes", [], lambda s: s.container.pop("startupProbe")),
        ("volumes", [], lambda s: s.container["volumeMounts"].pop()),
        ("volumes", [], lambda s: s.container["volumeMounts"][1].update(subPath="backend-token")),
        ("volumes", [], lambda s: volume(s, "emptyDir").pop("sizeLimit")),
        ("data", [], lambda s: env(s, "CLARION_COLLECTOR_DATA_DIR", "/tmp")),
        ("secret", [], lambda s: volume(s, "secret").update(defaultMode=0o444)),
        ("secret", [], lambda s: volume(s, "secret").update(secretName=NAME + "-h7b2k9")),
        ("secret", [], lambda s: env(
            s, "CLARION_COLLECTOR_BACKEND_TOKEN_FILE", "/run/secrets/clarion-collector/token")),
        ("secret", [], lambda s: s.one("Secret")["data"].update({"backend-token": "aHVudGVyMg=="})),
        ("config map", [], lambda s: volume(s, "configMap").update(name=NAME)),
        ("config map", [], lambda s: volume(s, "configMap").update(name=NAME + "-0000000000")),
        ("selectors", [], lambda s: spec(s, "PodDisruptionBudget", selector={"matchLabels": {"app": NAME}})),
        ("selectors", [], lambda s: s.collector["spec"]["template"]["metadata"].update(labels={"app": NAME})),
        ("selectors", ["Service"], lambda s: spec(s, "Service", selector={"app": NAME})),
        ("selectors", ["NetworkPolicy"], lambda s: spec(s, "NetworkPolicy", podSelector={"matchLabels": {}})),
        ("selectors", ["PodMonitor"], lambda s: spec(s, "PodMonitor", selector={"matchLabels": {}})),
        ("namespaces", [], lambda s: s.one("Secret")["metadata"].update(namespace="default")),
        ("image", [], lambda s: s.container.update(image=f"{NAME}:latest")),
        ("image", [], lambda s: s.container.update(imagePullPolicy="Always")),
        ("service", ["host"], lambda s: more(s, "Service", selector=SELECTOR, ports=[])),
        ("service", ["Service"], lambda s: spec(s, "Service", externalTrafficPolicy="Cluster")),
        ("service", ["Service"], lambda s: spec(s, "Service", sessionAffinity="ClientIP")),
        ("service", ["Service"], lambda s: s.one("Service")["spec"]["ports"][0].update(port=9995)),
        ("service", ["Service"], lambda s: s.one("Service")["spec"]["ports"][1].update(targetPort="ipfix")),
        ("udp ports", ["Service"], lambda s: port(s, "ipfix", containerPort=4740)),
        ("udp ports", ["Service"], lambda s: toml(s, "port = 2055", "port = 2056")),
        ("policy", ["NetworkPolicy"], lambda s: s.one("NetworkPolicy")["spec"]["ingress"].pop()),
        ("policy", ["NetworkPolicy"], lambda s: toml(s, ":8000", ":8443")),
        ("replicas", [], lambda s: spec(s, "Deployment", replicas=1)),
        ("scaler", ["HorizontalPodAutoscaler"], lambda s: spec(s, "HorizontalPodAutoscaler", minReplicas=1)),
        ("scaler", ["HorizontalPodAutoscaler"], lambda s: scaler(s)["scaleTargetRef"].update(
            kind="StatefulSet")),
        ("scaler", ["HorizontalPodAutoscaler"], lambda s: scaler(s)["metrics"][0]["pods"].update(
            metric={"name": "clarion_collector_saturation"})),
        ("holds", ["HorizontalPodAutoscaler"], lambda s: scaler(s)["behavior"][
            "scaleDown"].pop("stabilizationWindowSeconds")),
        ("holds", ["HorizontalPodAutoscaler"], lambda s: scaler(s)["behavior"]["scaleUp"][
            "policies"][0].update(periodSeconds=15)),
        ("holds", ["HorizontalPodAutoscaler"], lambda s: scaler(s)["behavior"]["scaleDown"][
            "policies"][0].update(value=3)),
        ("scrapes", ["PodMonitor"], lambda s: endpoint(s, 0, path="/metrics")),
        ("scrapes", ["PodMonitor"], lambda s: endpoint(s, 0, port="metrics")),
        ("scrapes", ["PodMonitor"], lambda s: endpoint(s, 1, scrapeTimeout="60s")),
        ("daemon", ["DaemonSet"], lambda s: daemon(s).pop("hostNetwork")),
        ("daemon", ["DaemonSet"], lambda s: daemon(s)["containers"][0].pop(
            "securityContext")),
        ("daemon", ["DaemonSet"], lambda s: s.one("Namespace")["metadata"].update(labels={})),
        ("daemon", ["DaemonSet"], lambda s: daemon(s).pop(
            "automountServiceAccountToken")),
        ("adapter", ["HorizontalPodAutoscaler"], lambda s: named(s, "clarion_collector_saturation")),
        ("adapter", ["HorizontalPodAutoscaler"], lambda s: s.adapter["rules"][0].update(seriesQuery="up{}")),
    )


def run(shapes, rules):
    """Every break in every rendering that can have it, each in a copy of its own."""
    missed, tried = [], 0
    for number, (rule, needs, change) in enumerate(breaks()):
        about_node = "DaemonSet" in needs
        fit = [s for s in shapes if about_node or s.collector]
        fit = [s for s in fit if all(s.on_host if need == "host" else s.one(need) for need in needs)]
        if not fit:
            missed.append(f"break {number} ({rule}): no rendering has {needs}")
        for shape in fit:
            broken = copy.deepcopy(shape)
            change(broken)
            tried += 1
            if rule not in {name for name, _ in rules.judge(broken)}:
                missed.append(f"break {number} of {shape.path}: rule \"{rule}\" saw nothing")
    broken = copy.deepcopy(next(s for s in shapes if s.collector))
    broken.container["readinessProbe"]["httpGet"]["path"] = "/ready"
    if "served" not in {name for name, _ in rules.serve(broken)}:
        missed.append("a probe of a path that the program has not was not seen")
    with open(os.path.join(os.path.dirname(__file__), "kubernetes_rules.py")) as source:
        declared = set(re.findall(r'self\.(?:need|restricted)\("([^"]+)"', source.read()))
    seen = {rule for rule, _, _ in breaks()} | {"served"}
    missed += [f"no break is for rule \"{rule}\"" for rule in sorted(declared - seen)]
    print(f"{tried + 1} breaks of {len(declared)} rules")
    return missed
