"""What the gateway itself says to what the chart renders: it takes the configuration, and answers where the probes ask."""

import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import chart

GATEWAY = os.environ["GATEWAY_BIN"]
# What a Secret would hold, by the file's name.
SECRETS = {
    "database-url": "postgres://gateway:canary-71@db.internal/gateway",
    "database-migrate-url": "postgres://owner:canary-71@db.internal/gateway",
}
CANARY = "canary-71-0123456789abcdefghijklmnopqrstuvwxyz"


def placed(folder, case):
    """The rendered configuration in `folder`, with its secrets, all paths below it."""
    text = chart.configuration(case)
    for path in set(re.findall(r'"/run/secrets/([^"]*)"', text)):
        file = folder / "secrets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(32) if file.suffix == ".key" else SECRETS.get(file.name, CANARY).encode())
    text = text.replace("/run/secrets/", f"{folder}/secrets/").replace("/var/lib/gateway", f"{folder}/data")
    file = folder / "gateway.toml"
    file.write_text(text)
    return file


def arguments(case, owner, name, file):
    """A container's arguments, with the configuration where it is here."""
    template = dict(chart.pods(case))[owner]
    container = next(c for c in chart.containers(template) if c["name"] == name)
    assert "/etc/gateway/gateway.toml" in container["args"], container["args"]
    return [GATEWAY, *(str(file) if a == "/etc/gateway/gateway.toml" else a for a in container["args"])]


def accepted(case):
    with tempfile.TemporaryDirectory() as folder:
        file = placed(Path(folder), case)
        command = [GATEWAY, "check-config", file]
        if "Job" in chart.render(case):
            command = arguments(case, "Job", "check-config", file)
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "canary" not in told.stdout + told.stderr, "a secret is shown"
        # A typing error must show, or nothing has been checked.
        file.write_text(file.read_text() + "\n[limits_]\nin_flight = 1\n")
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == 2


def status(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def await_line(log, process, pattern):
    for _ in range(900):
        found = re.search(pattern, log.read_text())
        if found:
            return found
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError(f"{pattern} never came: {log.read_text()[-2000:]}")


def answers():
    """Starts the gateway as the Deployment does, on a private Postgres, and asks what the probes ask."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-deploy-"))
    folder.chmod(0o711)  # The private Postgres runs as somebody else.
    process = None
    try:
        file = placed(folder, "default")
        kept = [line for line in file.read_text().splitlines() if not re.match(r"(url_file|migrate) =", line)]
        file.write_text("\n".join(kept) + "\n")
        (folder / "data").mkdir(mode=0o711)
        environment = os.environ | {
            "GATEWAY__SERVER__LISTEN": "127.0.0.1:0",
            "GATEWAY__SERVER__ADMIN_LISTEN": "127.0.0.1:0",
            "GATEWAY__SERVER__DRAIN": "2s",
        }
        migrate = arguments("default", "Job", "migrate", file)
        told = subprocess.run(migrate, env=environment, capture_output=True, text=True, timeout=120)
        assert told.returncode == 0, told.stderr
        log = folder / "log"
        with log.open("w") as stderr:
            serve = arguments("default", "Deployment", "gateway", file)
            process = subprocess.Popen(serve, env=environment, stderr=stderr, stdout=stderr)
        admin = await_line(log, process, r'"admin":"([^"]+)"')[1]
        container = chart.render()["Deployment"][0]["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == "admin", asked
            code, _ = status(admin, asked["path"])
            assert code == 200, f"{probe} asks {asked['path']}: {code}"
        monitor = chart.render("full")["ServiceMonitor"][0]["spec"]["endpoints"][0]
        code, text = status(admin, monitor["path"])
        assert code == 200 and "gateway_ready 1" in text, f"{monitor['path']}: {code}"
        assert status(admin, "/health/nothing")[0] == 404, "every address answers"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-2000:]
    finally:
        if process and process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def checks():
    found = [(f"gateway takes the configuration, {case}", functools.partial(accepted, case)) for case in chart.CASES]
    return [*found, ("gateway migrates, serves, answers the probes, and ends", answers)]
