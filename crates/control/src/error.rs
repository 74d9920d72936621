//! The reasons why a reconciliation fails. The work queue retries after each of them.

/// Why a key could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The API server refused a request or could not be reached.
    #[error("{}", server_message(.0))]
    Api(#[from] kube::Error),
    /// No plan is possible: an object is invalid, or other objects do not fit to it.
    #[error("{0}")]
    Plan(String),
    /// A percentage in a budget is invalid.
    #[error(transparent)]
    Share(#[from] rules::budgets::NotAPercentage),
}

/// The message of the server's status, or the error on the way to the server.
pub(crate) fn server_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl ReconcileError {
    /// The HTTP status code of the response; 0 when there was none.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Api(error) => code(error),
            Self::Plan(_) | Self::Share(_) => 0,
        }
    }

    /// True when the namespace is being deleted or gone, so that a retry is of no use.
    pub(crate) fn is_moot(&self) -> bool {
        matches!(self, Self::Api(error) if namespace_terminates(error))
    }

    /// True when another writer was faster. Its write is on its way to the caches.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == 409
    }
}

/// The HTTP status code of the response; 0 when there was none.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// True when nothing can be created in the namespace any more because it is being deleted or gone.
pub(crate) fn namespace_terminates(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    status.details.as_ref().is_some_and(|details| {
        let gone = status.code == 404 && details.kind == "namespaces";
        gone || details
            .causes
            .iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
    })
}

/// Turns "not found" into `None`.
pub(crate) fn ignore_not_found<T>(
    result: Result<T, kube::Error>,
) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if code(&error) == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
