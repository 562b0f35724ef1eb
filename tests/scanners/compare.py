"""Runs detect-secrets over a corpus, reads what secretlint found, and says per kind who found how much. Each kind of
which another scanner finds something is a check: ours must have found every one of those too."""

import json
import pathlib
import sys
from collections import defaultdict

from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings

corpus = pathlib.Path(sys.argv[1])
labels = [line.split("\t") for line in (corpus / "labels.tsv").read_text().splitlines()]


def of_secretlint():
    """Names of files in which it found something, and lines of the benign text."""
    files, lines = set(), set()
    for result in json.loads(pathlib.Path(sys.argv[2]).read_text()):
        path = pathlib.Path(result["filePath"])
        for message in result["messages"]:
            if path.name == "benign.txt":
                lines.add(message["loc"]["start"]["line"])
            else:
                files.add(path.stem)
    return files, lines


def of_detect_secrets():
    secrets = SecretsCollection()
    with default_settings():
        for path in [*sorted((corpus / "positives").iterdir()), corpus / "benign.txt"]:
            secrets.scan_file(str(path))
    files, lines = set(), set()
    for name, secret in secrets:
        path = pathlib.Path(name)
        if path.name == "benign.txt":
            lines.add(secret.line_number)
        else:
            files.add(path.stem)
    return files, lines


lint, lint_lines = of_secretlint()
detect, detect_lines = of_detect_secrets()
counts = defaultdict(lambda: [0, 0, 0, 0])
missed = defaultdict(list)
for name, kind, ours in labels:
    found = [ours == "1", name in lint, name in detect]
    for i, one in enumerate([True, *found]):
        counts[kind][i] += one
    if (found[1] or found[2]) and not found[0]:
        missed[kind].append(name)

lines = sum(1 for _ in open(corpus / "benign.txt"))
print("| kind | positives | ours | secretlint | detect-secrets |")
print("|---|---|---|---|---|")
for kind, (all_, *found) in sorted(counts.items()):
    print(f"| {kind} | {all_} | " + " | ".join(f"{100 * n / all_:.0f} %" for n in found) + " |")
print(f"of {lines} harmless lines: secretlint reports {len(lint_lines)}, detect-secrets {len(detect_lines)}")

known = [kind for kind, (_, _, a, b) in counts.items() if a or b]
for kind in sorted(missed):
    print(f"FAIL {kind}: others found {len(missed[kind])} that we did not, for instance {missed[kind][0]}")
# Both must have worked: they know at least their own kinds.
worked = all(counts[kind][i] for kind, i in [("github_token", 2), ("slack_token", 2), ("stripe_key", 3), ("jwt", 3)])
failed = len(missed) + (not worked)
print(f"scanners: {len(known) - len(missed)} passed, {failed} failed")
sys.exit(failed != 0)
