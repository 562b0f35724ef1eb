"""Runs every check of deploy/ and counts: chart.py looks at what helm renders, running.py at what the gateway says to
it, figures.py and firing.py at alerts and dashboard. With an argument only the checks whose names hold it."""

import subprocess
import sys
import traceback
from pathlib import Path

import chart
import figures
import firing
import running

ROOT = Path(__file__).resolve().parents[2]


def dockerfile():
    """hadolint, and what it does not know of: one release of Debian, the pinned toolchain, a numeric user."""
    path = ROOT / "deploy/Dockerfile"
    text = path.read_text()
    linted = subprocess.run(["hadolint", "--no-color", path], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    toolchain = (ROOT / "Cargo.toml").read_text().split('rust-version = "')[1].split('"')[0]
    assert f"FROM rust:{toolchain}-slim-" in text, f"the builder is not rust:{toolchain}"
    user = [line.split()[1] for line in text.splitlines() if line.startswith("USER ")]
    pod = chart.render()["Deployment"][0]["spec"]["template"]["spec"]["securityContext"]
    assert user == [f"{pod['runAsUser']}:{pod['runAsGroup']}"], f"USER {user}, the chart says {pod}"


def dependencies():
    """What deny.toml says of licences, sources and crates that must not come in; advisories need the network."""
    command = ["cargo-deny", "--offline", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def main(only=""):
    passed = failed = 0
    for module in (chart, running, firing, figures):
        checks = module.checks()
        if module is figures:
            checks += [("Dockerfile", dockerfile), ("dependencies", dependencies)]
        for name, check in (named for named in checks if only in named[0]):
            try:
                check()
            except Exception as error:
                failed += 1
                told = isinstance(error, AssertionError) and str(error) or traceback.format_exc()
                print(f"FAIL {name}: {told}", flush=True)
            else:
                passed += 1
                print(f"ok   {name}", flush=True)
    print(f"deploy: {passed} passed, {failed} failed")
    return failed != 0 or passed < (1 if only else 40)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
