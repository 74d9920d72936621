"""Watches: from now, from a version, with an end, and from a version that nobody has yet."""

import threading

from kubernetes import client, watch
from support import check, connect, namespace

core = client.CoreV1Api(connect())
ns = namespace(core.api_client, "watching")


def make(name, **labels):
    return core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels)))


make("a")
listed = core.list_namespaced_config_map(ns).metadata.resource_version


def change():
    make("b", tier="front")
    core.patch_namespaced_config_map("b", ns, {"data": {"k": "v"}})
    core.patch_namespaced_config_map("b", ns, {"metadata": {"labels": {"tier": "back"}}})
    core.delete_namespaced_config_map("b", ns)
    make("last")


def names(events, last):
    """The events up to the one that is about `last`."""
    seen = []
    for event in events:
        seen.append((event["type"], event["object"].metadata.name))
        if seen[-1][1] == last:
            return seen


changes = threading.Thread(target=change)
changes.start()
watcher = watch.Watch()
events = watcher.stream(core.list_namespaced_config_map, ns, resource_version=listed, timeout_seconds=60)
expected = [("ADDED", "b"), ("MODIFIED", "b"), ("MODIFIED", "b"), ("DELETED", "b"), ("ADDED", "last")]
check("a watch from a version sees every change, typed", names(events, "last"), expected)
changes.join()
check("the watcher knows where to go on", int(watcher.resource_version) > int(listed))

# The same again, by a selector: what stops matching is deleted for this watch.
events = watch.Watch().stream(
    core.list_namespaced_config_map, ns, resource_version=listed, label_selector="tier=front", timeout_seconds=1
)
found = [(event["type"], event["object"].metadata.labels["tier"]) for event in events]
check("a selector turns a change into a deletion", found, [("ADDED", "front"), ("MODIFIED", "front"), ("DELETED", "front")])

# Without a version a watch begins with what there is.
events = list(watch.Watch().stream(core.list_namespaced_config_map, ns, field_selector="metadata.name!=kube-root-ca.crt", timeout_seconds=1))
check("a watch from now begins with what there is", [event["object"].metadata.name for event in events], ["a", "last"])
