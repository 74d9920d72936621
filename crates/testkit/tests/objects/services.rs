//! Services, their addresses and the ranges that these come from.

use serde_json::{Value, json};

use crate::World;

const NETWORKING: &str = "/apis/networking.k8s.io/v1";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, more: Value) -> Value {
    let mut spec = json!({"ports": [{"port": 80}]});
    let members = spec.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test(start_paused = true)]
async fn each_address_of_a_service_has_an_object() {
    let world = World::start(0).await;
    let range = world
        .get(&format!("{NETWORKING}/servicecidrs/kubernetes"))
        .await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(range["status"]["conditions"][0]["status"], "True");
    world
        .until(&format!("{NETWORKING}/servicecidrs/kubernetes"), |range| {
            range["metadata"]["finalizers"] == json!(["networking.k8s.io/service-cidr-finalizer"])
        })
        .await;
    let own = world
        .get(&format!("{NETWORKING}/ipaddresses/10.96.0.1"))
        .await;
    assert_eq!(
        own["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "kubernetes"})
    );
    assert_eq!(
        own["metadata"]["labels"],
        json!({"ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"})
    );

    let made = world.made(SERVICES, service("web", json!({}))).await;
    let drawn = made["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    let object = format!("{NETWORKING}/ipaddresses/{drawn}");
    assert_eq!(world.get(&object).await["spec"]["parentRef"]["name"], "web");
    // A dry run takes no address, a headless service has none.
    let line = format!("POST {SERVICES}?dryRun=All");
    let (_, dry) = world.ask(&line, service("dry", json!({}))).await;
    let address = dry["spec"]["clusterIP"].as_str().expect("an address");
    assert!(
        !world
            .exists(&format!("{NETWORKING}/ipaddresses/{address}"))
            .await
    );
    world
        .made(SERVICES, service("none", json!({"clusterIP": "None"})))
        .await;
    let all = world.get(&format!("{NETWORKING}/ipaddresses")).await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2), "{all}");

    // The address is given back when the service needs none any more, and when it goes.
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com",
        "ports": null, "clusterIP": null, "clusterIPs": null}});
    world.changed(&format!("{SERVICES}/web"), external).await;
    assert!(!world.exists(&object).await);
    world
        .made(SERVICES, service("next", json!({"clusterIP": drawn})))
        .await;
    assert_eq!(
        world.get(&object).await["spec"]["parentRef"]["name"],
        "next"
    );
    world
        .deleted(&format!("{SERVICES}/next"), Value::Null)
        .await;
    assert!(!world.exists(&object).await);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_asked_for_within_the_ranges() {
    let world = World::start(0).await;
    world
        .made(
            SERVICES,
            service("first", json!({"clusterIP": "10.96.0.9"})),
        )
        .await;
    let parent = json!({"resource": "services", "namespace": "n", "name": "foreign"});
    let taken = json!({"metadata": {"name": "10.96.0.8"}, "spec": {"parentRef": parent}});
    world
        .made(&format!("{NETWORKING}/ipaddresses"), taken)
        .await;
    let cases = [
        ("10.96.0.9", "provided IP is already allocated"),
        ("10.96.0.8", "provided IP is already allocated"),
        (
            "10.97.0.9",
            "the provided network does not match the current range",
        ),
        (
            "10.96.0.0",
            "the provided IP (10.96.0.0) is not in the valid range. The range of valid IPs is \
             10.96.0.0/16",
        ),
    ];
    for (address, why) in cases {
        let body = service("web", json!({"clusterIP": address}));
        let (code, refusal) = world.ask(&format!("POST {SERVICES}"), body).await;
        assert_eq!(code, 422, "{refusal}");
        let message = refusal["message"].as_str().expect("a message");
        let expected = format!("failed to allocate IP {address}: {why}");
        assert!(message.ends_with(&expected), "{message}");
    }

    // A second range is usable once it is ready, and kept while one of its addresses is.
    let ranges = format!("{NETWORKING}/servicecidrs");
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/28"]}});
    world.made(&ranges, range).await;
    let path = format!("{ranges}/more");
    let ready = |wanted: &'static str| {
        move |range: &Value| {
            let condition = &range["status"]["conditions"][0];
            condition["type"] == "Ready" && condition["status"] == wanted
        }
    };
    let made = world.until(&path, ready("True")).await;
    let message = &made["status"]["conditions"][0]["message"];
    assert_eq!(message, "Kubernetes Service CIDR is ready");
    world
        .made(SERVICES, service("web", json!({"clusterIP": "10.97.0.9"})))
        .await;
    world.deleted(&path, Value::Null).await;
    let kept = world.until(&path, ready("False")).await;
    let condition = &kept["status"]["conditions"][0];
    assert_eq!(condition["reason"], "Terminating");
    assert_eq!(
        condition["message"],
        "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a \
         new ServiceCIDR"
    );
    let (code, _) = world
        .ask(
            &format!("POST {SERVICES}"),
            service("late", json!({"clusterIP": "10.97.0.8"})),
        )
        .await;
    assert_eq!(code, 422, "a range that goes gives no address");
    world.deleted(&format!("{SERVICES}/web"), Value::Null).await;
    world.until_gone(&path).await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_users_write_are_mirrored() {
    const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let world = World::start(0).await;
    let of = |name: &str| format!("{SLICES}?labelSelector=kubernetes.io/service-name%3D{name}");
    let count = |wanted: usize| {
        move |list: &Value| {
            list["items"]
                .as_array()
                .is_some_and(|all| all.len() == wanted)
        }
    };
    world.made(SERVICES, service("db", json!({}))).await;
    let endpoints = json!({"metadata": {"name": "db"}, "subsets": [{
        "addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}],
        "ports": [{"name": "sql", "port": 5432}]}]});
    world.made(ENDPOINTS, endpoints).await;
    let list = world.until(&of("db"), count(1)).await;
    let slice = &list["items"][0];
    let manager = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(manager, "endpointslicemirroring-controller.k8s.io");
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
    assert_eq!(slice["ports"][0]["port"], 5432);

    // A label ends it; without the label it begins again.
    let skip = |value: Value| {
        let labels = json!({"endpointslice.kubernetes.io/skip-mirror": value});
        json!({"metadata": {"labels": labels}})
    };
    world
        .changed(&format!("{ENDPOINTS}/db"), skip(json!("true")))
        .await;
    world.until(&of("db"), count(0)).await;
    world
        .changed(&format!("{ENDPOINTS}/db"), skip(Value::Null))
        .await;
    world.until(&of("db"), count(1)).await;
    world.deleted(&format!("{ENDPOINTS}/db"), Value::Null).await;
    world.until(&of("db"), count(0)).await;
}
