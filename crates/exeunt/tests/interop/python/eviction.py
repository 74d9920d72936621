"""Evictions as an operator written in Python sees them: granted, refused with causes, two budgets, dry run, preconditions."""

from kubernetes import client
from support import check, connect, is_ready, namespace, pod, refused, until

api_client = connect()
core, policy = client.CoreV1Api(api_client), client.PolicyV1Api(api_client)
ns = namespace(api_client, "eviction")
for name in ["p1", "p2", "p3"]:
    core.create_namespaced_pod(ns, pod(name, {"app": "web"}))
for name in ["p1", "p2", "p3"]:
    until(f"{name} is ready", lambda name=name: core.read_namespaced_pod(name, ns), is_ready)


def evict(name, **options):
    options = client.V1DeleteOptions(**options) if options else None
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=ns), delete_options=options)
    return core.create_namespaced_pod_eviction(name, ns, body)


def budget(name, **spec):
    spec = client.V1PodDisruptionBudgetSpec(selector=client.V1LabelSelector(match_labels={"app": "web"}), **spec)
    policy.create_namespaced_pod_disruption_budget(ns, client.V1PodDisruptionBudget(metadata=client.V1ObjectMeta(name=name), spec=spec))
    read = lambda: policy.read_namespaced_pod_disruption_budget_status(name, ns)
    return until(f"budget {name} is counted", read, lambda found: found.status.observed_generation == 1)


counted = budget("two", min_available=2)
check("it allows one disruption", (counted.status.current_healthy, counted.status.disruptions_allowed), (3, 1))

evict("p1", dry_run=["All"])
check("a dry run evicts nothing", core.read_namespaced_pod("p1", ns).metadata.deletion_timestamp, None)
refused("a wrong uid is a conflict", 409, "Conflict", lambda: evict("p1", preconditions=client.V1Preconditions(uid="other")))
evict("p1", grace_period_seconds=1)
print("ok: the first eviction is granted")
try:
    marked = [condition.reason for condition in core.read_namespaced_pod("p1", ns).status.conditions if condition.type == "DisruptionTarget"]
    check("the pod says why it ends", marked, ["EvictionByEvictionAPI"])
except client.exceptions.ApiException as gone:
    check("the pod is gone already", gone.status, 404)

answer = refused("the second eviction is refused", 429, "TooManyRequests", lambda: evict("p2"))
check("it says what everybody knows", answer["message"], "Cannot evict pod as it would violate the pod's disruption budget.")
cause = answer["details"]["causes"][0]
check("the cause is the budget", cause["reason"], "DisruptionBudget")
check("the cause names it", cause["message"].startswith("The disruption budget two "))

policy.patch_namespaced_pod_disruption_budget("two", ns, {"spec": {"minAvailable": "50%"}})
budget("other", max_unavailable=1)
answer = refused("two budgets are an error", 500, None, lambda: evict("p2"))
check("it says so", "more than one PodDisruptionBudget" in answer["message"])
refused("what is not there cannot be evicted", 404, "NotFound", lambda: evict("nobody"))
