//! Feature gates in the syntax of kube-apiserver's `--feature-gates`.
//!
//! There is one gate. It was beta from 1.26 to 1.30 and is always on since 1.31; switching it off
//! gives the older behaviour for tests.

use cluster::Gates;

use crate::error::CliError;

const UNHEALTHY_POD_EVICTION_POLICY: &str = "PDBUnhealthyPodEvictionPolicy";

/// Parses `Name=bool` settings. The last one for a name wins.
pub(crate) fn parse(settings: &[String]) -> Result<Gates, CliError> {
    let mut gates = Gates::default();
    for setting in settings.iter().filter(|setting| !setting.trim().is_empty()) {
        let (name, value) = setting.trim().split_once('=').ok_or_else(|| {
            CliError::usage(
                format!("cannot parse feature gate {setting:?}: missing value"),
                "use Name=true or Name=false",
            )
        })?;
        let on = match value {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => true,
            "false" | "False" | "FALSE" | "f" | "F" | "0" => false,
            _ => {
                return Err(CliError::usage(
                    format!("cannot set feature gate {name} to {value:?}: expected true or false"),
                    "use Name=true or Name=false",
                ));
            }
        };
        match name {
            UNHEALTHY_POD_EVICTION_POLICY => gates.unhealthy_pod_eviction_policy = on,
            _ => {
                let hint = format!(
                    "the only gate is {UNHEALTHY_POD_EVICTION_POLICY}; \
                     all other features of 1.36 have their default state"
                );
                return Err(CliError::usage(
                    format!("unrecognized feature gate: {name}"),
                    hint,
                ));
            }
        }
    }
    Ok(gates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &[&str]) -> Result<bool, String> {
        let settings: Vec<String> = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        parse(&settings)
            .map(|gates| gates.unhealthy_pod_eviction_policy)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_gate_is_on_by_default_and_the_last_setting_wins() {
        assert_eq!(check(&[]), Ok(true));
        assert_eq!(check(&["PDBUnhealthyPodEvictionPolicy=false"]), Ok(false));
        assert_eq!(
            check(&[
                "PDBUnhealthyPodEvictionPolicy=false",
                "PDBUnhealthyPodEvictionPolicy=true"
            ]),
            Ok(true)
        );
    }

    #[test]
    fn an_unknown_gate_is_refused_by_name() {
        assert_eq!(
            check(&["PodDisruptionConditions=true"]),
            Err("unrecognized feature gate: PodDisruptionConditions".to_owned())
        );
        assert!(check(&["PDBUnhealthyPodEvictionPolicy"]).is_err());
        assert!(check(&["PDBUnhealthyPodEvictionPolicy=maybe"]).is_err());
    }
}
