//! `POST pods/{name}/eviction`, from the body to the answer.
//!
//! The steps: decode the body, find the budgets that select the pod, decide ([`decide()`]), and
//! write everything in one atomic commit. The budget's `disruptionsAllowed` falls by one, the pod
//! gets the condition `DisruptionTarget`, and is deleted like any other pod. Watchers see these
//! writes in this order; readers see all of them or none. A refused or failed eviction writes
//! nothing.
//!
//! Read next: `rules::eviction` for the rule, `eviction/decide.rs` for the answers,
//! `eviction/apply.rs` for the writes.

use std::sync::Arc;

use kinds::Tree;
use kinds::status::{FieldError, GroupResource, Status};
use store::{Record, Txn};

mod apply;
pub(crate) mod candidates;
mod decide;

pub use apply::charged;
pub use decide::{Decision, Preconditions, decide};

use crate::body::{self, ExpectedKind};
use crate::delete::{self, Deletion};
use crate::facts::{BudgetFacts, PodFacts};
use crate::observe::EvictionObservation;
use crate::record::{self, Facts, Prepared};
use crate::request::{DeleteOptions, Refusal, Reply, RequestBody, WriteOptions};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;
use crate::{Registry, admission, object, options, tree};

impl Registry {
    /// Evicts the pod that `target` names.
    pub(crate) async fn evict(
        &self,
        target: Target,
        body: RequestBody,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        let mut observation = EvictionObservation::default();
        let evicted = self
            .evict_observed(&target, &body, &write, &mut observation)
            .await;
        self.observed(&target, &observation, evicted.as_ref().err());
        evicted
    }

    async fn evict_observed(
        &self,
        target: &Target,
        body: &RequestBody,
        write: &WriteOptions,
        observation: &mut EvictionObservation,
    ) -> Result<Reply, Refusal> {
        options::dry_run(write, "CreateOptions")?;
        let decoded = body::decode(body, expected(target)?, write.field_validation)?;
        let warnings = decoded.warnings;
        let evicted = self
            .evict_decoded(target, decoded.tree, write, observation)
            .await;
        evicted.map_err(|refusal| body::with_warnings(refusal, &warnings))?;
        Ok(Reply::Status {
            status: Status::success(201),
            code: 201,
            warnings,
        })
    }

    async fn evict_decoded(
        &self,
        target: &Target,
        eviction: Tree,
        write: &WriteOptions,
        observation: &mut EvictionObservation,
    ) -> Result<(), Refusal> {
        check_namespace(target, &eviction)?;
        admission::namespace::check(&self.store().snapshot(), target)?;
        check_name(target, &eviction)?;
        let asked = delete_options(&eviction, write)?;
        let dry_run = !asked.dry_run.is_empty();
        observation.dry_run = dry_run;
        let always_allow_counts = self.options().gates.unhealthy_pod_eviction_policy;
        // Most evictions under a tight budget are refused. The visible state is enough to refuse,
        // and reading it does not wait in the queue of commits.
        let snapshot = self.store().snapshot();
        let kinds = EvictionResources::find()?;
        let early = EvictionContext::read(&snapshot, target, &kinds)?;
        early.record_in(observation);
        if let (_, Decision::Refuse(refusal)) = early.decide(&asked, always_allow_counts) {
            return Err(refusal);
        }
        // Encode the pod's new states before the commit, which excludes all others. They are used
        // if the pod has not changed until then.
        let prepared = if dry_run {
            None
        } else {
            PodWrites::prepare(target, &early.pod, &asked).ok()
        };
        self.commit(move |txn| {
            let context = EvictionContext::read(txn, target, &kinds)?;
            context.record_in(observation);
            let (budget, decision) = context.decide(&asked, always_allow_counts);
            options::validate_delete(&asked)?;
            match decision {
                Decision::Refuse(refusal) => Err(refusal),
                Decision::Evict | Decision::Charge if dry_run => Ok(()),
                Decision::Evict | Decision::Charge => match &prepared {
                    Some(writes) if Arc::ptr_eq(&writes.pod, &context.pod) => {
                        carry_out(txn, target, &kinds, budget, writes)
                    }
                    _ => carry_out(
                        txn,
                        target,
                        &kinds,
                        budget,
                        &PodWrites::prepare(target, &context.pod, &asked)?,
                    ),
                },
            }
        })
        .await
    }
}

