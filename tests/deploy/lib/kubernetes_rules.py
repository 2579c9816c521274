"""What a schema cannot know about the manifests: rules over what kustomize made of them.

Enters: rendered files, the collector's program, the adapter's rule, docs/metrics.md. Leaves: one line for each fault
and exit code 1, or nothing. With --self-test the same files are broken on purpose (kubernetes_breaks.py).

The configuration is judged by the program: `check` is run with the file, variables and mounts of the pod, and what it
prints as effective is held against the manifest. With --serve the program is started and the probes' paths are asked.
"""

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import yaml

NAME = "clarion-collector"
SELECTOR = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "collector"}
# Seconds that a drain takes beside its own two settings: threads end, the books close, one last scrape.
GRACE_MARGIN = 10
# Below this an endpoint is not yet forgotten everywhere when the sockets leave.
DRAIN_DELAY_MIN = 3
SCALE_UP_HOLD_MIN, SCALE_DOWN_HOLD_MIN = 120, 900
# Keys of the next release: a variable that the program does not know yet. Only while it does not.
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def octets(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


def cores(text):
    text = str(text)
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def seconds(text):
    return sum(float(n) * UNITS[u] for n, u in re.findall(r"([\d.]+)(ms|[smhd])", text))


class Shape:
    """One rendering: all objects that would be applied together."""

    def __init__(self, path, objects, adapter):
        self.path, self.objects, self.adapter = path, objects, adapter

    def all(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind):
        found = self.all(kind)
        return found[0] if found else None

    @property
    def collector(self):
        return self.one("Deployment")

    @property
    def pod(self):
        return self.collector["spec"]["template"]["spec"]

    @property
    def container(self):
        return self.pod["containers"][0]

    @property
    def on_host(self):
        return self.pod.get("hostNetwork", False)

    def ports(self):
        return {p["name"]: (p["containerPort"], p.get("protocol", "TCP")) for p in self.container.get("ports", [])}


class Staged:
    """The pod's files in a temporary directory, with its arguments and variables pointing there."""

    def __init__(self, shape):
        self.root = tempfile.mkdtemp(prefix="kubernetes-rules-")
        volumes = {v["name"]: v for v in shape.pod.get("volumes", [])}
        data = {(o["kind"], o["metadata"]["name"]): o.get("data", {}) for o in shape.objects}
        self.mounts = [m["mountPath"] for m in shape.container.get("volumeMounts", [])]
        for mount in shape.container.get("volumeMounts", []):
            folder = self.root + mount["mountPath"]
            os.makedirs(folder, exist_ok=True)
            volume = volumes.get(mount["name"], {})
            files = {}
            if "configMap" in volume:
                files = data.get(("ConfigMap", volume["configMap"]["name"]), {})
                files = {name: text.encode() for name, text in files.items()}
            elif "secret" in volume:
                files = data.get(("Secret", volume["secret"]["secretName"]), {})
                files = {name: base64.b64decode(text) for name, text in files.items()}
            for name, content in files.items():
                with open(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY, 0o440), "wb") as file:
                    file.write(content)
        self.arguments = [self.moved(a) for a in shape.container.get("args", [])]
        self.variables = {e["name"]: self.moved(e.get("value", "pod-0")) for e in shape.container.get("env", [])}

    def moved(self, text):
        return self.root + text if any(text.startswith(mount) for mount in self.mounts) else text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root, ignore_errors=True)


