//! `/livez`, `/readyz` and `/healthz`: `ok`, or the checks that fail.

use http::{Response, StatusCode};

use crate::body::Body;
use crate::query::Query;
use crate::respond;

/// A check: its name, and the reason if it fails.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) outcome: Result<(), String>,
    /// Whether the reason is shown in the list of all checks. Upstream shows none there, because a
    /// reason can name paths and addresses; the response of the single check has it.
    pub(crate) public: bool,
}

/// Splits a path into endpoint and name of a single check; `None` for other paths.
pub(crate) fn endpoint(path: &str) -> Option<(&'static str, &str)> {
    let path = path.trim_matches('/');
    ["livez", "readyz", "healthz"]
        .into_iter()
        .find_map(|endpoint| match path.strip_prefix(endpoint)? {
            "" => Some((endpoint, "")),
            rest => rest.strip_prefix('/').map(|check| (endpoint, check)),
        })
}

/// Builds the response of an endpoint from the outcome of its checks.
pub(crate) fn answer(
    endpoint: &str,
    single: &str,
    query: &Query<'_>,
    checks: &[Check],
) -> Response<Body> {
    if !single.is_empty() {
        let Some(check) = checks.iter().find(|check| check.name == single) else {
            return respond::page_not_found();
        };
        return match &check.outcome {
            Ok(()) => respond::text(StatusCode::OK, "ok"),
            Err(why) => respond::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("internal server error: {why}\n"),
            ),
        };
    }
    let excluded: Vec<&str> = query
        .all("exclude")
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        let line = match &check.outcome {
            _ if excluded.contains(&check.name) => format!("[+]{} excluded: ok\n", check.name),
            Ok(()) => format!("[+]{} ok\n", check.name),
            Err(why) => {
                failed = true;
                let why = if check.public { why } else { "reason withheld" };
                format!("[-]{} failed: {why}\n", check.name)
            }
        };
        lines.push_str(&line);
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| checks.iter().all(|check| check.name != **name))
        .map(|name| kinds::status::quoted(name))
        .collect();
    if !unknown.is_empty() {
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            unknown.join(",")
        ));
    }
    // A failure always lists the checks, because the first question is which one failed.
    match (failed, query.get("verbose").is_some()) {
        (true, _) => respond::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{lines}{endpoint} check failed\n"),
        ),
        (false, true) => respond::text(StatusCode::OK, format!("{lines}{endpoint} check passed\n")),
        (false, false) => respond::text(StatusCode::OK, "ok"),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn ask(single: &str, query: &str, failing: bool) -> (u16, String) {
        let outcome = if failing {
            Err("disk on fire".to_owned())
        } else {
            Ok(())
        };
        let checks = [
            Check {
                name: "ping",
                outcome: Ok(()),
                public: false,
            },
            Check {
                name: "store",
                outcome,
                public: false,
            },
        ];
        let response = answer("readyz", single, &Query::parse(Some(query)), &checks);
        let code = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("cannot fail")
            .to_bytes();
        (code, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn checks_are_listed_on_request_and_on_failure() {
        for (single, query, failing, code, text) in [
            ("", "", false, 200, "ok"),
            ("ping", "", true, 200, "ok"),
            (
                "store",
                "",
                true,
                500,
                "internal server error: disk on fire\n",
            ),
            ("nope", "", false, 404, "404 page not found\n"),
            (
                "",
                "verbose",
                false,
                200,
                "[+]ping ok\n[+]store ok\nreadyz check passed\n",
            ),
            (
                "",
                "",
                true,
                500,
                "[+]ping ok\n[-]store failed: reason withheld\nreadyz check failed\n",
            ),
            ("", "exclude=store", true, 200, "ok"),
            (
                "",
                "verbose&exclude=store",
                true,
                200,
                "[+]ping ok\n[+]store excluded: ok\nreadyz check passed\n",
            ),
            (
                "",
                "verbose&exclude=nope",
                false,
                200,
                "[+]ping ok\n[+]store ok\nwarn: some health checks cannot be excluded: no matches for \"nope\"\nreadyz check passed\n",
            ),
        ] {
            assert_eq!(
                ask(single, query, failing).await,
                (code, text.to_owned()),
                "{single} {query} {failing}"
            );
        }
    }

    #[tokio::test]
    async fn a_public_reason_is_listed() {
        let checks = [Check {
            name: "store",
            outcome: Err("its files are gone".to_owned()),
            public: true,
        }];
        let response = answer("readyz", "", &Query::parse(None), &checks);
        let body = response.into_body().collect().await.expect("cannot fail");
        assert_eq!(
            body.to_bytes(),
            "[-]store failed: its files are gone\nreadyz check failed\n"
        );
    }

    #[test]
    fn only_health_paths_are_taken() {
        assert_eq!(endpoint("/readyz"), Some(("readyz", "")));
        assert_eq!(endpoint("/livez/ping"), Some(("livez", "ping")));
        assert_eq!(endpoint("/livezz"), None);
        assert_eq!(endpoint("/version"), None);
    }
}
