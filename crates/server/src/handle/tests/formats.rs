//! Media types and transformations of responses.

use http_body_util::BodyExt as _;

use super::{POD, TOKEN, pods};
use crate::testing::{read, send};

fn failure(message: &str, reason: &str, details: &str, code: u16) -> String {
    let details = if details.is_empty() {
        String::new()
    } else {
        format!(r#""details":{details},"#)
    };
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}",{details}"code":{code}}}"#
    ) + "\n"
}

#[tokio::test]
async fn responses_have_the_codes_types_and_bodies_of_upstream() {
    let no_resource = failure(
        "the server could not find the requested resource",
        "NotFound",
        "{}",
        404,
    );
    let no_method = failure(
        "the server does not allow this method on the requested resource",
        "MethodNotAllowed",
        "{}",
        405,
    );
    let types = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let router_406 = failure(
        &format!(r"406: Not Acceptable\n\nAvailable representations: {types}"),
        "NotAcceptable",
        "{}",
        406,
    );
    let writer_406 = failure(
        &format!("only the following media types are accepted: {types}"),
        "NotAcceptable",
        "",
        406,
    );
    let body_415 = failure(
        &format!(
            "the body of the request was in an unknown format - accepted media types include: {types}"
        ),
        "UnsupportedMediaType",
        "",
        415,
    );
    let patch_415 = failure(
        "415: Unsupported Media Type",
        "UnsupportedMediaType",
        "{}",
        415,
    );
    let not_found = "404 page not found\n".to_owned();
    let item = POD.replace(r#""kind":"Pod","apiVersion":"v1","#, "");
    let list = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{item},{item}]}}"#
    ) + "\n";
    let evicted =
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}"#
            .to_owned()
            + "\n";
    let html = ("accept", "text/html");
    let service = pods().service();
    for (line, header, code, kind, body) in [
        (
            "GET /api/v1/namespaces/a/pods/p",
            TOKEN,
            200,
            "application/json",
            format!("{POD}\n"),
        ),
        (
            "GET /api/v1/namespaces/a/pods",
            TOKEN,
            200,
            "application/json",
            list,
        ),
        (
            "POST /api/v1/namespaces/a/pods/p/eviction",
            TOKEN,
            201,
            "application/json",
            evicted,
        ),
        (
            "GET /api/v1/nope",
            TOKEN,
            404,
            "application/json",
            no_resource.clone(),
        ),
        (
            "GET /apis/policy/v1beta1",
            TOKEN,
            404,
            "application/json",
            no_resource.clone(),
        ),
        (
            "GET /apis/policy/v1beta1/poddisruptionbudgets",
            TOKEN,
            404,
            "application/json",
            no_resource.clone(),
        ),
        ("GET /api/v2", TOKEN, 404, "application/json", no_resource),
        (
            "GET /apis/nope.example.com/v1/things",
            TOKEN,
            404,
            "text/plain; charset=utf-8",
            not_found.clone(),
        ),
        (
            "GET /apis/nope.example.com",
            TOKEN,
            404,
            "text/plain; charset=utf-8",
            not_found.clone(),
        ),
        (
            "POST /nope",
            TOKEN,
            404,
            "text/plain; charset=utf-8",
            not_found,
        ),
        (
            "GET //api/v1/namespaces/a/pods",
            TOKEN,
            404,
            "text/plain; charset=utf-8",
            "404 page not found\n".to_owned(),
        ),
        (
            "OPTIONS /api/v1/namespaces/a/pods",
            TOKEN,
            405,
            "application/json",
            no_method.clone(),
        ),
        ("OPTIONS /api/v1", TOKEN, 405, "application/json", no_method),
        (
            "GET /api/v1/namespaces/a/pods/p",
            html,
            406,
            "application/json",
            router_406,
        ),
        (
            "GET /api/v1/namespaces/a/pods/p",
            ("accept", "application/json;as=Chair;v=v1;g=meta.k8s.io"),
            406,
            "application/json",
            writer_406.clone(),
        ),
        (
            "POST /api/v1/namespaces/a/pods/p/eviction",
            ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),
            406,
            "application/json",
            writer_406,
        ),
        (
            "POST /api/v1/namespaces/a/pods",
            ("content-type", "application/xml"),
            415,
            "application/json",
            body_415.clone(),
        ),
        (
            "DELETE /api/v1/namespaces/a/pods/p",
            ("content-type", "text/plain"),
            415,
            "application/json",
            body_415,
        ),
        (
            "PATCH /api/v1/namespaces/a/pods/p",
            ("content-type", "application/json"),
            415,
            "application/json",
            patch_415,
        ),
        (
            "GET /healthz",
            html,
            200,
            "text/plain; charset=utf-8",
            "ok".to_owned(),
        ),
        (
            "OPTIONS /livez",
            TOKEN,
            200,
            "text/plain; charset=utf-8",
            "ok".to_owned(),
        ),
    ] {
        let found = read(send(&service, line, &[header, TOKEN], "x").await).await;
        assert_eq!(found, (code, kind.to_owned(), body), "{line} {header:?}");
    }
}

