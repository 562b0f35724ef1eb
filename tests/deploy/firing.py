"""Each alert fires when it should and is silent when all is well: promtool runs the rules over made-up figures."""

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CALLS = "gateway_calls_total"


def steady(value):
    return f"{value}+0x60"


def growing(per_second):
    return f"0+{per_second * 60}x60"


def times(name, each):
    """A hundred calls a second that take so many seconds each."""
    labels = '{method="tools/call"}'
    return {f"{name}_sum{labels}": growing(100 * each), f"{name}_count{labels}": growing(100)}


# What a quiet day looks like; an alert's case lays its own figures over it.
WELL = {
    'gateway_ready{instance="a"}': steady(1),
    'gateway_ready{instance="b"}': steady(1),
    'gateway_audit_writable{instance="a"}': steady(1),
    'gateway_audit_lost{instance="a"}': steady(0),
    'gateway_audit_spooled_bytes{instance="a"}': steady(0),
    'gateway_audit_spool_writable{instance="a"}': steady(1),
    'gateway_breaker_state{instance="a",server="wiki"}': steady(0),
    'gateway_audit_queue{instance="a"}': steady(40),
    'gateway_in_flight{instance="a"}': steady(200),
    'gateway_servers{instance="a",health="failing"}': steady(0),
    CALLS + '{method="tools/call",outcome="ok",reason="none"}': growing(100),
    CALLS + '{method="tools/call",outcome="denied",reason="policy_denied"}': growing(20),
    CALLS + '{method="tools/call",outcome="error",reason="upstream_timeout"}': growing(1),
    CALLS + '{method="none",outcome="denied",reason="credential_invalid"}': growing(1),
    'gateway_upstream_errors_total{reason="upstream_timeout"}': growing(1),
    'gateway_findings_total{guard="tool_call",class="secrets",mode="monitor"}': growing(5),
    **times("gateway_call_seconds", 0.32),
    **times("gateway_upstream_seconds", 0.30),
}
FIRES = {
    "GatewayDown": {'gateway_ready{instance="a"}': None, 'gateway_ready{instance="b"}': None},
    "GatewayNoneReady": {'gateway_ready{instance="a"}': steady(0), 'gateway_ready{instance="b"}': steady(0)},
    "GatewayReplicaNotReady": {'gateway_ready{instance="b"}': steady(0)},
    "GatewayAuditNotWritable": {'gateway_audit_writable{instance="a"}': steady(0)},
    "GatewayAuditLost": {'gateway_audit_lost{instance="a"}': steady(1)},
    "GatewayAuditSpooling": {'gateway_audit_spooled_bytes{instance="a"}': steady(4096)},
    "GatewayAuditSpoolFilling": {'gateway_audit_spooled_bytes{instance="a"}': steady(200 << 20)},
    "GatewayAuditSpoolNotWritable": {'gateway_audit_spool_writable{instance="a"}': steady(0)},
    "GatewayBreakerOpen": {'gateway_breaker_state{instance="a",server="wiki"}': " ".join(["2 2 2 1"] * 15)},
    "GatewayAuditQueueLong": {'gateway_audit_queue{instance="a"}': steady(6000)},
    "GatewayRefusing": {CALLS + '{method="tools/call",outcome="denied",reason="audit_unavailable"}': growing(2)},
    "GatewayUpstreamErrors": {'gateway_upstream_errors_total{reason="upstream_timeout"}': growing(60)},
    "GatewayServersFailing": {'gateway_servers{instance="a",health="failing"}': steady(2)},
    "GatewaySlow": times("gateway_call_seconds", 0.45),
    "GatewayBusy": {'gateway_in_flight{instance="a"}': steady(3500)},
    "GatewayUnknownOutcomes": {CALLS + '{method="tools/call",outcome="unknown",reason="none"}': growing(1)},
    "GatewayCredentialsRefused": {CALLS + '{method="none",outcome="denied",reason="credential_invalid"}': growing(30)},
    "GatewayScannerBlocks": {'gateway_findings_total{guard="tool_call",class="secrets",mode="block"}': growing(1)},
}


def case(figures, alert, firing):
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in figures.items() if text],
        "promql_expr_test": [{
            "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
            "eval_time": "50m",
            "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
        }],
    }


def fires(alert):
    rules = ROOT / "deploy/alerts.yaml"
    tests = [case(WELL, alert, False), case(WELL | FIRES[alert], alert, True)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}, file)
        file.flush()
        told = subprocess.run([os.environ["PROMTOOL"], "test", "rules", file.name], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def all_are_tried():
    told = subprocess.run([os.environ["PROMTOOL"], "check", "rules", ROOT / "deploy/alerts.yaml"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    groups = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == FIRES.keys()


def checks():
    found = [(f"alert {alert} fires, and is silent when all is well", functools.partial(fires, alert)) for alert in FIRES]
    return [("alerts: promtool takes them, each is tried", all_are_tried), *found]
