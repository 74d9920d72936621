//! LIST: a consistent page of a collection, from a snapshot.
//!
//! All pages of one list come from the snapshot of the first page, whose revision is in the
//! continue token. When that revision has left the history, the client gets 410 and a token with
//! which it can continue from the present state.

use std::sync::Arc;

use kinds::Tree;
use kinds::status::{FieldError, ListMeta, Status};
use store::{Record, Revision, Snapshot};

mod token;

use self::token::Token;
use crate::request::{ListOptions, Refusal, Reply};
use crate::selection::Selection;
use crate::target::Target;
use crate::{Registry, options, read};

impl Registry {
    /// Lists the objects of a collection.
    pub(crate) async fn list(
        &self,
        target: Target,
        options: ListOptions,
    ) -> Result<Reply, Refusal> {
        let (metadata, records) = self.select(&target, &options).await?;
        Ok(self.render_list(&target, metadata, &records))
    }

    /// Returns the records of one page, and the metadata of the list.
    pub(crate) async fn select(
        &self,
        target: &Target,
        options: &ListOptions,
    ) -> Result<(ListMeta, Vec<Arc<Record>>), Refusal> {
        let selection = Selection::of(target, options, check_list)?;
        let prefix = target.prefix();
        let (snapshot, start_after) = self.place(options, &prefix).await?;
        // Upstream serves resource version 0 from a cache without pages, even with a continue
        // token.
        let limit = if options.resource_version == "0" {
            0
        } else {
            options.limit
        };
        Ok(page(
            &snapshot,
            &selection,
            &prefix,
            start_after.as_deref(),
            limit,
        ))
    }

    /// Returns the snapshot of a list, and the key after which its page begins.
    async fn place(
        &self,
        options: &ListOptions,
        prefix: &str,
    ) -> Result<(Snapshot, Option<String>), Refusal> {
        if !options.continue_token.is_empty() {
            let Token {
                revision,
                start_after,
            } = token::parse(&options.continue_token, prefix)?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                )
                .into());
            }
            let snapshot = match revision {
                Some(revision) => {
                    self.wait_for(revision).await?;
                    self.served_at(revision)
                        .ok_or_else(|| expired(&start_after, prefix))?
                }
                None => self.store().snapshot(),
            };
            return Ok((snapshot, Some(start_after)));
        }
        let asked = version_of_list(&options.resource_version)?;
        let exact = options.resource_version_match == "Exact"
            || (options.resource_version_match.is_empty() && options.limit > 0);
        match asked {
            Some(revision) if exact => {
                self.wait_for(revision).await?;
                Ok((self.served_at(revision).ok_or_else(too_old)?, None))
            }
            Some(revision) => {
                self.wait_for(revision).await?;
                Ok((self.store().snapshot(), None))
            }
            None => Ok((self.store().snapshot(), None)),
        }
    }

    /// Returns the state at a revision; `None` when it has left the history, and when no request
    /// can have seen it because it is older than the first that was served.
    fn served_at(&self, revision: Revision) -> Option<Snapshot> {
        if revision < self.first_served() {
            return None;
        }
        self.store().snapshot_at(revision).ok()
    }

    /// Returns the list of these records in the version of the request.
    pub(crate) fn render_list(
        &self,
        target: &Target,
        metadata: ListMeta,
        records: &[Arc<Record>],
    ) -> Reply {
        let resource = &target.resource;
        let items = records
            .iter()
            .map(|record| self.present(target, &record.value))
            .collect();
        Reply::List {
            kind: format!("{}List", resource.kind),
            api_version: resource.api_version(),
            metadata,
            items,
        }
    }
}

/// Returns one page, and the metadata, with a continue token if there is more.
fn page(
    snapshot: &Snapshot,
    selection: &Selection,
    prefix: &str,
    start_after: Option<&str>,
    limit: i64,
) -> (ListMeta, Vec<Arc<Record>>) {
    let mut metadata = ListMeta {
        resource_version: snapshot.revision().0.to_string(),
        ..ListMeta::default()
    };
    let mut matching = snapshot
        .range(prefix, start_after)
        .filter(|record| selection.matches(record));
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let Some(limit) = limit else {
        return (metadata, matching.collect());
    };
    let records: Vec<_> = matching.by_ref().take(limit).collect();
    let (Some(last), Some(_)) = (records.last(), matching.next()) else {
        return (metadata, records);
    };
    metadata.continue_token = token::render(Some(snapshot.revision()), &last.key, prefix);
    if selection.is_everything() {
        // One more was taken above to see whether the list goes on.
        let more = matching.count() + 1;
        metadata.remaining_item_count = i64::try_from(more).ok();
    }
    (metadata, records)
}

fn version_of_list(text: &str) -> Result<Option<Revision>, Refusal> {
    // Upstream answers an invalid version with 400 in a list and with 500 in a read.
    read::parse_version(text).map_err(|refusal| {
        Status::bad_request(format!(
            "invalid resource version: {}",
            refusal.status.message
        ))
        .into()
    })
}

fn expired(start_after: &str, prefix: &str) -> Refusal {
    let text = "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
                the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
                Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
                deleted between the time the first chunk was returned and now may show up in the list.";
    let mut status = Status::expired(text);
    status.metadata.continue_token = token::render(None, start_after, prefix);
    status.into()
}

fn too_old() -> Refusal {
    Status::expired("The provided resource version is too old to display a consistent list result. You must start a new list without the resourceVersion.").into()
}

const MATCHES: &[&str] = &["Exact", "NotOlderThan", ""];

/// Refuses options that are unknown or exclude each other, with 422.
pub(crate) fn check_list(options: &ListOptions) -> Result<(), Refusal> {
    const MATCH: &str = "resourceVersionMatch";
    let mut faults = Vec::new();
    let asked = options.resource_version_match.as_str();
    if !asked.is_empty() {
        if options.resource_version.is_empty() {
            faults.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !options.continue_token.is_empty() {
            faults.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !MATCHES.contains(&asked) {
            faults.push(FieldError::not_supported(
                MATCH,
                &Tree::from(asked),
                MATCHES,
            ));
        }
        if asked == "Exact" && options.resource_version == "0" {
            faults.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if options.send_initial_events.is_some() {
        faults.push(FieldError::forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(options::invalid("ListOptions", &faults))
    }
}
