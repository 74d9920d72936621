//! Discovery, `explain`, `apply`, `diff` and the ways to change objects.

use super::{APPLICATION, server};
use crate::support::shown;

#[test]
fn resources_are_listed_and_explained() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    let names = server.run(&[
        "api-resources",
        "-o",
        "name",
        "--verbs=list",
        "--namespaced",
    ]);
    assert!(
        names.contains("poddisruptionbudgets.policy\n") && !names.contains("nodes"),
        "{names}"
    );
    let wide = server.run(&[
        "api-resources",
        "--api-group=policy",
        "-o",
        "wide",
        "--no-headers",
    ]);
    assert!(
        wide.contains("pdb")
            && wide.contains("PodDisruptionBudget")
            && wide.contains("deletecollection"),
        "{wide}"
    );
    assert!(server.run(&["api-versions"]).contains("\npolicy/v1\n"));
    assert!(server.run(&["version"]).contains("Server Version: v1.36"));
    assert!(server.run(&["cluster-info"]).contains("is running at"));
    assert!(
        server
            .run(&["get", "--raw", "/readyz?verbose"])
            .contains("readyz check passed")
    );

    let text = server.run(&["explain", "pods.spec.containers.lifecycle", "--recursive"]);
    assert!(text.contains("preStop\t<LifecycleHandler>"), "{text}");
    // OpenAPI v2, which kubectl requests as protobuf.
    let text = server.run(&[
        "explain",
        "deployment.spec.strategy",
        "--output=plaintext-openapiv2",
    ]);
    assert!(
        text.contains("RESOURCE: strategy <Object>") && text.contains("rollingUpdate\t<Object>"),
        "{text}"
    );
}

#[test]
fn manifests_are_applied_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    let more = APPLICATION.replace("replicas: 2", "replicas: 3");

    let new = server.fed(&["diff", "-f", "-"], APPLICATION);
    assert_eq!(new.status.code(), Some(1), "{}", shown(&new));
    server.feed(&["apply", "-f", "-"], APPLICATION);
    assert_eq!(server.feed(&["diff", "-f", "-"], APPLICATION), "");
    let changed = server.fed(&["diff", "-f", "-"], &more);
    let text = String::from_utf8_lossy(&changed.stdout);
    assert!(
        changed.status.code() == Some(1) && text.contains("-  replicas: 2\n+  replicas: 3\n"),
        "{}",
        shown(&changed)
    );

    // Changing from client-side to server-side apply causes no conflict.
    let applied = server.feed(&["apply", "--server-side", "-f", "-"], APPLICATION);
    assert_eq!(
        applied,
        "deployment.apps/web serverside-applied\npoddisruptionbudget.policy/web serverside-applied\n"
    );
    server.run(&["scale", "deployment/web", "--replicas=1"]);
    let conflict = server.refused_with(&["apply", "--server-side", "-f", "-"], &more);
    assert!(
        conflict.contains("conflict with \"kubectl\"") && conflict.contains(".spec.replicas"),
        "{conflict}"
    );
    server.feed(
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        &more,
    );
    assert_eq!(
        server.run(&[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.spec.replicas}"
        ]),
        "3"
    );

    let unknown = more.replace("replicas", "replcas");
    let refused = server.refused_with(&["apply", "-f", "-"], &unknown);
    assert!(
        refused.contains("strict decoding error: unknown field \"spec.replcas\""),
        "{refused}"
    );
    let old = APPLICATION.replace("policy/v1", "policy/v1beta1");
    let refused = server.refused_with(&["apply", "-f", "-"], &old);
    assert!(
        refused
            .contains("no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\""),
        "{refused}"
    );
    assert_eq!(
        server.feed(&["apply", "--dry-run=server", "-f", "-"], &more),
        server.feed(&["apply", "--dry-run=server", "-f", "-"], &more)
    );
    assert!(
        server
            .feed(&["replace", "--force", "-f", "-"], APPLICATION)
            .contains("deployment.apps/web replaced")
    );
}

#[test]
fn objects_are_edited_patched_labelled_and_scaled() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    let web = "deployment/web";
    let patched =
        |kind: &str, patch: &str| server.run(&["patch", web, "--type", kind, "-p", patch]);
    patched(
        "strategic",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"d","image":"redis"}]}}}}"#,
    );
    patched("merge", r#"{"metadata":{"labels":{"a":"b","c":null}}}"#);
    patched(
        "json",
        r#"[{"op":"test","path":"/metadata/labels/a","value":"b"},{"op":"add","path":"/metadata/labels/x","value":"y"}]"#,
    );
    let columns = "jsonpath={.metadata.labels.a}{.metadata.labels.x} \
                   {.spec.template.spec.containers[*].name}";
    let labels = server.run(&["get", web, "-o", columns]);
    assert_eq!(
        labels, "by d c",
        "what a strategic merge patch adds to a list comes first"
    );
    server.run(&[
        "patch",
        web,
        "--subresource=scale",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":1}}"#,
    ]);
    let refused = server.refused(&["scale", web, "--replicas=3", "--current-replicas=2"]);
    assert!(
        refused.contains("Expected replicas to be 2, was 1"),
        "{refused}"
    );
    server.run(&["scale", web, "--replicas=3", "--current-replicas=1"]);
    let scale = server.run(&["get", web, "--subresource=scale"]);
    assert!(
        scale.starts_with("NAME   DESIRED   AVAILABLE   AGE\nweb    3 "),
        "{scale}"
    );

    assert!(
        server
            .refused(&["label", web, "a=z"])
            .contains("already has a value (b), and --overwrite is false")
    );
    assert_eq!(
        server.run(&["label", web, "a=z", "--overwrite"]),
        "deployment.apps/web labeled\n"
    );
    assert_eq!(
        server.run(&["label", web, "a-"]),
        "deployment.apps/web unlabeled\n"
    );
    assert_eq!(
        server.run(&["annotate", web, "k=v"]),
        "deployment.apps/web annotated\n"
    );
    server.run(&["set", "image", web, "c=nginx:2"]);
    server.run(&["set", "env", web, "A=B"]);
    server.run(&["set", "resources", web, "--limits=cpu=200m"]);
    let first = server.run(&[
        "get",
        web,
        "-o",
        "jsonpath={.spec.template.spec.containers[0].env[0].name} {..limits.cpu}",
    ]);
    assert_eq!(first, "A 200m 200m");
    let edited = server
        .kubectl(&["edit", web])
        .env("KUBE_EDITOR", "sed -i s/nginx:2/nginx:3/")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&edited.stdout).contains("deployment.apps/web edited"),
        "{}",
        shown(&edited)
    );
    assert_eq!(
        server.run(&[
            "get",
            web,
            "-o",
            "go-template={{(index .spec.template.spec.containers 1).image}}"
        ]),
        "nginx:3"
    );
    assert_eq!(
        server.run(&[
            "get",
            web,
            "-o",
            "custom-columns=N:.metadata.name,R:.spec.replicas"
        ]),
        "N     R\nweb   3\n"
    );
}
