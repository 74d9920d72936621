//! The rules about pods that controllers use.

pub(crate) use rules::pods::*;

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::api::core::v1::Pod;

    /// Makes a pod from JSON.
    pub(crate) fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }
}
