//! kube-rs as a controller in its own process uses it: over TLS, with the kubeconfig.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget};
use kube::api::{
    DeleteParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{DynamicObject, GroupVersionKind, Status};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Api, Client, Discovery, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server};

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The status of a refused request.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("a refusal was expected: {other:?}"),
    }
}

fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    // Watchers are large.
    let future = Box::pin(future);
    async move {
        tokio::time::timeout(PATIENCE, future)
            .await
            .expect("it happens in time")
    }
}

fn pod(name: &str) -> Pod {
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "nginx"}],
    });
    object(json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}))
}

async fn ready(pods: &Api<Pod>, name: &str) {
    let is_ready = |pod: Option<&Pod>| {
        let conditions = pod
            .and_then(|pod| pod.status.as_ref())
            .and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    soon(await_condition(pods.clone(), name, is_ready))
        .await
        .unwrap();
}

#[tokio::test]
async fn objects_are_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = server.client().await;
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");

    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = |name: &str| {
        object::<ConfigMap>(
            json!({"metadata": {"name": name, "labels": {"a": "b"}}, "data": {"k": "v"}}),
        )
    };
    let made = maps
        .create(&PostParams::default(), &map("one"))
        .await
        .unwrap();
    assert_eq!(
        refusal(maps.create(&PostParams::default(), &map("one")).await).reason,
        "AlreadyExists"
    );
    let mut stale = made.clone();

    // Patches. The field manager of an apply owns the applied fields.
    let mine = PatchParams::apply("kube-rs");
    let merge = Patch::Merge(json!({"data": {"k": null, "m": "1"}}));
    let merged = maps
        .patch("one", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(json!(merged.data), json!({"m": "1"}));
    let strategic = Patch::Strategic(json!({"data": {"$patch": "replace", "s": "2"}}));
    assert_eq!(
        json!(
            maps.patch("one", &PatchParams::default(), &strategic)
                .await
                .unwrap()
                .data
        ),
        json!({"s": "2"})
    );
    let wish = |value: &str| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"mine": value}}))
    };
    assert_eq!(
        json!(maps.patch("one", &mine, &wish("1")).await.unwrap().data),
        json!({"mine": "1", "s": "2"})
    );
    let conflict = refusal(
        maps.patch("one", &PatchParams::apply("other"), &wish("2"))
            .await,
    );
    assert!(
        conflict.is_conflict() && conflict.message.contains("conflict with \"kube-rs\""),
        "{conflict:?}"
    );
    let forced = maps
        .patch("one", &PatchParams::apply("other").force(), &wish("2"))
        .await
        .unwrap();
    assert_eq!(forced.data.unwrap()["mine"], "2");
    let typo = Patch::Merge(json!({"dta": {}}));
    let strict = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let refused = refusal(maps.patch("one", &strict, &typo).await);
    assert!(
        refused.message.contains("unknown field \"dta\""),
        "{refused:?}"
    );

    // Replacement, metadata alone, pages, deletion with preconditions.
    stale.data = None;
    assert!(refusal(maps.replace("one", &PostParams::default(), &stale).await).is_conflict());
    assert_eq!(maps.get_metadata("one").await.unwrap().labels()["a"], "b");
    maps.create(&PostParams::default(), &map("two"))
        .await
        .unwrap();
    let page = maps
        .list(&ListParams::default().labels("a=b").limit(1))
        .await
        .unwrap();
    let token = page.metadata.continue_.expect("there is more");
    let rest = maps
        .list(&ListParams::default().labels("a=b").continue_token(&token))
        .await
        .unwrap();
    assert_eq!(
        (page.items[0].name_any(), rest.items[0].name_any()),
        ("one".to_owned(), "two".to_owned())
    );
    let other = Preconditions {
        uid: Some("other".to_owned()),
        resource_version: None,
    };
    let refused = refusal(
        maps.delete("two", &DeleteParams::default().preconditions(other))
            .await,
    );
    assert!(refused.is_conflict(), "{refused:?}");
    maps.delete("two", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("two").await.unwrap().is_none());
    assert!(refusal(maps.get("two").await).is_not_found());
    maps.delete_collection(
        &DeleteParams::default(),
        &ListParams::default().labels("a=b"),
    )
    .await
    .unwrap();
}

/// Returns the names that a new watcher lists, in order, and then the names of `more` events.
async fn follow(
    client: Client,
    config: watcher::Config,
    more: usize,
    change: impl Future<Output = ()>,
) -> Vec<String> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut events = watcher::watcher(maps, config).boxed();
    let mut seen = Vec::new();
    loop {
        match soon(events.try_next()).await.unwrap().unwrap() {
            Event::Init => {}
            Event::InitApply(map) => seen.push(format!("found {}", map.name_any())),
            Event::InitDone => break,
            other => panic!("no event of a fresh watch: {other:?}"),
        }
    }
    change.await;
    for _ in 0..more {
        match soon(events.try_next()).await.unwrap().unwrap() {
            Event::Apply(map) => seen.push(format!("applied {}", map.name_any())),
            Event::Delete(map) => seen.push(format!("deleted {}", map.name_any())),
            other => panic!("no event of a live watch: {other:?}"),
        }
    }
    seen
}