/// The writes of a granted eviction to the pod, prepared for one state of it.
struct PodWrites {
    /// The state of the pod from which the writes were prepared.
    pod: Arc<Record>,
    /// The pod with the condition `DisruptionTarget`; `None` when it has that already.
    targeted: Option<Prepared>,
    deletion: Deletion,
}

impl PodWrites {
    fn prepare(target: &Target, pod: &Arc<Record>, asked: &DeleteOptions) -> Result<Self, Refusal> {
        let before = record::tree_of(&target.trees, &target.stored, pod);
        let now = record::written(&before, pod);
        let targeted = apply::with_disruption_target(&before, target.now).map(|tree| {
            (
                record::prepare(&target.stored, tree.clone(), Some(now)),
                tree,
            )
        });
        // The decision has checked the preconditions, and adding the condition changes the version.
        let options = DeleteOptions {
            resource_version: None,
            ..asked.clone()
        };
        let deletion = match &targeted {
            None => delete::prepare(target, &before, Some(now), &options)?,
            Some((prepared, tree)) => {
                let written = prepared.written();
                delete::prepare(
                    target,
                    written.map_or(tree, |written| written.tree),
                    written,
                    &options,
                )?
            }
        };
        let targeted = targeted.map(|(prepared, _)| prepared);
        Ok(Self {
            pod: Arc::clone(pod),
            targeted,
            deletion,
        })
    }
}

/// Writes a granted eviction: the charge to the budget if one pays, the condition, the deletion.
fn carry_out(
    txn: &mut Txn,
    target: &Target,
    kinds: &EvictionResources,
    budget: Option<&Record>,
    writes: &PodWrites,
) -> Result<(), Refusal> {
    if let Some(budget) = budget {
        apply::charge(txn, target, &kinds.budgets, budget);
    }
    let pod = writes
        .targeted
        .as_ref()
        .map(|targeted| record::put_transient(txn, &writes.pod.key, targeted));
    delete::carry_out(
        txn,
        target,
        pod.as_ref().unwrap_or(&writes.pod),
        &writes.deletion,
    );
    Ok(())
}

/// The resources that an eviction reads.
#[derive(Clone)]
struct EvictionResources {
    pods: ResourceRef,
    budgets: ResourceRef,
}

impl EvictionResources {
    fn find() -> Result<Self, Refusal> {
        let pods = ResourceRef::built_in("", "v1", "pods");
        let budgets = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets");
        let found = pods
            .zip(budgets)
            .map(|(pods, budgets)| Self { pods, budgets });
        found.ok_or_else(|| Status::internal("the table has no pods or no budgets").into())
    }
}

/// The pod and the budgets that select it, as of one revision.
struct EvictionContext {
    kinds: EvictionResources,
    pod: Arc<Record>,
    budgets: Vec<Arc<Record>>,
    name: String,
}

impl EvictionContext {
    fn read(
        view: &impl StoreView,
        target: &Target,
        kinds: &EvictionResources,
    ) -> Result<Self, Refusal> {
        let pod = view
            .record(&target.key())
            .ok_or_else(|| target.not_found())?;
        let whole = || record::tree_of(&target.trees, &target.stored, &pod);
        admission::node_restriction::evict(target, whole)?;
        let facts = record::facts(&kinds.pods, &pod);
        let mut budgets = candidates::of(view, &target.namespace, facts);
        budgets.retain(|budget| selects(record::facts(&kinds.budgets, budget), facts));
        Ok(Self {
            kinds: kinds.clone(),
            budgets,
            name: target.name.clone(),
            pod,
        })
    }