#[tokio::test]
async fn refusals_have_a_media_type_that_the_client_accepts() {
    let service = pods().service();
    let found = read(
        send(
            &service,
            "GET /api/v1/nope",
            &[TOKEN, ("accept", "application/yaml")],
            "",
        )
        .await,
    )
    .await;
    let expected = "apiVersion: v1\ncode: 404\ndetails: {}\nkind: Status\nmessage: the server could not find the requested resource\nmetadata: {}\nreason: NotFound\nstatus: Failure\n";
    assert_eq!(
        found,
        (404, "application/yaml".to_owned(), expected.to_owned())
    );
    let (_, _, body) = read(send(&service, "GET /api/v1/nope?pretty=1", &[TOKEN], "").await).await;
    assert!(
        body.starts_with("{\n  \"kind\": \"Status\",\n") && body.ends_with("404\n}"),
        "{body}"
    );
}

#[tokio::test]
async fn bare_metadata_of_objects_and_lists_is_served() {
    let service = pods().service();
    let meta = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"p","resourceVersion":"7"}}"#;
    let one = (
        "accept",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    );
    let many = (
        "accept",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    );
    let list = format!(
        r#"{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{{"resourceVersion":"9"}},"items":[{meta},{meta}]}}"#
    );
    let (object, pods) = (
        "GET /api/v1/namespaces/a/pods/p",
        "GET /api/v1/namespaces/a/pods",
    );
    assert_eq!(
        read(send(&service, object, &[TOKEN, one], "").await)
            .await
            .2,
        format!("{meta}\n")
    );
    assert_eq!(
        read(send(&service, pods, &[TOKEN, many], "").await).await.2,
        format!("{list}\n")
    );
    let (code, _, body) = read(send(&service, pods, &[TOKEN, one], "").await).await;
    assert!(
        code == 406 && body.contains("you requested PartialObjectMetadata, but the requested object is a list (*core.PodList)"),
        "{body}"
    );
    let (code, _, body) = read(send(&service, object, &[TOKEN, many], "").await).await;
    assert!(
        code == 406
            && body.contains(
                "PartialObjectMetadataList, but the requested object is not a list (*core.Pod)"
            ),
        "{body}"
    );
    // No transformation applies to a Status.
    let (code, _, body) = read(
        send(
            &service,
            "POST /api/v1/namespaces/a/pods/p/eviction",
            &[TOKEN, one],
            "{}",
        )
        .await,
    )
    .await;
    assert!(
        code == 201 && body.starts_with(r#"{"kind":"Status""#),
        "{code} {body}"
    );
}

#[tokio::test]
async fn a_status_in_protobuf_is_the_recorded_one() {
    use base64::Engine as _;
    let service = pods().service();
    let protobuf = ("accept", "application/vnd.kubernetes.protobuf");
    let response = send(
        &service,
        "POST /api/v1/namespaces/a/pods/p/eviction",
        &[TOKEN, protobuf],
        "{}",
    )
    .await;
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.kubernetes.protobuf"
    );
    let body = response
        .into_body()
        .collect()
        .await
        .expect("cannot fail")
        .to_bytes();
    let text = base64::engine::general_purpose::STANDARD.encode(body);
    assert_eq!(
        text,
        "azhzAAoMCgJ2MRIGU3RhdHVzEhgKBgoAEgAaABIHU3VjY2VzcxoAIgAwyQEaACIA"
    );
}
