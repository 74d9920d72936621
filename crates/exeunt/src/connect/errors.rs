//! Errors of connections as messages with hints. Pure: errors in, text out.

use kube::client::RustlsTlsError;
use kube::config::{KubeconfigError, LoadDataError};
use kube::core::Status;

use super::{ServerRef, identity};
use crate::cli::ConnectArgs;
use crate::error::CliError;

/// Bytes of a response that is not Kubernetes' that are printed, times four: enough for a headline.
const EXCERPT: usize = 120;

/// The server did not respond within `--request-timeout`.
#[derive(Debug, thiserror::Error)]
#[error("no response within {seconds} s")]
pub(super) struct ResponseTimeout {
    /// The timeout.
    pub(super) seconds: f64,
}

/// The server's answer, or a line of a watch, exceeds what a command reads.
#[derive(Debug, thiserror::Error)]
#[error("the answer is larger than {} MiB", limit / 1024 / 1024)]
pub(super) struct AnswerTooLarge {
    /// The limit in bytes.
    pub(super) limit: usize,
}

/// The server's lists do not end.
#[derive(Debug, thiserror::Error)]
#[error("the lists of the server do not end: more than {pages} pages")]
pub(super) struct EndlessLists {
    /// The limit.
    pub(super) pages: usize,
}

/// Describes why a request failed. `doing` is what was attempted, like `list pods`.
pub(super) fn request_error(server: &ServerRef, doing: &str, error: &kube::Error) -> CliError {
    let cannot = |text: String| CliError::new(format!("cannot {doing}: {text}"));
    let url = &server.url;
    match error {
        kube::Error::Api(status) => status_error(url, doing, status),
        kube::Error::RustlsTls(cause) => cannot(own_tls_error(cause)).hint(own_tls_hint(error)),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => cannot(format!(
            "{url} does not respond as a Kubernetes API server: {error}"
        ))
        .hint(NOT_KUBERNETES),
        kube::Error::Auth(_) => {
            cannot(chain(error)).hint("log in as the provider of the cluster describes")
        }
        kube::Error::ProxyProtocolDisabled { .. }
        | kube::Error::ProxyProtocolUnsupported { .. } => cannot(error.to_string())
            .hint("proxies are not supported; connect directly, or through a tunnel with --server"),
        _ => transport_error(server, &cannot, &chain(error)),
    }
}

const NOT_KUBERNETES: &str = "check that the kubeconfig or --server names an API server, \
                              and that no proxy or login page is in between";

/// How to make a certificate that every server accepts.
const REISSUE: &str = "issue it again as version 3: openssl x509 -req … -extfile FILE, where FILE \
                       contains extendedKeyUsage=clientAuth";

/// Describes why the user's own certificate, key or authority cannot be used.
fn own_tls_error(error: &RustlsTlsError) -> String {
    let chain = chain(error);
    match error {
        RustlsTlsError::AddRootCertificate(_) | RustlsTlsError::NoValidNativeRootCA(_) => {
            format!("the certificate-authority of the kubeconfig cannot be used: {chain}")
        }
        RustlsTlsError::InvalidServerName(_) => {
            format!("the tls-server-name of the kubeconfig cannot be used: {chain}")
        }
        RustlsTlsError::InvalidPrivateKey(rustls::Error::InvalidCertificate(why)) => {
            format!("your own client certificate cannot be used: {why:?}")
        }
        _ => format!("your own client certificate or its key cannot be used: {chain}"),
    }
}

fn own_tls_hint(error: &kube::Error) -> String {
    if identity::is_version_1(error) {
        return REISSUE.to_owned();
    }
    let kube::Error::RustlsTls(cause) = error else {
        return NOT_KUBERNETES.to_owned();
    };
    match cause {
        RustlsTlsError::AddRootCertificate(_)
        | RustlsTlsError::NoValidNativeRootCA(_)
        | RustlsTlsError::InvalidServerName(_) => "fetch a new kubeconfig".to_owned(),
        _ => "check the client-certificate and client-key of the kubeconfig's user, which must \
              belong together"
            .to_owned(),
    }
}

