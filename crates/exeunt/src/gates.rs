//! Feature gates, as kube-apiserver's `--feature-gates` takes them.
//!
//! One gate exists here: it was beta in 1.26 to 1.30 and is unconditional since 1.31; whoever tests
//! against the older behaviour may still switch it off.

use cluster::Gates;

use crate::failure::Failure;

const UNHEALTHY_POD_EVICTION_POLICY: &str = "PDBUnhealthyPodEvictionPolicy";

/// Reads `Name=bool` settings; the last one for a name wins.
pub(crate) fn parse(settings: &[String]) -> Result<Gates, Failure> {
    let mut gates = Gates::default();
    for setting in settings.iter().filter(|setting| !setting.trim().is_empty()) {
        let (name, value) = setting.trim().split_once('=').ok_or_else(|| {
            Failure::usage(
                format!("feature gate {setting:?} has no value"),
                "write it as Name=true or Name=false",
            )
        })?;
        let on = match value {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => true,
            "false" | "False" | "FALSE" | "f" | "F" | "0" => false,
            _ => {
                return Err(Failure::usage(
                    format!("feature gate {name} cannot be {value:?}"),
                    "its value is true or false",
                ));
            }
        };
        match name {
            UNHEALTHY_POD_EVICTION_POLICY => gates.unhealthy_pod_eviction_policy = on,
            _ => {
                let hint = format!(
                    "the only gate here is {UNHEALTHY_POD_EVICTION_POLICY}; everything else of 1.36 is always as its default"
                );
                return Err(Failure::usage(
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
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_one_gate_is_on_unless_it_is_switched_off() {
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