    /// Records what was read for the metrics and the log line.
    fn record_in(&self, observation: &mut EvictionObservation) {
        observation.pod = Some(self.pod.clone());
        observation.budgets.clone_from(&self.budgets);
    }

    /// Returns the decision, and the budget that pays if one does.
    fn decide(
        &self,
        asked: &DeleteOptions,
        always_allow_counts: bool,
    ) -> (Option<&Record>, Decision) {
        let nothing = PodFacts::default();
        let pod = record::facts(&self.kinds.pods, &self.pod)
            .of_kind()
            .unwrap_or(&nothing);
        let budgets: Vec<&BudgetFacts> = self
            .budgets
            .iter()
            .filter_map(|budget| record::facts(&self.kinds.budgets, budget).of_kind())
            .collect();
        let preconditions = Preconditions {
            pod: &self.name,
            uid: asked.uid.as_deref(),
            resource_version: asked.resource_version.as_deref(),
        };
        let decision = decide(
            pod,
            &self.pod.modified.0.to_string(),
            &budgets,
            &preconditions,
            always_allow_counts,
        );
        let budget = match decision {
            Decision::Charge => self.budgets.first().map(AsRef::as_ref),
            Decision::Evict | Decision::Refuse(_) => None,
        };
        (budget, decision)
    }
}

fn selects(budget: &Facts, pod: &Facts) -> bool {
    let budget: Option<&BudgetFacts> = budget.of_kind();
    let selector = budget.and_then(|budget| budget.selector.as_ref());
    selector.is_some_and(|selector| selector.matches(pod))
}

/// Returns the kind that the body must have. `policy/v1beta1` is accepted as well, as upstream
/// does, although it is no longer served.
fn expected(target: &Target) -> Result<ExpectedKind<'_>, Refusal> {
    let sub = target
        .resource
        .subresource("eviction")
        .ok_or_else(Status::no_such_resource)?;
    Ok(ExpectedKind {
        also: &["policy/v1beta1"],
        ..ExpectedKind::of_subresource(sub)
    })
}

fn check_namespace(target: &Target, eviction: &Tree) -> Result<(), Refusal> {
    let namespace = object::meta_text(eviction, "namespace");
    if namespace.is_empty() || namespace == target.namespace {
        return Ok(());
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    )
    .into())
}

/// Checks that the body has the name of the path. Unlike the namespace it must not be left out.
fn check_name(target: &Target, eviction: &Tree) -> Result<(), Refusal> {
    if object::meta_text(eviction, "name") != target.name {
        return Err(
            Status::bad_request("name in URL does not match name in Eviction object").into(),
        );
    }
    let path = [
        "deleteOptions",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
    ];
    if tree::flag(eviction, &path) {
        let why = "can not be set for pod eviction, try after removing the option";
        let fault = FieldError::invalid(path.join("."), &Tree::Bool(true), why);
        let kind = GroupResource {
            group: "policy",
            resource: "Eviction",
        };
        return Err(Status::invalid(kind, &target.name, &[fault]).into());
    }
    Ok(())
}

/// Returns the delete options of the body, merged with the dry run of the query.
fn delete_options(eviction: &Tree, write: &WriteOptions) -> Result<DeleteOptions, Refusal> {
    let mut asked = options::of_tree(tree::at(eviction, &["deleteOptions"]));
    if asked.dry_run.is_empty() {
        asked.dry_run.clone_from(&write.dry_run);
    } else if !write.dry_run.is_empty() && write.dry_run != asked.dry_run {
        let (query, body) = (write.dry_run.join(" "), asked.dry_run.join(" "));
        return Err(Status::untyped(format!(
            "Non-matching dry-run options in request and content: [{query}] and [{body}]"
        ))
        .into());
    }
    Ok(asked)
}
