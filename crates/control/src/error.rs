//! Why a reconciliation could not be finished. The work queue tries again, whatever it was.

/// A failed step of a reconciliation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused a request or could not be reached.
    #[error("{}", told(.0))]
    Api(#[from] kube::Error),
    /// The state of the world allows no plan.
    #[error("{0}")]
    Plan(String),
    /// A budget's share is no percentage.
    #[error(transparent)]
    Share(#[from] rules::budgets::NotAPercentage),
}

/// The server's own words where it has spoken, else what went wrong on the way to it.
pub(crate) fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl Error {
    /// The HTTP status code of the server's answer; 0 when there was none.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Api(error) => code(error),
            Self::Plan(_) | Self::Share(_) => 0,
        }
    }

    /// True when there is nothing left to do it for: the namespace goes or is gone.
    pub(crate) fn is_moot(&self) -> bool {
        matches!(self, Self::Api(error) if namespace_terminates(error))
    }

    /// True when somebody else was faster, so that a newer state is on its way to the caches.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == 409
    }
}

/// The HTTP status code of the server's answer; 0 when there was none.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// True when the namespace is on its way out or gone, so that creating in it again is of no use.
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

/// Turns "it is gone already" into success.
pub(crate) fn unless_gone<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if code(&error) == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