#[tokio::test]
async fn watchers_see_the_same_whether_they_list_or_stream() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = server.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = |name: &str| {
        object::<ConfigMap>(json!({"metadata": {"name": name, "labels": {"watched": "yes"}}}))
    };
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &map(name))
            .await
            .unwrap();
    }
    let config = watcher::Config::default().labels("watched=yes");
    for (name, config) in [
        ("list", config.clone()),
        ("stream", config.clone().streaming_lists()),
        ("page", config.page_size(1)),
    ] {
        let change = async {
            maps.create(&PostParams::default(), &map(name))
                .await
                .unwrap();
            let patch = Patch::Merge(json!({"data": {"k": name}}));
            maps.patch(name, &PatchParams::default(), &patch)
                .await
                .unwrap();
            maps.delete(name, &DeleteParams::default()).await.unwrap();
        };
        let seen = follow(client.clone(), config, 3, change).await;
        let live = [
            format!("applied {name}"),
            format!("applied {name}"),
            format!("deleted {name}"),
        ];
        assert_eq!(seen[..2], ["found a", "found b"], "{name}");
        assert_eq!(seen[2..], live, "{name}");
    }
}

#[tokio::test]
async fn evictions_are_granted_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "2"]);
    let client = server.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for name in ["p1", "p2"] {
        pods.create(&PostParams::default(), &pod(name))
            .await
            .unwrap();
        ready(&pods, name).await;
    }
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client);
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    budgets
        .create(
            &PostParams::default(),
            &object(json!({"metadata": {"name": "b"}, "spec": spec})),
        )
        .await
        .unwrap();
    let counted = |budget: Option<&PodDisruptionBudget>| {
        budget
            .and_then(|budget| budget.status.as_ref())
            .is_some_and(|status| status.disruptions_allowed == Some(1))
    };
    soon(await_condition(budgets, "b", counted)).await.unwrap();

    let dry = EvictParams {
        post_options: PostParams {
            dry_run: true,
            ..PostParams::default()
        },
        ..EvictParams::default()
    };
    assert!(pods.evict("p1", &dry).await.unwrap().is_success());
    // `Api::evict` sends its delete options under a name that no API server reads, so this request
    // is built by hand.
    let uid = pods.get("p1").await.unwrap().uid().unwrap();
    let pinned = async |uid: &str| {
        let eviction: Eviction = object(
            json!({"metadata": {"name": "p1"}, "deleteOptions": {"preconditions": {"uid": uid}}}),
        );
        pods.create_subresource::<_, Status>("eviction", "p1", &PostParams::default(), &eviction)
            .await
    };
    assert!(refusal(pinned("other").await).is_conflict());
    assert_eq!(pinned(&uid).await.unwrap().code, 201);
    let refused = refusal(pods.evict("p2", &EvictParams::default()).await);
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (429, "TooManyRequests")
    );
    let cause = &refused.details.unwrap().causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert!(
        cause.message.contains("The disruption budget b "),
        "{}",
        cause.message
    );
    soon(await_condition(pods, "p1", conditions::is_deleted(&uid)))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_controller_needs_beside_objects_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    let client = server.client().await;

    // Discovery in both formats, and a kind that is found by it.
    let discovery = Discovery::new(client.clone())
        .filter(&["policy", "apps"])
        .run_aggregated()
        .await
        .unwrap();
    let kind = GroupVersionKind::gvk("policy", "v1", "PodDisruptionBudget");
    let (resource, _) = discovery
        .resolve_gvk(&kind)
        .expect("budgets are discovered");
    let older = Discovery::new(client.clone())
        .filter(&["policy"])
        .run()
        .await
        .unwrap();
    assert_eq!(
        older
            .resolve_gvk(&kind)
            .expect("budgets are discovered")
            .0
            .plural,
        "poddisruptionbudgets"
    );
    let budgets: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"minAvailable": "50%"},
    });
    let made = budgets
        .patch("b", &PatchParams::apply("kube-rs"), &Patch::Apply(body))
        .await
        .unwrap();
    assert_eq!(made.data["spec"]["minAvailable"], "50%");

    // A workload, its scale, its restart, its log.
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let spec = json!({
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        },
    });
    deployments
        .create(
            &PostParams::default(),
            &object(json!({"metadata": {"name": "web"}, "spec": spec})),
        )
        .await
        .unwrap();
    let scale = Patch::Merge(json!({"spec": {"replicas": 2}}));
    assert_eq!(
        deployments
            .patch_scale("web", &PatchParams::default(), &scale)
            .await
            .unwrap()
            .spec
            .unwrap()
            .replicas,
        Some(2)
    );
    deployments.restart("web").await.unwrap();
    soon(await_condition(
        deployments.clone(),
        "web",
        conditions::is_deployment_completed(),
    ))
    .await
    .unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let found = pods
        .list(
            &ListParams::default()
                .labels("app=web")
                .fields("status.phase=Running"),
        )
        .await
        .unwrap();
    let log = pods
        .logs(&found.items[0].name_any(), &LogParams::default())
        .await
        .unwrap();
    assert!(!log.is_empty());

    // Nodes and namespaces.
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.list(&ListParams::default()).await.unwrap().items[0].name_any();
    assert_eq!(
        nodes
            .cordon(&node)
            .await
            .unwrap()
            .spec
            .unwrap()
            .unschedulable,
        Some(true)
    );
    nodes.uncordon(&node).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces
        .create(
            &PostParams::default(),
            &object(json!({"metadata": {"name": "brief"}})),
        )
        .await
        .unwrap();
    namespaces
        .delete("brief", &DeleteParams::default())
        .await
        .unwrap();
    let gone = |namespace: Option<&Namespace>| namespace.is_none();
    soon(await_condition(namespaces, "brief", gone))
        .await
        .unwrap();
}
