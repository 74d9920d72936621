//! Watches of typed objects through a watcher that is compiled once.
//!
//! `kube::runtime::watcher` is generic over the kind of its objects, and decoding its events
//! compiles each type twice more than a list does (tagged events are buffered first). Here one
//! watcher of dynamic objects serves all kinds, and each object is then decoded from JSON as an
//! answer of the API server is. Drains see few events, so the second pass costs nothing that
//! anybody notices, and the build is a third shorter.

use futures::{Stream, StreamExt as _};
use kinds::path::segment;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Watches the objects of a kind in a namespace, or in all of them.
///
/// The stream never ends by itself: it retries with growing pauses after an error, which it
/// returns, and lists again where a watch cannot continue. An object that cannot be decoded is an
/// error as well.
pub fn watch<K>(
    client: Client,
    namespace: Option<&str>,
    config: watcher::Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, &segment(namespace), &resource),
        None => Api::all_with(client, &resource),
    };
    watcher::watcher(api, config)
        .default_backoff()
        .map(|event| event.and_then(decode_event))
}

fn decode_event<K: DeserializeOwned>(
    event: Event<DynamicObject>,
) -> Result<Event<K>, watcher::Error> {
    Ok(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(decode(&object)?),
        Event::Apply(object) => Event::Apply(decode(&object)?),
        Event::Delete(object) => Event::Delete(decode(&object)?),
    })
}

fn decode<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, watcher::Error> {
    let json = serde_json::to_string(object);
    json.and_then(|json| serde_json::from_str(&json))
        .map_err(|error| watcher::Error::WatchFailed(kube::Error::SerdeError(error)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_decoded_with_all_fields_of_its_object() {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c"}]},
            "status": {"phase": "Running"}});
        let dynamic = serde_json::from_value(object.clone()).expect("an object");
        let Ok(Event::Apply(pod)) = decode_event::<Pod>(Event::Apply(dynamic)) else {
            panic!("the event changed or could not be decoded");
        };
        assert_eq!(serde_json::to_value(pod).expect("a pod"), object);
    }

    #[test]
    fn an_object_of_another_shape_is_an_error() {
        let object = json!({"metadata": {"name": "web-0"}, "spec": {"nodeName": 7}});
        let dynamic = serde_json::from_value(object).expect("an object");
        assert!(decode_event::<Pod>(Event::Delete(dynamic)).is_err());
    }
}
