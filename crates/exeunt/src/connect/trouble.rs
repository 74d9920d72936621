//! What can be wrong with a connection, told with a way out. Pure: errors in, text out.

use kube::config::{KubeconfigError, LoadDataError};
use kube::core::Status;

use crate::cli::ConnectArgs;
use crate::failure::Failure;

/// As much of a strange answer as is shown.
const EXCERPT: usize = 120;

/// The server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {seconds} s")]
pub(super) struct NoAnswer {
    pub(super) seconds: f64,
}

/// Why a request failed.
pub(super) fn failure(server: &str, doing: &str, error: &kube::Error) -> Failure {
    let told = |text: String| Failure::new(format!("cannot {doing}: {text}"));
    match error {
        kube::Error::Api(status) => answer(server, doing, status),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            told(format!("{server} answers, but not as Kubernetes does: {error}")).hint(NOT_KUBERNETES)
        }
        kube::Error::Auth(_) => told(chain(error)).hint("log in as the provider of your cluster describes; the kubeconfig's user says how"),
        kube::Error::ProxyProtocolDisabled { .. } | kube::Error::ProxyProtocolUnsupported { .. } => {
            told(format!("{error}")).hint("proxies are not supported yet; reach the server directly, or through a tunnel with --server")
        }
        _ => transport(server, &told, &chain(error)),
    }
}

const NOT_KUBERNETES: &str = "see that the kubeconfig or --server names an API server, and that no proxy or login page stands before it";

fn transport(server: &str, told: &impl Fn(String) -> Failure, chain: &str) -> Failure {
    let has = |word: &str| chain.contains(word);
    if has("no answer within") {
        return told(format!("{server} is silent: {chain}"))
            .hint("see whether the server is overloaded; --request-timeout gives it longer");
    }
    if has("invalid peer certificate") || has("UnknownIssuer") {
        let hint = "the kubeconfig's certificate-authority belongs to another cluster, or somebody stands between; \
                    --insecure-skip-tls-verify trusts anybody";
        return told(format!(
            "the certificate of {server} is not trusted: {chain}"
        ))
        .hint(hint);
    }
    if has("InvalidMessage") || has("corrupt message") || has("invalid HTTP") || has("parse") {
        return told(format!(
            "{server} answers, but not as Kubernetes does: {chain}"
        ))
        .hint(NOT_KUBERNETES);
    }
    if has("CertificateExpired") || has("certificate expired") || has("received fatal alert") {
        return told(format!("{server} refuses the client certificate: {chain}"))
            .hint("it may have expired; fetch a new kubeconfig");
    }
    let hint = "see that the server runs and that this machine may reach it, and that the context is the right one (kubectl config current-context)";
    told(format!("{server} cannot be reached: {chain}")).hint(hint)
}

/// An answer that says no.
fn answer(server: &str, doing: &str, status: &Status) -> Failure {
    if status.reason == "Failed to parse error data" && status.code != 401 {
        let text = format!(
            "cannot {doing}: {server} answers {} with something that is not Kubernetes': {}",
            status.code,
            excerpt(&status.message)
        );
        return Failure::new(text).hint(NOT_KUBERNETES);
    }
    let failure = Failure::new(format!("cannot {doing}: {}", excerpt(&status.message)));
    match status.code {
        401 => Failure::new(format!("cannot {doing}: {server} does not accept the credentials (401 Unauthorized)"))
            .hint("the token or certificate may have expired: log in again, or give another --token, --user or --context"),
        403 => failure.hint(allowed(&status.message)),
        429 => failure.hint("the server is overloaded; try again"),
        500.. => failure.hint("the server has a problem of its own; its log says more"),
        _ => failure,
    }
}

/// How to find out about missing rights.
fn allowed(message: &str) -> String {
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
            format!("the user lacks a role for this; kubectl auth can-i {verb} {resource}{scope} shows when it is granted")
        }
        _ => "the user lacks a role for this, or an admission webhook refuses; the message says which".to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(EXCERPT * 4) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Why no configuration could be read.
pub(super) fn kubeconfig(arguments: &ConnectArgs, error: &KubeconfigError) -> Failure {
    let hint = "give --kubeconfig FILE, or set KUBECONFIG; exeunt serve writes one for a cluster of your own";
    match error {
        KubeconfigError::FindPath => Failure::new(
            "there is no kubeconfig: neither --kubeconfig, nor KUBECONFIG, nor a home directory",
        )
        .hint(hint),
        KubeconfigError::ReadConfig(cause, path)
            if cause.kind() == std::io::ErrorKind::NotFound =>
        {
            Failure::new(format!(
                "there is no kubeconfig: {} does not exist",
                path.display()
            ))
            .hint(hint)
        }
        KubeconfigError::ReadConfig(cause, path) => Failure::new(format!(
            "cannot read the kubeconfig {}: {cause}",
            path.display()
        ))
        .hint("see who may read the file"),
        KubeconfigError::Parse(cause) => {
            let first = cause
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            Failure::new(format!("the kubeconfig is not one: {first}"))
                .hint("it must be YAML with clusters, users and contexts")
        }
        KubeconfigError::CurrentContextNotSet => {
            Failure::new("the kubeconfig has no current context")
                .hint("choose one with --context, or with kubectl config use-context")
        }
        KubeconfigError::LoadContext(name) => {
            Failure::new(format!("the kubeconfig has no context {name:?}"))
                .hint("kubectl config get-contexts lists them")
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            let by = if arguments.cluster.is_some() {
                "--cluster"
            } else {
                "the context"
            };
            Failure::new(format!(
                "the kubeconfig has no cluster {name:?}, which {by} names"
            ))
            .hint("kubectl config get-clusters lists them")
        }
        KubeconfigError::LoadCertificateAuthority(LoadDataError::ReadFile(cause, path))
        | KubeconfigError::LoadClientCertificate(LoadDataError::ReadFile(cause, path))
        | KubeconfigError::LoadClientKey(LoadDataError::ReadFile(cause, path)) => {
            Failure::new(format!(
                "the kubeconfig names {}, which cannot be read: {cause}",
                path.display()
            ))
            .hint("fetch the file, or a new kubeconfig")
        }
        other => Failure::new(format!("the kubeconfig cannot be used: {other}")).hint(hint),
    }
}

/// The texts of an error and all its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let text = text
            .trim_start_matches("ServiceError: ")
            .trim_start_matches("HyperError: ")
            .trim_start_matches("client error (Connect)");
        // Many layers repeat the text of the one below.
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

    fn check(code: u16, reason: &str, message: &str, words: &[&str]) {
        let status = Status::failure(message, reason).with_code(code).boxed();
        let text = failure("https://x:1", "list pods", &kube::Error::Api(status)).render();
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }

    #[test]
    fn answers_that_say_no_come_with_a_way_out() {
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
            &["answers 502", "<html>", "proxy"],
        );
        check(
            404,
            "NotFound",
            r#"nodes "n" not found"#,
            &[r#"nodes "n" not found"#],
        );
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_told_from_one_that_is_silent() {
        let text = |error: Box<dyn std::error::Error + Send + Sync>| {
            failure("https://x:1", "connect", &kube::Error::Service(error)).render()
        };
        let refused = text(Box::new(std::io::Error::from(
            std::io::ErrorKind::ConnectionRefused,
        )));
        assert!(
            refused.contains("https://x:1 cannot be reached: connection refused"),
            "{refused}"
        );
        let silent = text(Box::new(NoAnswer { seconds: 2.0 }));
        assert!(
            silent.contains("is silent: no answer within 2 s")
                && silent.contains("--request-timeout"),
            "{silent}"
        );
    }
}
