//! Defaults and validation of `PersistentVolume`. Its source and mode are immutable.

use kinds::tree::json;
use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

use super::checks::one_of_if_set;
use super::path::SPEC;
use super::{Strategy, StrategyContext, claim};
use crate::tree::{at, entries, fill, put, text};

/// Fields of a persistent volume's spec that are objects but not volume sources.
const NOT_SOURCES: [&str; 3] = ["capacity", "claimRef", "nodeAffinity"];

pub(crate) struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Tree) {
        fill(object, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        fill(object, &["spec", "volumeMode"], "Filesystem");
        if at(object, &["spec", "hostPath"]).is_object()
            && at(object, &["spec", "hostPath", "type"]).is_null()
        {
            put(object, &["spec", "hostPath", "type"], "");
        }
    }

    fn prepare_create(&self, context: &StrategyContext<'_>, object: &mut Tree) {
        let status = json!({"phase": "Pending", "lastPhaseTransitionTime": context.now_text()});
        put(object, &["status"], status);
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        const SINCE: [&str; 2] = ["status", "lastPhaseTransitionTime"];
        if context.subresource != "status" {
            return;
        }
        let changed = text(new, &["status", "phase"]) != text(old, &["status", "phase"]);
        let is_kept = at(new, &SINCE).is_null() || at(new, &SINCE) == at(old, &SINCE);
        if changed && is_kept {
            put(new, &SINCE, context.now_text());
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        claim::access_modes(spec, "", &SPEC, &mut out);
        let capacity = at(spec, &["capacity"]);
        let path = SPEC.child("capacity");
        if crate::tree::is_empty(capacity) {
            out.push(FieldError::required(path, ""));
        }
        if at(capacity, &["storage"]).is_null() || entries(capacity, &[]).len() > 1 {
            out.push(FieldError::not_supported(path, capacity, &["storage"]));
        }
        for (name, amount) in entries(capacity, &[]) {
            if super::checks::quantity(amount)
                .is_some_and(|amount| amount.is_zero() || amount.is_negative())
            {
                out.push(FieldError::invalid(
                    path.key(name),
                    amount,
                    "must be greater than zero",
                ));
            }
        }
        one_of_if_set(
            spec,
            "persistentVolumeReclaimPolicy",
            &["Delete", "Recycle", "Retain"],
            &SPEC,
            &mut out,
        );
        match sources(object).len() {
            0 => out.push(FieldError::required(SPEC, "must specify a volume type")),
            1 => {}
            _ => out.push(FieldError::forbidden(
                SPEC,
                "may not specify more than 1 volume type",
            )),
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        if context.subresource == "status" {
            return FieldErrors::default();
        }
        let mut out = self.validate_create(context, new);
        if sources(new) != sources(old) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            out.push(FieldError::forbidden(
                SPEC.child("persistentvolumesource"),
                detail,
            ));
        }
        let mode = at(new, &["spec", "volumeMode"]);
        if mode != at(old, &["spec", "volumeMode"]) {
            out.push(FieldError::invalid(
                "volumeMode",
                mode,
                "field is immutable",
            ));
        }
        let affinity = at(old, &["spec", "nodeAffinity"]);
        if !affinity.is_null() && at(new, &["spec", "nodeAffinity"]) != affinity {
            out.push(FieldError::invalid(
                "nodeAffinity",
                at(new, &["spec", "nodeAffinity"]),
                "field is immutable",
            ));
        }
        out
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Returns the volume sources of a volume.
fn sources(volume: &Tree) -> Vec<(&str, &Tree)> {
    let mut all = entries(volume, &["spec"]);
    all.retain(|(name, value)| value.is_object() && !NOT_SOURCES.contains(name));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(subresource: &str) -> StrategyContext<'_> {
        StrategyContext {
            subresource,
            gates: crate::strategy::Gates::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_change_of_phase_is_dated() {
        let volume = |phase: &str, since: Tree| {
            let status = json!({"phase": phase, "lastPhaseTransitionTime": since});
            json!({"status": status})
        };
        let (then, own) = ("2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
        let now = "1970-01-01T00:00:00Z";
        let cases = [
            (volume("Available", then.into()), then),
            (volume("Bound", then.into()), now),
            (volume("Bound", Tree::Null), now),
            (volume("Bound", own.into()), own),
        ];
        for (mut new, expected) in cases {
            let old = volume("Available", then.into());
            PersistentVolume.prepare_update(&context("status"), &mut new, &old);
            let since = text(&new, &["status", "lastPhaseTransitionTime"]);
            assert_eq!(since, expected, "{new}");
        }
    }

    #[test]
    fn source_and_mode_stay() {
        let volume = |path: &str, mode: &str, size: &str| {
            json!({"spec": {"hostPath": {"path": path}, "volumeMode": mode,
                "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]}})
        };
        let old = volume("/tmp/a", "Filesystem", "1Gi");
        let cases = [
            (volume("/tmp/a", "Filesystem", "2Gi"), None),
            (
                volume("/tmp/b", "Filesystem", "1Gi"),
                Some("spec.persistentvolumesource"),
            ),
            (volume("/tmp/a", "Block", "1Gi"), Some("volumeMode")),
        ];
        for (new, field) in cases {
            let faults = PersistentVolume.validate_update(&context(""), &new, &old);
            let found = faults.first().map(|fault| fault.field.as_str());
            assert_eq!(found, field, "{new}");
        }
    }
}
