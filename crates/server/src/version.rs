//! `/version`: the version of Kubernetes that this server implements, with our own suffix.

/// Returns the document, as JSON. The names of members and their order are upstream's.
pub(crate) fn document() -> Vec<u8> {
    let (major, minor, _) = kinds::KUBERNETES;
    let version = kinds::git_version();
    let platform = format!(
        "{}/{}",
        std::env::consts::OS,
        go_architecture(std::env::consts::ARCH)
    );
    format!(
        concat!(
            r#"{{"major":"{major}","minor":"{minor}","emulationMajor":"{major}","emulationMinor":"{minor}","#,
            r#""minCompatibilityMajor":"{major}","minCompatibilityMinor":"{before}","#,
            r#""gitVersion":"{version}","gitCommit":"","gitTreeState":"","#,
            r#""buildDate":"1970-01-01T00:00:00Z","goVersion":"","compiler":"rustc","platform":"{platform}"}}"#
        ),
        major = major,
        minor = minor,
        before = minor.parse::<u32>().map_or(0, |minor| minor.saturating_sub(1)),
        version = version,
        platform = platform
    )
    .into_bytes()
}

fn go_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clients_can_read_the_version() {
        let tree: kinds::Tree = serde_json::from_slice(&super::document()).expect("valid JSON");
        assert_eq!(
            (&tree["major"], &tree["minor"]),
            (&"1".into(), &"36".into())
        );
        assert!(
            tree["gitVersion"]
                .as_str()
                .expect("text")
                .starts_with("v1.36.2+exeunt.")
        );
        assert_eq!(tree.as_object().expect("an object").len(), 13);
    }
}
