"""What helm renders: valid for Kubernetes, whole in itself, locked down, free of secrets, and refused where it would be
wrong."""

import functools
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = ROOT / "deploy/helm/gateway"
# The oldest that Chart.yaml allows and the newest whose schemas there are.
VERSIONS = ("1.30", "1.37")
CASES = {
    "default": (),
    "full": ("-f", HERE / "values/full.yaml"),
    "fixed": ("-f", HERE / "values/fixed.yaml"),
    "least": ("-f", HERE / "values/least.yaml"),
    "no autoscaling": ("--set", "autoscaling.enabled=false"),
    "no migrations": ("--set", "migrations.enabled=false,networkPolicy.enabled=false"),
}
# Values that must not render, and what is said about them.
REFUSED = [
    ("replicaCount=0", "/replicaCount"),
    ("replicaCount=three", "/replicaCount"),
    ("image.tag=latest", "/image/tag"),
    ("image.digest=sha256:12", "/image/digest"),
    ("publicUrl=mcp.example.com", "/publicUrl"),
    ("publicUrl=https://mcp.example.com/path", "/publicUrl"),
    ("allowedHosts={http://a}", "/allowedHosts/0"),
    ("secrets.existingSecret=", "/secrets/existingSecret"),
    ("secrets.databaseUrl=postgres://u:p@db/x", "/secrets/databaseUrl"),
    ("secretEnv.UPSTREAM_A.value=canary", "/secretEnv/UPSTREAM_A"),
    ("secretEnv.GATEWAY__SCIM__TOKEN.secret=a", "/secretEnv"),
    ("secretFiles[0].file=../x,secretFiles[0].secret=a,secretFiles[0].key=b", "/secretFiles/0/file"),
    ("secretFiles[0].file=root.key,secretFiles[0].secret=a,secretFiles[0].key=b", "/secretFiles/0/file"),
    ("autoscaling.enabled=maybe", "/autoscaling/enabled"),
    ("podDisruptionBudget.maxUnavailable=0", "/podDisruptionBudget/maxUnavailable"),
    ("preStopSeconds=0", "/preStopSeconds"),
    ("drainSeconds=20s", "/drainSeconds"),
    ("service.type=ExternalName", "/service/type"),
    ("service.prot=80", "prot"),
    ("resources.requests.memory=lots", "/resources/requests/memory"),
    ("podLabels.app\\.kubernetes\\.io/name=x", "invalid propertyName 'app.kubernetes.io/name'"),
    ("networkPolicy.egress.database.port=0", "/networkPolicy/egress/database/port"),
    ("config.server.listen=127.0.0.1:1", "config.server.listen is set by the chart"),
    ("config.server.drain=1s", "config.server.drain is set by the chart"),
    ("config.server.notice=9s", "config.server.notice is set by the chart"),
    ("config.keys.root_file=/x", "config.keys.root_file is set by the chart"),
    ("config.database.migrate=true", "config.database.migrate is set by the chart"),
    ("config.audit.spool=true", "config.audit.spool needs a persistent volume"),
    ("config.sign_in.providers[0].client_secret=canary", "no value may hold a secret"),
]


class Strict(yaml.SafeLoader):
    """Kubernetes' own reader refuses a key that is there twice; PyYAML takes the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"twice in one mapping: {twice} at {node.start_mark}"
        return super().construct_mapping(node, deep)


def helm(*arguments):
    return subprocess.run([os.environ["HELM"], *map(str, arguments)], capture_output=True, text=True)


@functools.cache
def documents(*arguments):
    told = helm("template", "gw", CHART, "--namespace", "mcp", *arguments)
    assert told.returncode == 0, told.stderr
    return [d for d in yaml.load_all(told.stdout, Strict) if d]


def render(case="default"):
    """The documents of a case by kind."""
    found = {}
    for document in documents(*CASES[case]):
        found.setdefault(document["kind"], []).append(document)
    return found


def configuration(case="default"):
    """The text of the gateway.toml that the replicas read."""
    name = render(case)["Deployment"][0]["metadata"]["name"]
    found = [c for c in render(case)["ConfigMap"] if c["metadata"]["name"] == name]
    return found[0]["data"]["gateway.toml"]


def given(case):
    """What the case's values file says."""
    files = [argument for argument in CASES[case] if isinstance(argument, Path)]
    return yaml.safe_load(files[0].read_text()) if files else {}


def pods(case):
    """Every pod template with the name of what makes it."""
    owners = render(case)["Deployment"] + render(case).get("Job", [])
    return [(owner["kind"], owner["spec"]["template"]) for owner in owners]


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def lint():
    told = helm("lint", "--strict", CHART)
    assert told.returncode == 0, told.stdout + told.stderr


def valid(case):
    for document in documents(*CASES[case]):
        if document["kind"] == "ServiceMonitor":
            continue  # Not Kubernetes' own; `whole` looks at it.
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                name = f"{document['kind']} {document['metadata']['name']}"
                raise AssertionError(f"{name}, Kubernetes {version}: {error.message} at {error.path}") from error


