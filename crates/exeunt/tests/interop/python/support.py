"""What the scripts share: a configured client, a namespace of their own, and assertions that say what they found."""

import json
import sys
import time

from kubernetes import client, config

PATIENCE_SECONDS = 60


def connect():
    """A client for the kubeconfig that the test named."""
    config.load_kube_config(config_file=sys.argv[1])
    return client.ApiClient()


def namespace(api_client, name):
    client.CoreV1Api(api_client).create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    return name


def check(sentence, found, expected=True):
    """Prints the sentence when it holds; ends the script when it does not."""
    if found != expected:
        sys.exit(f"FAILED: {sentence}\n  found:    {found!r}\n  expected: {expected!r}")
    print(f"ok: {sentence}", flush=True)


def refused(sentence, status, reason, call):
    """The call must be refused like this; gives the answer's body."""
    try:
        call()
    except client.exceptions.ApiException as refusal:
        body = json.loads(refusal.body)
        check(sentence, (refusal.status, body["kind"], body.get("reason")), (status, "Status", reason))
        return body
    sys.exit(f"FAILED: {sentence}\n  nothing was refused")


def until(sentence, look, passes):
    """Looks again and again until it passes; gives what was seen."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = look()
        if passes(found):
            print(f"ok: {sentence}", flush=True)
            return found
        if time.monotonic() > end:
            sys.exit(f"FAILED: {sentence}\n  last seen: {found}")
        time.sleep(0.05)


def pod(name, labels=None, node=None):
    container = client.V1Container(name="c", image="nginx")
    spec = client.V1PodSpec(containers=[container], node_name=node, termination_grace_period_seconds=1)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels=labels), spec=spec)


def is_ready(found):
    conditions = (found.status and found.status.conditions) or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
