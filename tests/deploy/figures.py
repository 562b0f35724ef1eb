"""Alerts and dashboard speak of figures that exist: every expression parses, every metric, label and label's value is one
that the gateway's source knows."""

import json
import re
from pathlib import Path

import promql_parser as promql
import yaml

ROOT = Path(__file__).resolve().parents[2]
# What Prometheus and Kubernetes add.
ADDED = {"instance", "job", "namespace", "pod", "le"}


def known():
    """Every figure with its labels, from the source: {name: {label}}."""
    files = sorted((ROOT / "gateway/server/src/telemetry").rglob("*.rs"))
    text = "".join(file.read_text().split("#[cfg(test)]")[0] for file in files)
    places = list(re.finditer(r'"(gateway_[a-z_]+)"', text))
    found = {}
    for place, following in zip(places, [*places[1:], None]):
        until = text[place.end() : following.start() if following else place.end() + 300]
        # `&["a", "b"]`, or the one label of a gauge: name, help, label.
        labels = re.match(r'\s*,\s*"[^"]*",\s*("\w+"),?\s*\)', until) or re.search(r"&\[([^\]]*)\]", until)
        found[place[1]] = set(re.findall(r'"(\w+)"', labels[1])) if labels else set()
    assert len(found) >= 15, found
    return found


def names_in(*files):
    """What the enums of these files are called in rows and labels."""
    return {n for f in files for n in re.findall(r'"([a-z_]+)"', (ROOT / f).read_text())}


def values():
    """What a label can say, where that is a closed list."""
    core = "gateway/core/src/"
    return {
        "reason": names_in(core + "reason.rs") | {"none"},
        "outcome": names_in(core + "record.rs"),
        "mode": names_in(core + "scan/mod.rs"),
        "guard": names_in(core + "scan/mod.rs"),
        "class": names_in(core + "scan/mod.rs"),
        "health": {"ok", "failing", "unknown"},
        "method": set(re.findall(r'=> "([\w/]+)"', (ROOT / "gateway/server/src/telemetry/metrics.rs").read_text())),
    }


def selectors(node):
    """Every selector of an expression, and the labels that it is grouped by."""
    chosen, grouped, open_ = [], set(), [node]
    while open_:
        part = open_.pop()
        if isinstance(part, promql.VectorSelector):
            chosen.append(part)
            continue
        modifier = getattr(part, "modifier", None)
        if modifier is not None and hasattr(modifier, "labels"):
            grouped |= set(modifier.labels)
        for name in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
            below = getattr(part, name, None)
            for item in below if isinstance(below, list) else [below]:
                if isinstance(item, promql.Expr):
                    open_.append(item)
    return chosen, grouped


def means_something(expression):
    figures, closed = known(), values()
    chosen, grouped = selectors(promql.parse(expression))
    assert chosen, f"no figure in {expression}"
    for selector in chosen:
        name = re.sub(r"_(bucket|sum|count)$", "", selector.name)
        assert name in figures, f"there is no figure {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in figures[name] | ADDED, f"{selector.name} has no label {matcher.name}"
            for value in matcher.value.split("|") if matcher.name in closed else []:
                assert value in closed[matcher.name], f"{matcher.name} is never {value}"
        assert grouped <= figures[name] | ADDED, f"{selector.name} has no labels {grouped - figures[name] - ADDED}"


def alert(rule):
    means_something(rule["expr"])
    assert re.fullmatch(r"Gateway[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "runbook_url"}
    assert rule["annotations"]["runbook_url"].endswith("RUNBOOK.md#" + rule["alert"].lower())


def dashboard():
    board = json.loads((ROOT / "deploy/dashboard.json").read_text())
    panels = board["panels"]
    assert len({p["id"] for p in panels}) == len(panels) and len({p["title"] for p in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and all(x < 24 for x, _ in cells), f"{panel['title']} lies on another panel"
        taken |= cells
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".+")
            assert "$" not in text, text
            means_something(text)


def checks():
    groups = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    found = [(f"alert {rule['alert']}", lambda rule=rule: alert(rule)) for rule in rules]
    return [*found, ("dashboard", dashboard)]