fn transport_error(
    server: &ServerRef,
    cannot: &impl Fn(String) -> CliError,
    chain: &str,
) -> CliError {
    let ServerRef {
        url: server,
        version_1,
    } = server;
    let has = |word: &str| chain.contains(word);
    if has("no response within") {
        return cannot(format!("{server} does not respond: {chain}")).hint(
            "check whether the server is overloaded; a larger --request-timeout waits longer",
        );
    }
    if has("the answer is larger than") {
        return cannot(format!("{server} sends too much: {chain}")).hint(
            "list less at once: use a namespace, a selector or --chunk-size; if the server is not \
             yours to trust, do not use it",
        );
    }
    if has("invalid peer certificate") || has("UnknownIssuer") {
        let hint = "check that the kubeconfig belongs to this cluster; \
                    --insecure-skip-tls-verify skips the check and is insecure";
        return cannot(format!(
            "the certificate of {server} is not trusted: {chain}"
        ))
        .hint(hint);
    }
    if has("InvalidMessage") || has("corrupt message") || has("invalid HTTP") || has("parse") {
        return cannot(format!(
            "{server} does not respond as a Kubernetes API server: {chain}"
        ))
        .hint(NOT_KUBERNETES);
    }
    if has("received fatal alert") && *version_1 {
        return cannot(format!(
            "{server} rejects your own client certificate: {chain}"
        ))
        .hint(format!(
            "it is of X.509 version 1, which some servers refuse; {REISSUE}"
        ));
    }
    if has("CertificateExpired") || has("certificate expired") || has("received fatal alert") {
        return cannot(format!("{server} rejects the client certificate: {chain}"))
            .hint("the certificate may have expired; fetch a new kubeconfig");
    }
    let hint = "check that the server runs, that this machine can reach it, and that the context \
                is the intended one (kubectl config current-context)";
    cannot(format!("cannot reach {server}: {chain}")).hint(hint)
}

/// Describes an error response.
fn status_error(server: &str, doing: &str, status: &Status) -> CliError {
    if status.reason == "Failed to parse error data" && status.code != 401 {
        let text = format!(
            "cannot {doing}: {server} responds {} without a Kubernetes status: {}",
            status.code,
            excerpt(&status.message)
        );
        return CliError::new(text).hint(NOT_KUBERNETES);
    }
    let error = CliError::new(format!("cannot {doing}: {}", excerpt(&status.message)));
    match status.code {
        401 => CliError::new(format!(
            "cannot {doing}: {server} rejects the credentials (401 Unauthorized)"
        ))
        .hint(
            "the token or certificate may have expired: log in again, or use another --token, \
             --user or --context",
        ),
        403 => error.hint(missing_right(&status.message)),
        429 => error.hint("the server is overloaded; try again"),
        500.. => error.hint("see the log of the API server"),
        _ => error,
    }
}