def locked(case):
    """Nobody is root, nothing is writable that need not be, no token of the cluster is at hand."""
    for owner, template in pods(case):
        spec = template["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, owner
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, owner
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), owner
        assert not any("hostPath" in volume for volume in spec["volumes"]), owner
        for container in containers(template):
            at = f"{owner}: {container['name']}"
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False, at
            assert own["capabilities"] == {"drop": ["ALL"]} and not own.get("privileged"), at
            assert "memory" in container["resources"]["limits"], at
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), at
            writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
            assert writable == ["/var/lib/gateway"], f"{at}: {writable}"
    for account in render(case).get("ServiceAccount", []):
        assert account["automountServiceAccountToken"] is False


def secret_keys():
    """The settings that hold secrets, from the gateway's own source: [(section, key)]."""
    source = (ROOT / "gateway/server/src/config/sections.rs").read_text()
    names = {"Provider": "sign_in.providers[0]", "FlowRule": "flow_rule"}
    found = []
    for name, body in re.findall(r"pub struct (\w+) \{(.*?)\n    \}", source, re.S):
        for key in re.findall(r"(\w+): Option<SecretString>", body):
            found.append((names.get(name, name.lower()), key))
    assert len(found) >= 8, found
    return found


def no_secrets(case):
    held = {key for _, key in secret_keys()} - {"url"}
    assert "Secret" not in render(case)
    for owner, template in pods(case):
        for container in containers(template):
            for variable in container.get("env", []):
                literal = "value" in variable
                assert not literal or variable["name"].endswith("_FILE"), f"{owner}: {variable}"
                assert literal or variable["valueFrom"].keys() == {"secretKeyRef"}, f"{owner}: {variable}"
    for section, keys in tomllib.loads(configuration(case)).items():
        for table in [keys, *(row for rows in keys.values() if isinstance(rows, list) for row in rows)]:
            if isinstance(table, dict):
                assert not held & table.keys(), f"[{section}] holds {held & table.keys()}"
                assert section != "database" or "url" not in table


def secrets_are_refused():
    for section, key in secret_keys():
        told = helm("template", "gw", CHART, "--set", f"config.{section}.{key}=canary-71")
        assert told.returncode != 0, f"config.{section}.{key} was taken"
        assert key in told.stderr and "canary-71" not in told.stderr, told.stderr


def whole(case):
    """What refers to something finds it: labels, ports, volumes, files, names."""
    kinds = render(case)
    deployment = kinds["Deployment"][0]
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    fits = lambda selector: selector.items() <= labels
    assert fits(deployment["spec"]["selector"]["matchLabels"])
    assert ("replicas" in deployment["spec"]) == ("HorizontalPodAutoscaler" not in kinds)
    config = tomllib.loads(configuration(case))
    assert {f"0.0.0.0:{port}" for port in ports.values()} == {config["server"]["listen"], config["server"]["admin_listen"]}
    for service in kinds["Service"]:
        assert fits(service["spec"]["selector"])
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
        outside = service["spec"]["type"] != "ClusterIP"
        assert not (outside and any(p["targetPort"] == "admin" for p in service["spec"]["ports"])), "metrics outside"
        for other, pod in pods(case):
            takes_all = service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
            assert takes_all == (other == "Deployment"), f"{service['metadata']['name']} and the {other}"
    for scaler in kinds.get("HorizontalPodAutoscaler", []):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
    for budget in kinds.get("PodDisruptionBudget", []):
        assert fits(budget["spec"]["selector"]["matchLabels"])
    for spread in template["spec"]["topologySpreadConstraints"]:
        assert fits(spread["labelSelector"]["matchLabels"])
    for monitor in kinds.get("ServiceMonitor", []):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in kinds["Service"] if wanted <= s["metadata"]["labels"].items()]
        assert [s["spec"]["ports"][0]["name"] for s in found] == [monitor["spec"]["endpoints"][0]["port"]], found
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    for ingress in kinds.get("Ingress", []):
        host = re.match(r"https?://([^:/]+)", config["server"]["public_url"])[1]
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        service = next(s for s in kinds["Service"] if s["metadata"]["name"] == backend["name"])
        assert ingress["spec"]["rules"][0]["host"] == host == ingress["spec"]["tls"][0]["hosts"][0]
        assert backend["port"]["number"] in [p["port"] for p in service["spec"]["ports"]]
    for owner, pod in pods(case):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes, f"{owner}: {container['name']}"


