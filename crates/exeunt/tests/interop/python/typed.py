"""The typed client: create, read, list, all languages of patches, replace, delete, and how refusals look."""

from kubernetes import client
from support import check, connect, is_ready, namespace, pod, refused, until

api_client = connect()
core, apps = client.CoreV1Api(api_client), client.AppsV1Api(api_client)
ns = namespace(api_client, "typed")

check("the version is 1.36", client.VersionApi(api_client).get_code().minor, "36")
groups = [group.name for group in client.ApisApi(api_client).get_api_versions().groups]
check("the policy group is served", "policy" in groups)

# Objects.
settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="c-", labels={"a": "b"}), data={"k": "ü"})
made = core.create_namespaced_config_map(ns, settings)
name = made.metadata.name
check("a name is made", name.startswith("c-") and len(name) == 7)
check("it is read back", core.read_namespaced_config_map(name, ns).data, {"k": "ü"})
for number in range(5):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"n{number}", labels={"page": "yes"}))
    core.create_namespaced_config_map(ns, body)
first = core.list_namespaced_config_map(ns, label_selector="page=yes", limit=2)
check("a page has two", [item.metadata.name for item in first.items], ["n0", "n1"])
rest = core.list_namespaced_config_map(ns, label_selector="page=yes", _continue=first.metadata._continue)
check("the rest follows", [item.metadata.name for item in rest.items], ["n2", "n3", "n4"])
one = core.list_config_map_for_all_namespaces(field_selector=f"metadata.name={name}")
check("a field selector finds it in all namespaces", len(one.items), 1)

# Patches: a dict is strategic here, a list is a JSON patch, the others are named.
patched = core.patch_namespaced_config_map(name, ns, {"data": {"x": "1"}})
check("a strategic merge patch adds", patched.data, {"k": "ü", "x": "1"})
patched = core.patch_namespaced_config_map(name, ns, [{"op": "remove", "path": "/data/x"}])
check("a JSON patch removes", patched.data, {"k": "ü"})
patched = core.patch_namespaced_config_map(name, ns, {"data": {"k": None}}, _content_type="application/merge-patch+json")
check("a merge patch removes with null", patched.data, None)
body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"mine": "1"}}
applied = core.patch_namespaced_config_map(name, ns, body, field_manager="python", force=True, _content_type="application/apply-patch+yaml")
managers = [(entry.manager, entry.operation) for entry in applied.metadata.managed_fields]
check("an apply owns its fields", ("python", "Apply") in managers)
body["data"] = {"mine": "2"}
conflict = refused(
    "another manager meets a conflict", 409, "Conflict",
    lambda: core.patch_namespaced_config_map(name, ns, body, field_manager="other", _content_type="application/apply-patch+yaml"),
)
check("the conflict names the field", conflict["details"]["causes"][0]["field"], ".data.mine")

# Replace with a stale version.
applied.data = {"k": "2"}
applied.metadata.managed_fields = None
replaced = core.replace_namespaced_config_map(name, ns, applied)
check("a replacement is stored", replaced.data, {"k": "2"})
refused("a stale replacement is refused", 409, "Conflict", lambda: core.replace_namespaced_config_map(name, ns, applied))
dry = core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="dry")), dry_run="All")
check("a dry run answers", dry.metadata.name, "dry")
refused("a dry run stores nothing", 404, "NotFound", lambda: core.read_namespaced_config_map("dry", ns))

# Refusals.
refused("what exists is not made again", 409, "AlreadyExists", lambda: core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="n0"))))
bad = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="Not_A_Name"))
invalid = refused("a bad name is refused", 422, "Invalid", lambda: core.create_namespaced_config_map(ns, bad))
check("the cause names the field", invalid["details"]["causes"][0]["field"], "metadata.name")

# A workload, its scale, its log.
deployment = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
    },
}
apps.create_namespaced_deployment(ns, deployment)
scale = apps.patch_namespaced_deployment_scale("web", ns, {"spec": {"replicas": 2}})
check("the scale is patched", scale.spec.replicas, 2)
until("two replicas are ready", lambda: apps.read_namespaced_deployment_status("web", ns).status.ready_replicas, lambda ready: ready == 2)
some = core.list_namespaced_pod(ns, label_selector="app=web").items[0]
check("its start time is a time", some.status.start_time.tzinfo is not None)
check("its log is text", len(core.read_namespaced_pod_log(some.metadata.name, ns)) > 0)
until("events are told", lambda: [event.reason for event in core.list_namespaced_event(ns).items], lambda found: "Scheduled" in found)

# Reviews and tokens.
ask = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "subresource": "eviction", "namespace": ns}}}
review = client.AuthorizationV1Api(api_client).create_self_subject_access_review(ask)
check("an administrator may evict", review.status.allowed)
token = core.create_namespaced_service_account_token("default", ns, {"spec": {"expirationSeconds": 600}}).status.token
stranger = client.Configuration.get_default_copy()
stranger.cert_file = stranger.key_file = None
stranger.api_key, stranger.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
guest = client.CoreV1Api(client.ApiClient(stranger))
denied = refused("a service account may not read secrets", 403, "Forbidden", lambda: guest.list_namespaced_secret(ns))
check("the refusal names it", f'"system:serviceaccount:{ns}:default"' in denied["message"])

# Deletion.
core.create_namespaced_pod(ns, pod("last"))
until("the pod is ready", lambda: core.read_namespaced_pod("last", ns), is_ready)
going = core.delete_namespaced_pod("last", ns, grace_period_seconds=1)
check("a deleted pod is shown with its end", going.metadata.deletion_grace_period_seconds, 1)
apps.delete_namespaced_deployment("web", ns, body=client.V1DeleteOptions(propagation_policy="Foreground"))
until("the pods are gone", lambda: len(core.list_namespaced_pod(ns).items), lambda count: count == 0)
core.delete_collection_namespaced_config_map(ns, label_selector="page=yes")
left = core.list_namespaced_config_map(ns, label_selector="page=yes").items
check("a collection is deleted by its label", left, [])