class Program:
    """The collector's binary."""

    def __init__(self, path):
        self.path = path
        self.version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        default = subprocess.run([path, "check", "--print-default"], capture_output=True, text=True, check=True).stdout
        self.variables = set(re.findall(r"CLARION_COLLECTOR_\w+", default)) | {"POD_NAME"}
        self.answers = {}

    def check(self, shape):
        """Exit code, output, and effective values as {"section.key": value}."""
        limit = octets(shape.container["resources"]["limits"]["memory"]) * 3 // 4
        parts = [shape.pod, [o for o in shape.objects if o["kind"] in ("ConfigMap", "Secret")]]
        asked = json.dumps(parts, sort_keys=True)
        if asked not in self.answers:
            with Staged(shape) as staged:
                command = [self.path, "check", *staged.arguments, "--memory-limit", str(limit)]
                run = subprocess.run(command, env=staged.variables, capture_output=True, text=True, timeout=30)
            section, values = "", {}
            for line in run.stdout.splitlines():
                if found := re.fullmatch(r"\[(\w+)\]", line):
                    section = found[1]
                elif found := re.match(r"  (\w+) += (\S+)", line):
                    values[f"{section}.{found[1]}"] = found[2]
            self.answers[asked] = (run.returncode, run.stdout + run.stderr, values)
        return self.answers[asked]

    def statuses(self, shape, paths):
        """HTTP status of each path, asked of the program that runs as in the pod, but on free loopback ports."""
        free = ["--http-bind-host=127.0.0.1", "--bind-host=127.0.0.1", "--http-port=0", "--netflow-port=0"]
        free += ["--ipfix-port=0", "--output-kind=stdout", "--shutdown-drain-delay=0s", "--log-format=json"]
        with Staged(shape) as staged:
            command = [self.path, *staged.arguments, *free]
            running = subprocess.Popen(
                command, env=staged.variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            try:
                # Ends with the log: a program that stops instead of getting ready closes it.
                told = (json.loads(line) for line in running.stderr if line.startswith("{"))
                ready = next((line for line in told if line.get("message") == "ready"), None)
                if ready is None:
                    return {path: "the program did not get ready" for path in paths}
                scheme = "https" if "CLARION_COLLECTOR_HTTP_TLS_CERT_FILE" in staged.variables else "http"
                return {path: self.status(f"{scheme}://{ready['fields']['http']}{path}") for path in paths}
            finally:
                running.terminate()
                running.communicate(timeout=30)

    @staticmethod
    def status(url):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code


class Rules:
    """Every rule; `told` gets (rule, sentence) for each fault."""

    def __init__(self, program, metrics):
        self.program, self.metrics = program, metrics
        self.told = []

    def need(self, rule, holds, sentence):
        if not holds:
            self.told.append((rule, sentence))

    def judge(self, shape):
        self.told = []
        if shape.one("DaemonSet"):
            self.daemon(shape)
        if shape.collector:
            self.pod_security(shape)
            self.identity(shape)
            self.host_network(shape)
            self.resources(shape)
            self.rollout(shape)
            self.settings(shape)
            self.probes(shape)
            self.volumes(shape)
            self.references(shape)
            self.image(shape)
            self.policy(shape)
            self.scaling(shape)
            self.scrapes(shape)
        return self.told

    def restricted(self, rule, pod, container):
        """What Pod Security's "restricted" asks of a container, and a read-only root."""
        own, shared = container.get("securityContext", {}), pod.get("securityContext", {})
        both = {**shared, **own}
        self.need(rule, both.get("runAsNonRoot") is True, "runAsNonRoot is not true")
        self.need(rule, both.get("runAsUser") == both.get("runAsGroup") == 65532, "user and group are not 65532")
        self.need(rule, both.get("seccompProfile") == {"type": "RuntimeDefault"}, "seccomp is not RuntimeDefault")
        self.need(rule, own.get("allowPrivilegeEscalation") is False, "privileges may escalate")
        self.need(rule, own.get("readOnlyRootFilesystem") is True, "the root file system can be written")
        self.need(rule, own.get("capabilities") == {"drop": ["ALL"]}, "capabilities are not all dropped")
        self.need(rule, not own.get("privileged"), "it is privileged")

    def pod_security(self, shape):
        self.restricted("security", shape.pod, shape.container)
        self.need("security", shape.pod.get("securityContext", {}).get("fsGroup") == 65532, "fsGroup is not 65532")
        labels = shape.one("Namespace")["metadata"]["labels"]
        level = "privileged" if shape.on_host else "restricted"
        self.need("namespace", labels.get("pod-security.kubernetes.io/enforce") == level, f"enforces not {level}")

    def identity(self, shape):
        account = shape.one("ServiceAccount")
        self.need("identity", shape.pod.get("serviceAccountName") == account["metadata"]["name"], "another account")
        for where in (account, shape.pod):
            self.need("identity", where.get("automountServiceAccountToken") is False, "a token is mounted")
        self.need("links", shape.pod.get("enableServiceLinks") is False, "services put variables into the pod")

    def host_network(self, shape):
        listed = {protocol for _, protocol in shape.ports().values()}
        policy = shape.pod.get("dnsPolicy", "ClusterFirst")
        apart = shape.pod.get("affinity", {}).get("podAntiAffinity", {})
        hard = apart.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        if shape.on_host:
            self.need("host", policy == "ClusterFirstWithHostNet", f"dnsPolicy is {policy} on the host's network")
            self.need("host", "UDP" not in listed, "a UDP port is listed, so it is a host port")
            own = [t for t in hard if t["topologyKey"] == "kubernetes.io/hostname"]
            own = [t for t in own if t["labelSelector"]["matchLabels"] == SELECTOR]
            self.need("host", own, "two pods may meet on a node")
            self.need("host", not shape.one("NetworkPolicy"), "a NetworkPolicy has no effect here")
        else:
            self.need("host", policy == "ClusterFirst", f"dnsPolicy is {policy}")
            self.need("host", not hard, "pods are kept apart without need")

    def resources(self, shape):
        asked = shape.container["resources"].get("requests", {})
        limits = shape.container["resources"].get("limits", {})
        self.need("resources", "cpu" in asked, "no CPU is requested")
        self.need("resources", "cpu" not in limits, "a CPU limit pauses receiving")
        self.need("resources", asked.get("memory") == limits.get("memory"), "memory requested is not its limit")
        _, text, values = self.program.check(shape)
        workers = values.get("receive.workers", "0")
        self.need("workers", workers.isdigit() and 1 <= int(workers) <= cores(asked.get("cpu", 0)),
                  f"{workers} workers on {asked.get('cpu')} requested cores")
        self.need("memory", "take a share" not in text, "the memory limit is less than the defaults need")

    def rollout(self, shape):
        spec = shape.collector["spec"]
        rolling = spec.get("strategy", {}).get("rollingUpdate", {})
        wanted = {"maxSurge": 0, "maxUnavailable": 1} if shape.on_host else {"maxSurge": 1, "maxUnavailable": 0}
        self.need("rollout", rolling == wanted, f"rollingUpdate is not {wanted}")
        budget = shape.one("PodDisruptionBudget")
        self.need("budget", budget["spec"].get("maxUnavailable") == 1, "more than one pod may leave at once")
        always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        self.need("budget", always, "a pod that is not ready holds up a drain")
        _, _, values = self.program.check(shape)
        delay = seconds(values.get("shutdown.drain_delay", ""))
        needed = delay + seconds(values.get("shutdown.timeout", "")) + GRACE_MARGIN
        grace = shape.pod.get("terminationGracePeriodSeconds", 30)
        self.need("drain", delay >= DRAIN_DELAY_MIN, f"drain_delay is {delay} s")
        self.need("grace", grace >= needed, f"grace of {grace} s, the drain takes up to {needed} s")

    def settings(self, shape):
        code, text, _ = self.program.check(shape)
        self.need("configuration", code == 0, f"the program refuses it: {text.strip()}")
        names = [e["name"] for e in shape.container.get("env", [])]
        unknown = [n for n in names if n not in self.program.variables]
        self.need("variables", not unknown, f"unknown to the program: {unknown}")
        self.need("variables", len(names) == len(set(names)), "one stands twice")
        named = {e["name"]: e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for e in shape.container["env"]}
        self.need("name", named.get("POD_NAME") == "metadata.name", "POD_NAME is not the pod's name")

    def probes(self, shape):
        wanted = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
        _, _, values = self.program.check(shape)
        http = shape.ports().get("http", (None, None))
        used = values.get("http.port")
        self.need("http port", str(http[0]) == used, f"{http[0]}, the program's is {used}")
        for probe, path in wanted.items():
            get = shape.container.get(probe, {}).get("httpGet", {})
            self.need("probes", get.get("path") == path, f"{probe} does not ask {path}")
            self.need("probes", get.get("port") == "http", f"{probe} does not ask the port http")

    def volumes(self, shape):
        volumes = {v["name"]: v for v in shape.pod.get("volumes", [])}
        mounts = {m["name"]: m for m in shape.container.get("volumeMounts", [])}
        self.need("volumes", volumes.keys() == mounts.keys(), "volumes and mounts are not the same")
        self.need("volumes", not any("subPath" in m for m in mounts.values()), "a file by subPath never changes")
        objects = {(o["kind"], o["metadata"]["name"]): o for o in shape.objects}
        _, _, values = self.program.check(shape)
        for name, volume in volumes.items():
            path = mounts.get(name, {}).get("mountPath")
            if "emptyDir" in volume:
                self.need("volumes", "sizeLimit" in volume["emptyDir"], f"{name} may fill the node's disk")
                used = {e["name"]: e.get("value") for e in shape.container["env"]}.get("CLARION_COLLECTOR_DATA_DIR")
                self.need("data", used == path, f"the data directory is {used}, the volume at {path}")
            elif "secret" in volume:
                secret = objects.get(("Secret", volume["secret"]["secretName"]))
                self.need("secret", secret is not None, "there is no such Secret")
                mode = volume["secret"].get("defaultMode")
                self.need("secret", mode == 0o440, "others may read it, or its group may not")
                self.need("secret", volume["secret"]["secretName"] == NAME, "a hash in its name prevents rotation")
                data = (secret or {}).get("data", {})
                shown = [k for k, v in data.items() if not base64.b64decode(v).startswith(b"replace-me")]
                self.need("secret", not shown, f"looks like a real value: {shown}")
                files = {e["name"]: e["value"] for e in shape.container["env"] if e["name"].endswith("_TOKEN_FILE")}
                self.need("secret", set(files.values()) == {f"{path}/{key}" for key in data},
                          "keys of the Secret and *_TOKEN_FILE differ")
            elif "configMap" in volume:
                found = objects.get(("ConfigMap", volume["configMap"]["name"]))
                self.need("config map", found is not None, "there is no such ConfigMap")
                hashed = volume["configMap"]["name"] != NAME
                self.need("config map", hashed, "without a hash in its name a change starts no rollout")

    def references(self, shape):
        labels = shape.collector["spec"]["template"]["metadata"]["labels"]
        chosen = [("Deployment", shape.collector["spec"]["selector"]["matchLabels"])]
        chosen += [(o["kind"], o["spec"]["selector"]["matchLabels"])
                   for kind in ("PodDisruptionBudget", "PodMonitor") for o in shape.all(kind)]
        chosen += [("Service", o["spec"]["selector"]) for o in shape.all("Service")]
        chosen += [("NetworkPolicy", o["spec"]["podSelector"]["matchLabels"]) for o in shape.all("NetworkPolicy")]
        for kind, selector in chosen:
            self.need("selectors", selector == SELECTOR, f"{kind} selects {selector}")
        self.need("selectors", SELECTOR.items() <= labels.items(), "the pod's labels are others")
        spaces = {o["metadata"].get("namespace") for o in shape.objects if o["kind"] != "Namespace"}
        self.need("namespaces", spaces == {shape.one("Namespace")["metadata"]["name"]}, f"several: {spaces}")

    def image(self, shape):
        wanted = f"{NAME}:{self.program.version}"
        image = shape.container.get("image", "")
        self.need("image", image == wanted, f"{image}, the program is {wanted}")
        self.need("image", shape.container.get("imagePullPolicy") == "IfNotPresent", "pulled with each start")

    def policy(self, shape):
        """The Service and the NetworkPolicy against the pod's ports and the program's."""
        _, text, values = self.program.check(shape)
        udp = {name: port for name, (port, protocol) in shape.ports().items() if protocol == "UDP"}
        service = shape.one("Service")
        self.need("service", (service is None) == shape.on_host, "a Service where none belongs, or none")
        if not service or shape.on_host:
            return
        wanted = {"netflow": values.get("netflow.port"), "ipfix": values.get("ipfix.port")}
        self.need("udp ports", {n: str(p) for n, p in udp.items()} == wanted, f"{udp}, the program listens on {wanted}")
        spec = service["spec"]
        for side in ("port", "targetPort"):
            offered = {p["name"]: str(p[side]) for p in spec["ports"] if p["protocol"] == "UDP"}
            self.need("service", offered == wanted, f"{side} {offered}, the program listens on {wanted}")
        self.need("service", spec.get("externalTrafficPolicy") == "Local", "source addresses are lost")
        self.need("service", spec.get("sessionAffinity", "None") == "None", "ClientIP pins exporters")
        policy = shape.one("NetworkPolicy")["spec"]
        inward = {p["port"] for rule in policy["ingress"] for p in rule["ports"]}
        self.need("policy", inward == set(shape.ports()), f"lets in {inward}")
        outward = {(p["port"], p["protocol"]) for rule in policy["egress"] for p in rule["ports"]}
        url = re.search(r"url\s+= (https?)://[^/:\s]+(?::(\d+))?", text)
        port = int(url[2] or {"http": 80, "https": 443}[url[1]]) if url else 0
        wanted = {(53, "UDP"), (53, "TCP"), (port, "TCP")}
        self.need("policy", outward == wanted, f"lets out {outward}, the backend's port is {port}")

    def scaling(self, shape):
        scaler = shape.one("HorizontalPodAutoscaler")
        replicas = shape.collector["spec"].get("replicas")
        if not scaler:
            self.need("replicas", (replicas or 0) >= 2, "one pod has nobody to take over")
            return
        spec = scaler["spec"]
        self.need("replicas", replicas is None, "the Deployment sets replicas back with each apply")
        target = spec["scaleTargetRef"]
        self.need("scaler", (target["kind"], target["name"]) == ("Deployment", NAME), "scales something else")
        self.need("scaler", spec.get("minReplicas", 1) >= 2, "may leave one pod alone")
        metrics = [m.get("pods", {}).get("metric", {}).get("name") for m in spec["metrics"]]
        rule = shape.adapter["rules"][0]
        self.need("scaler", metrics == [rule["name"]["as"]], f"{metrics} are not what the adapter gives")
        self.need("adapter", f"`{rule['name']['as']}`" in self.metrics, "its metric is not in docs/metrics.md")
        same = rule["seriesQuery"].startswith(rule["name"]["as"] + "{")
        self.need("adapter", same and rule["name"]["matches"] == f"^{rule['name']['as']}$", "names differ in the rule")
        up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
        hold = max(p["periodSeconds"] for p in up["policies"])
        self.need("holds", hold >= SCALE_UP_HOLD_MIN, f"adds a pod each {hold} s")
        self.need("holds", all(p["value"] == 1 and p["type"] == "Pods" for p in up["policies"] + down["policies"]),
                  "more than one pod at a time")
        window = down.get("stabilizationWindowSeconds", 300)
        self.need("holds", window >= SCALE_DOWN_HOLD_MIN, f"takes pods away after {window} s")

    def scrapes(self, shape):
        for monitor in shape.all("PodMonitor"):
            ends = monitor["spec"]["podMetricsEndpoints"]
            paths = [e["path"] for e in ends]
            self.need("scrapes", paths == ["/metrics/prometheus", "/metrics/exporters"], f"other paths: {paths}")
            self.need("scrapes", all(e["port"] in shape.ports() for e in ends), "a port that the pod has not")
            late = [e["path"] for e in ends if seconds(e["scrapeTimeout"]) >= seconds(e["interval"])]
            self.need("scrapes", not late, f"time out after the next scrape: {late}")

    def daemon(self, shape):
        pod = shape.one("DaemonSet")["spec"]["template"]["spec"]
        self.need("daemon", pod.get("automountServiceAccountToken") is False, "a token is mounted")
        self.need("daemon", pod.get("hostNetwork") is True, "the numbers are not seen in a pod's own network")
        for container in pod["containers"]:
            self.restricted("daemon", pod, container)
        level = shape.one("Namespace")["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        self.need("daemon", level == "privileged", f"its namespace enforces {level}")

    def serve(self, shape):
        """Paths that the manifests name answer 200 from the program itself."""
        probes = [shape.container[p]["httpGet"]["path"] for p in ("startupProbe", "readinessProbe", "livenessProbe")]
        scraped = [e["path"] for m in shape.all("PodMonitor") for e in m["spec"]["podMetricsEndpoints"]]
        for path, status in self.program.statuses(shape, sorted(set(probes + scraped))).items():
            self.need("served", status == 200, f"{path} answers {status}")
        return self.told


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--adapter", required=True, help="prometheus-adapter-rules.yaml")
    parser.add_argument("--metrics", required=True, help="docs/metrics.md")
    parser.add_argument("--serve", action="store_true", help="start the program and ask the paths")
    parser.add_argument("--self-test", action="store_true", help="break everything once")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    with open(arguments.adapter) as file:
        adapter = yaml.safe_load(file)
    with open(arguments.metrics) as file:
        rules = Rules(Program(arguments.program), file.read())
    shapes = []
    for path in arguments.files:
        with open(path) as file:
            shapes.append(Shape(os.path.basename(path), [o for o in yaml.safe_load_all(file) if o], adapter))
    if arguments.self_test:
        import kubernetes_breaks

        faults = kubernetes_breaks.run(shapes, rules)
    else:
        faults = [f"{s.path}: {rule}: {text}" for s in shapes for rule, text in rules.judge(s)]
        for shape in shapes if arguments.serve else []:
            if shape.collector:
                rules.told = []
                faults += [f"{shape.path}: {rule}: {text}" for rule, text in rules.serve(shape)]
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