def secret_paths(template):
    """The files that a pod's Secrets become."""
    found = set()
    mounts = {m["name"]: m["mountPath"] for m in template["spec"]["containers"][0]["volumeMounts"]}
    for volume in template["spec"]["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            found |= {f"{mounts[volume['name']]}/{item['path']}" for item in source["secret"]["items"]}
        if "secret" in volume:
            found |= {f"{mounts[volume['name']]}/{name}" for name in ("tls.crt", "tls.key")}
    return found


def files_are_there(case):
    """Each file that the configuration names comes from a Secret that is mounted there."""
    named = set(re.findall(r'"(/run/[^"]*)"', configuration(case)))
    for owner, template in pods(case):
        missing = named - secret_paths(template)
        assert not missing, f"{owner}: {missing}"
    for _, template in pods(case):
        for container in containers(template):
            for variable in container.get("env", []):
                assert variable.get("value", "/") == "/" or variable["value"] in secret_paths(template), variable


def there_is_time(case):
    """The cluster waits longer than the gateway takes: preStop, drain, and 5 s for the last records."""
    spec = render(case)["Deployment"][0]["spec"]["template"]["spec"]
    drain = int(tomllib.loads(configuration(case))["server"]["drain"].removesuffix("s"))
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    flush = int(re.search(r"FLUSH_WITHIN.*from_secs\((\d+)\)", (ROOT / "gateway/server/src/app.rs").read_text())[1])
    assert sleep >= 1 and spec["terminationGracePeriodSeconds"] >= sleep + drain + flush + 2


def hooks_stand_alone(case):
    """The migrations run before anything else of the release is there."""
    hooks, rest = {}, set()
    for document in documents(*CASES[case]):
        notes = document["metadata"].get("annotations", {})
        name = (document["kind"], document["metadata"]["name"])
        if "helm.sh/hook" in notes:
            assert notes["helm.sh/hook"] == "pre-install,pre-upgrade", name
            hooks[name] = int(notes["helm.sh/hook-weight"])
        else:
            rest.add(name)
    for job in render(case).get("Job", []):
        spec = job["spec"]["template"]["spec"]
        at = hooks["Job", job["metadata"]["name"]]
        assert spec.get("serviceAccountName") is None, "its account would not be there yet"
        own = [v["configMap"]["name"] for v in spec["volumes"] if v["name"] == "config"]
        assert all(hooks["ConfigMap", name] < at for name in own)
        assert all(weight < at for (kind, _), weight in hooks.items() if kind == "NetworkPolicy")
    assert not hooks.keys() & rest


def way_is_narrow(case):
    """A policy for each pod, metrics for nobody who is not named, and no rule that lets everything out."""
    policies = render(case).get("NetworkPolicy", [])
    for owner, template in pods(case) if policies else []:
        labels = template["metadata"]["labels"].items()
        own = [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= labels]
        assert len(own) == 1, f"{owner}: {len(own)} policies"
        spec = own[0]["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("ports") for rule in spec["egress"]), f"{owner}: a rule without ports"
        asked = given(case).get("networkPolicy", {})
        for peers in asked.get("ingress", {}).values() if owner == "Deployment" else []:
            assert peers in [rule.get("from") for rule in spec["ingress"]], f"{peers} cannot come in"
        ways = asked.get("egress", {})
        for rule in ways.get("upstreams", []) if owner == "Deployment" else []:
            assert rule in spec["egress"], f"{rule} is no way out"
        if "database" in ways:
            wanted = {"ports": [{"protocol": "TCP", "port": ways["database"]["port"]}], "to": ways["database"]["to"]}
            assert wanted in spec["egress"], f"{owner}: no way to the database"
        for rule in spec["ingress"]:
            assert rule["ports"][0]["port"] == "clients" or rule["from"], f"{owner}: metrics for everybody"
        assert owner == "Deployment" or spec["ingress"] == []


def refused(values, told):
    answer = helm("template", "gw", CHART, "--set", values)
    assert answer.returncode != 0, "it rendered"
    assert told in answer.stderr, answer.stderr
    assert "canary" not in answer.stderr, answer.stderr


def values_are_explained():
    """Every value has a default, a schema, and a comment above it or above what it belongs to."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"].pop("global")
    def compare(value, node, at):
        if at and not (isinstance(value, dict) and "properties" in node):
            return
        assert value.keys() == node["properties"].keys(), f"{at}: {value.keys() ^ node['properties'].keys()}"
        assert node["additionalProperties"] is False, at
        for key in value:
            compare(value[key], node["properties"][key], f"{at}.{key}")
    compare(values, schema, "")
    lines = (CHART / "values.yaml").read_text().splitlines()
    as_kubernetes = {"podLabels", "nodeSelector", "tolerations", "affinity", "priorityClassName"}
    for before, line in zip(["", *lines], lines):
        found = re.match(r"( {0,6})(\w+): \S", line)
        if found and not before.strip().startswith("#") and found[2] not in as_kubernetes:
            inside = re.match(r"\s+(cpu|memory|cidr|except|port|protocol|- protocol|kubernetes.io)", line)
            assert inside, f"no comment above: {line}"


def checks():
    found = [("chart: helm lint", lint), ("chart: every value is explained", values_are_explained)]
    for case in CASES:
        for check in (valid, locked, no_secrets, whole, files_are_there, there_is_time, hooks_stand_alone, way_is_narrow):
            name = check.__name__.replace("_", " ")
            found.append((f"chart, {case}: {name}", functools.partial(check, case)))
    found.append(("chart: settings that hold secrets are refused", secrets_are_refused))
    for values, told in REFUSED:
        found.append((f"chart refuses {values}", functools.partial(refused, values, told)))
    return found