/// Says how to check the right that a 403 reports as missing.
fn missing_right(message: &str) -> String {
    let word = |mark: &str, end: char| {
        let rest = message.split_once(mark)?.1;
        rest.split_once(end).map(|(word, _)| word.to_owned())
    };
    let (verb, resource) = (word(" cannot ", ' '), word("resource \"", '"'));
    let scope = if message.contains("at the cluster scope") {
        " -A"
    } else {
        ""
    };
    match (verb, resource) {
        (Some(verb), Some(resource)) => {
            let resource = match resource.split_once('/') {
                Some((resource, subresource)) => format!("{resource} --subresource={subresource}"),
                None => resource,
            };
            format!(
                "grant the user a role for this; check with: \
                 kubectl auth can-i {verb} {resource}{scope}"
            )
        }
        _ => "the user has no role for this, or an admission webhook refuses it".to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(EXCERPT * 4) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Describes why the kubeconfig cannot be used.
pub(super) fn kubeconfig_error(arguments: &ConnectArgs, error: &KubeconfigError) -> CliError {
    let hint = "use --kubeconfig FILE or set KUBECONFIG; exeunt serve writes one for a new cluster";
    match error {
        KubeconfigError::FindPath => CliError::new(
            "no kubeconfig found: --kubeconfig and KUBECONFIG are not set, and there is no home \
             directory",
        )
        .hint(hint),
        KubeconfigError::ReadConfig(cause, path)
            if cause.kind() == std::io::ErrorKind::NotFound =>
        {
            CliError::new(format!(
                "no kubeconfig found: {} does not exist",
                path.display()
            ))
            .hint(hint)
        }
        KubeconfigError::ReadConfig(cause, path) => CliError::new(format!(
            "cannot read kubeconfig {}: {cause}",
            path.display()
        ))
        .hint("check the permissions of the file"),
        KubeconfigError::Parse(cause) => {
            let cause = cause.to_string();
            let first = cause.lines().next().unwrap_or_default();
            let first = first.trim_start_matches("error: ");
            CliError::new(format!(
                "cannot parse kubeconfig {}: {first}",
                file(arguments)
            ))
            .hint("a kubeconfig is a YAML mapping with clusters, users and contexts")
        }
        KubeconfigError::CurrentContextNotSet => {
            CliError::new("the kubeconfig has no current context")
                .hint("select one with --context or with kubectl config use-context")
        }
        KubeconfigError::LoadContext(name) => {
            CliError::new(format!("context {name:?} not found in the kubeconfig"))
                .hint("kubectl config get-contexts lists them")
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            let by = if arguments.cluster.is_some() {
                "--cluster"
            } else {
                "the context"
            };
            CliError::new(format!(
                "cluster {name:?}, named by {by}, not found in the kubeconfig"
            ))
            .hint("kubectl config get-clusters lists them")
        }
        KubeconfigError::LoadCertificateAuthority(LoadDataError::ReadFile(cause, path))
        | KubeconfigError::LoadClientCertificate(LoadDataError::ReadFile(cause, path))
        | KubeconfigError::LoadClientKey(LoadDataError::ReadFile(cause, path)) => {
            CliError::new(format!(
                "cannot read {}, which the kubeconfig refers to: {cause}",
                path.display()
            ))
            .hint("restore the file, or fetch a new kubeconfig")
        }
        other => CliError::new(format!("cannot use the kubeconfig: {other}")).hint(hint),
    }
}

/// The kubeconfig that is read, for messages.
fn file(arguments: &ConnectArgs) -> String {
    if let Some(path) = &arguments.kubeconfig {
        return path.display().to_string();
    }
    match std::env::var("KUBECONFIG") {
        Ok(paths) if !paths.is_empty() => paths,
        _ => "~/.kube/config".to_owned(),
    }
}

/// The messages of an error and all its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let text = text
            .trim_start_matches("ServiceError: ")
            .trim_start_matches("HyperError: ")
            .trim_start_matches("client error (Connect)");
        // Many layers repeat the message of the one below.
        if texts.iter().all(|seen| !seen.contains(text)) {
            texts.push(text.to_owned());
        }
        next = error.source();
    }
    texts.retain(|text| !text.is_empty());
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerRef {
        ServerRef {
            url: "https://x:1".to_owned(),
            version_1: false,
        }
    }

    fn check(code: u16, reason: &str, message: &str, words: &[&str]) {
        let status = Status::failure(message, reason).with_code(code).boxed();
        let error = kube::Error::Api(status);
        let text = request_error(&server(), "list pods", &error).render();
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }

    #[test]
    fn error_responses_come_with_a_hint() {
        check(
            401,
            "Unauthorized",
            "Unauthorized",
            &["cannot list pods", "expired", "--token"],
        );
        let forbidden = r#"pods is forbidden: User "ali" cannot list resource "pods" in API group "" at the cluster scope"#;
        check(
            403,
            "Forbidden",
            forbidden,
            &["ali", "kubectl auth can-i list pods -A"],
        );
        let eviction = r#"pods "p" is forbidden: User "ali" cannot create resource "pods/eviction" in API group "" in the namespace "d""#;
        check(
            403,
            "Forbidden",
            eviction,
            &["can-i create pods --subresource=eviction"],
        );
        check(
            502,
            "Failed to parse error data",
            "<html>\n<body>",
            &["responds 502", "<html>", "proxy"],
        );
        check(
            404,
            "NotFound",
            r#"nodes "n" not found"#,
            &[r#"nodes "n" not found"#],
        );
    }

    #[test]
    fn an_unreachable_server_is_distinguished_from_one_that_does_not_respond() {
        let text = |error: Box<dyn std::error::Error + Send + Sync>| {
            request_error(&server(), "connect", &kube::Error::Service(error)).render()
        };
        let refused = text(Box::new(std::io::Error::from(
            std::io::ErrorKind::ConnectionRefused,
        )));
        assert!(
            refused.contains("cannot reach https://x:1: connection refused"),
            "{refused}"
        );
        let unresponsive = text(Box::new(ResponseTimeout { seconds: 2.0 }));
        assert!(
            unresponsive.contains("does not respond: no response within 2 s")
                && unresponsive.contains("--request-timeout"),
            "{unresponsive}"
        );
    }
}
