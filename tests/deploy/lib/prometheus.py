#!/usr/bin/env python3
"""Rules, dashboard and runbook against each other and against what a running collector serves.

In go the repository (or a copy of it), the collector's and Prometheus' addresses; out come one line for each fault
and exit code 1, or a summary and 0. Without addresses only what needs no process is checked. Standard library only.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

PREFIX = "clarion_collector_"
RULES = "deploy/prometheus/rules/clarion-collector.yml"
TESTS = "deploy/prometheus/tests"
DASHBOARD = "deploy/grafana/clarion-collector.json"
RUNBOOK = "docs/runbook.md"
METRICS = "docs/metrics.md"

# Metrics that rules and dashboard are ready for before the program serves them. Take out what docs/metrics.md has.
PENDING = set()
# Shown where there is one: the collector of the trial has no certificate.
ABSENT = {"certificate_expiry_timestamp_seconds"}
# Labels that Prometheus, recording rules or label_replace add.
OWN_LABELS = {"job", "instance", "exported_instance", "alertname", "alertstate", "cause", "certificate"}
GRAFANA = {"$__rate_interval": "10s", "$__range": "20s", "$instance": ".*", "$job": "clarion-collector"}

MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
SELECTOR = re.compile(PREFIX + r"(\w+)(?:\s*\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


class Served:
    """Metrics of a text exposition: name -> label -> values."""

    def __init__(self, *texts):
        self.labels = {}
        for line in "\n".join(texts).splitlines():
            found = re.match(PREFIX + r"(\w+)(?:\{(.*)\})? \S+$", line)
            if not found or line.startswith("#"):
                continue
            values = self.labels.setdefault(found[1], {})
            for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""):
                values.setdefault(label, set()).add(value)

    def faults(self, where, expression):
        """What `expression` names and nobody serves."""
        known = {label for labels in self.labels.values() for label in labels} | OWN_LABELS
        for name, matchers in SELECTOR.findall(expression):
            if name not in self.labels:
                if name not in PENDING:
                    yield f"{where}: the collector serves no {PREFIX}{name}"
                continue
            for label, sign, value in MATCHER.findall(matchers or ""):
                if label in OWN_LABELS:
                    continue
                values = self.labels[name].get(label)
                if values is None:
                    yield f"{where}: {PREFIX}{name} has no label {label}"
                elif label not in ("exporter", "le"):
                    # Each alternative by itself: one that is misspelt would hide behind the others.
                    for part in value.split("|") if "~" in sign else [re.escape(value)]:
                        if not any(re.fullmatch(part, one) for one in values):
                            yield f"{where}: {PREFIX}{name} never has {label}={part!r}"
        for names in GROUPING.findall(expression):
            for label in filter(None, (name.strip() for name in names.split(","))):
                if label not in known:
                    yield f"{where}: no metric has a label {label}"


def fetch(url):
    request = urllib.request.Request(url, headers={"Accept": "text/plain"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def alerts(text):
    """(name, lines) of each alerting rule; a name may stand twice with different severities."""
    found = []
    for block in re.split(r"\n(?=\s+- (?:alert|record): )", text):
        name = re.search(r"- alert: (\w+)", block)
        if name:
            found.append((name[1], block))
    return found


def check_rules(root, faults):
    text = (root / RULES).read_text()
    found = alerts(text)
    names = {name for name, _ in found}
    sections = re.findall(r"^## (Clarion\w+)$", (root / RUNBOOK).read_text(), re.M)
    tests = "\n".join(path.read_text() for path in sorted((root / TESTS).glob("*.yml")))
    tested = set(re.findall(r"alertname: (\w+)", tests))
    faults += [f"{RUNBOOK}: no section for the alert {name}" for name in sorted(names - set(sections))]
    faults += [f"{RUNBOOK}: {name} is no alert" for name in sorted(set(sections) - names)]
    faults += [f"{RUNBOOK}: {name} has two sections" for name in sorted(names) if sections.count(name) > 1]
    faults += [f"{TESTS}: no test for the alert {name}" for name in sorted(names - tested)]
    for name, block in found:
        if f"docs/runbook.md#{name.lower()}'" not in block:
            faults.append(f"{RULES}: {name}: runbook_url does not lead to its section")
        severity = re.search(r"severity: (\w+)", block)
        if not severity or severity[1] not in ("critical", "warning", "info"):
            faults.append(f"{RULES}: {name}: severity is not critical, warning or info")
        for annotation in ("summary", "description"):
            if f"{annotation}:" not in block:
                faults.append(f"{RULES}: {name}: no {annotation}")
        if "topk" not in block and "exporter" in block.split("annotations:")[0]:
            faults.append(f"{RULES}: {name}: speaks of exporters and names none")
    return len(names)


def check_log_lines(root, faults):
    """Sentences that the runbook looks for in the log must be in the program."""
    source = " ".join("\n".join(path.read_text() for path in pathlib.Path("src").rglob("*.rs")).split())
    # A sentence may go over two lines of source, with a backslash between.
    source = source.replace("\\ ", "")
    patterns = re.findall(r'^L \| grep (?:-E )?"([^"]+)"', (root / RUNBOOK).read_text(), re.M)
    for sentence in sorted({part for pattern in patterns for part in pattern.split("|")} - {"ERROR"}):
        if sentence not in source:
            faults.append(f"{RUNBOOK}: no log line says {sentence!r}")
    return len(patterns)


def check_pending(root, faults):
    documented = set(re.findall(rf"^\| `{PREFIX}(\w+)`", (root / METRICS).read_text(), re.M))
    for name in sorted(PENDING & documented):
        print(f"note: {name} is in {METRICS} now, it can leave PENDING in tests/deploy/lib/prometheus.py")
    used = (root / RULES).read_text() + (root / DASHBOARD).read_text()
    for name in sorted(PENDING):
        if PREFIX + name not in used:
            faults.append(f"PENDING: nobody uses {name}")


def expressions(dashboard):
    """(where, expression, may be empty) of each target and annotation."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            where = f"{DASHBOARD}: panel {panel['id']} {panel['title']!r}"
            yield where, target["expr"], any(name in target["expr"] for name in PENDING | ABSENT)
    for annotation in dashboard["annotations"]["list"]:
        yield f"{DASHBOARD}: annotation {annotation['name']!r}", annotation["expr"], True


