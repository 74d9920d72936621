"""The dynamic client: discovery, built-in and custom kinds, apply, watch, and a CustomResourceDefinition of its own."""

import os
import tempfile

# The client caches what it discovers in a file named after the server: another server may have had its port.
os.environ["TMPDIR"] = tempfile.mkdtemp()

from kubernetes import client, dynamic
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from support import check, connect, namespace, until

api_client = connect()
ns = namespace(api_client, "dynamic")
world = dynamic.DynamicClient(api_client)

budgets = world.resources.get(api_version="policy/v1", kind="PodDisruptionBudget")
check("a kind is discovered", (budgets.name, budgets.namespaced), ("poddisruptionbudgets", True))
check("it is found by its short name", world.resources.get(short_names=["pdb"], api_version="policy/v1").kind, "PodDisruptionBudget")
evictions = [name for name in world.resources.get(api_version="v1", kind="Pod").subresources]
check("pods have an eviction", "eviction" in evictions)

spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
body = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}
made = budgets.create(body=body, namespace=ns)
check("it is made", (made.kind, made.spec.minAvailable), ("PodDisruptionBudget", 1))
patched = budgets.patch(body={"spec": {"minAvailable": "50%"}}, name="b", namespace=ns, content_type="application/merge-patch+json")
check("it is patched", patched.spec.minAvailable, "50%")
applied = budgets.server_side_apply(
    body={**body, "spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}, name="b", namespace=ns, field_manager="python"
)
check("it is applied", (applied.spec.unhealthyPodEvictionPolicy, applied.spec.minAvailable), ("AlwaysAllow", "50%"))
try:
    budgets.create(body=body, namespace=ns)
    check("it is made only once", False)
except ConflictError as conflict:
    check("it is made only once", conflict.reason, "Conflict")

# A kind of our own.
schema = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}, "default": {}}},
}
definition = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "stages.theatre.example"},
    "spec": {
        "group": "theatre.example",
        "scope": "Namespaced",
        "names": {"plural": "stages", "singular": "stage", "kind": "Stage"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
        ],
    },
}
definitions = world.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
definitions.create(body=definition)


def established():
    conditions = definitions.get(name="stages.theatre.example").to_dict().get("status", {}).get("conditions", [])
    return [condition["type"] for condition in conditions if condition["status"] == "True"]


until("the definition is established", established, lambda found: "Established" in found)
world.resources.invalidate_cache()
stages = world.resources.get(api_version="theatre.example/v1", kind="Stage")
made = stages.create(body={"apiVersion": "theatre.example/v1", "kind": "Stage", "metadata": {"name": "main"}}, namespace=ns)
check("a default of the schema is filled in", made.spec.size, 3)
status = stages.status.patch(
    body={"status": {"open": True}}, name="main", namespace=ns, content_type="application/merge-patch+json"
)
check("what the schema does not know is dropped", "status" not in status.to_dict() or status.to_dict()["status"] == {}, True)
version = stages.get(namespace=ns).metadata.resourceVersion
stages.patch(body={"spec": {"size": 4}}, name="main", namespace=ns, content_type="application/merge-patch+json")
stages.delete(name="main", namespace=ns)
seen = [
    (event["type"], event["object"].spec.size)
    for event in stages.watch(namespace=ns, resource_version=version, timeout=1)
]
check("a watch sees its life", seen, [("MODIFIED", 4), ("DELETED", 4)])
try:
    stages.get(name="main", namespace=ns)
    check("it is gone", False)
except NotFoundError as gone:
    check("it is gone", gone.status, 404)

# The client for custom objects asks for the same by other means.
custom = client.CustomObjectsApi(api_client)
body = {"apiVersion": "theatre.example/v1", "kind": "Stage", "metadata": {"name": "side"}, "spec": {"size": 1}}
custom.create_namespaced_custom_object("theatre.example", "v1", ns, "stages", body)
listed = custom.list_namespaced_custom_object("theatre.example", "v1", ns, "stages")
check("custom objects are listed", [item["metadata"]["name"] for item in listed["items"]], ["side"])
definitions.delete(name="stages.theatre.example")
until(
    "the definition takes its objects along",
    lambda: [item.metadata.name for item in definitions.get().items],
    lambda found: "stages.theatre.example" not in found,
)