def plain(expression):
    for name, value in GRAFANA.items():
        expression = expression.replace(name, value)
    return expression


def check_dashboard(root, faults):
    dashboard = json.loads((root / DASHBOARD).read_text())
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    faults += [f"{DASHBOARD}: panel id {one} stands twice" for one in sorted({i for i in ids if ids.count(i) > 1})]
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    if variables.get("datasource") != "datasource":
        faults.append(f"{DASHBOARD}: no variable of type datasource")
    taken = set()
    for panel in panels:
        where = f"{DASHBOARD}: panel {panel['id']} {panel['title']!r}"
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        if cells & taken or place["x"] + place["w"] > 24:
            faults.append(f"{where}: lies over another panel or over the edge")
        taken |= cells
        if panel["type"] == "row":
            continue
        if not panel.get("description", "").strip():
            faults.append(f"{where}: no description")
        if not panel["fieldConfig"]["defaults"].get("unit"):
            faults.append(f"{where}: no unit")
        if not panel.get("targets"):
            faults.append(f"{where}: no expression")
        for holder in [panel, *panel.get("targets", [])]:
            if holder.get("datasource", {}).get("uid") != "${datasource}":
                faults.append(f"{where}: a data source that is not the variable")
    for where, expression, _ in expressions(dashboard):
        left = re.sub(r"\$__\w+", "", expression)
        for name in set(re.findall(r"\$\{?(\w+)", left)) - set(variables):
            faults.append(f"{where}: there is no variable {name}")
        if "$" in plain(expression):
            faults.append(f"{where}: a variable that this check does not know: {plain(expression)}")
    with tempfile.TemporaryDirectory() as folder:
        rules = [{"record": f"panel:{i}", "expr": plain(e)} for i, (_, e, _) in enumerate(expressions(dashboard))]
        path = pathlib.Path(folder) / "dashboard.yml"
        # JSON is YAML.
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        said = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
        if said.returncode:
            faults.append(f"{DASHBOARD}: an expression does not parse: {said.stdout}{said.stderr}")
    return len(rules)


def check_names(root, served, faults):
    for name, block in [("the recording rules", (root / RULES).read_text()), *alerts((root / RULES).read_text())]:
        # The text of an annotation is folded: PromQL in it may go over several lines.
        faults += sorted(set(served.faults(f"{RULES}: {name}", " ".join(block.split()))))
    for where, expression, _ in expressions(json.loads((root / DASHBOARD).read_text())):
        faults += served.faults(where, expression)


def query(prometheus, expression):
    """Samples of an instant query; a string if Prometheus refuses it."""
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        return json.loads(fetch(url))["data"]["result"]
    except urllib.error.HTTPError as error:
        return error.read().decode()


def check_answers(root, prometheus, faults):
    answered = 0
    for where, expression, may_be_empty in expressions(json.loads((root / DASHBOARD).read_text())):
        result = query(prometheus, plain(expression))
        if isinstance(result, str):
            faults.append(f"{where}: {result}")
        elif not may_be_empty and not any(not math.isnan(float(series["value"][1])) for series in result):
            faults.append(f"{where}: no data for {plain(expression)}")
        else:
            answered += bool(result)
    groups = json.loads(fetch(f"{prometheus}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            faults.append(f"{RULES}: {rule['name']}: {rule['health']}: {rule.get('lastError', '')}")
    if len(rules) < 40:
        faults.append(f"{RULES}: Prometheus knows only {len(rules)} rules")
    return answered


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--served", type=pathlib.Path, nargs="*", default=[], help="what the collector served, text")
    parser.add_argument("--prometheus", help="base URL of a Prometheus that scrapes it and has the rules")
    given = parser.parse_args()
    faults, told = [], []
    told.append(f"{check_rules(given.root, faults)} alerts")
    told.append(f"{check_dashboard(given.root, faults)} expressions of the dashboard")
    told.append(f"{check_log_lines(given.root, faults)} searches of the log")
    check_pending(given.root, faults)
    if given.served:
        served = Served(*(path.read_text() for path in given.served))
        told.append(f"{len(served.labels)} metrics served")
        check_names(given.root, served, faults)
    if given.prometheus:
        told.append(f"{check_answers(given.root, given.prometheus, faults)} expressions with data")
    for fault in faults:
        print(f"FAULT {fault}")
    print(", ".join(told))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
