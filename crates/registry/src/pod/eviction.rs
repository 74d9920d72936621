//! `POST pods/{name}/eviction`: an eviction from the body to the answer, on one screen.
//!
//! Decode, find the budgets that select the pod, let `decide` choose, and carry the choice out in
//! one atomic commit: the budget pays, the pod gets its `DisruptionTarget`, and is deleted as any
//! other pod. Watchers see these writes one after the other, in this order; nobody sees a part of
//! them. What is refused, or fails, leaves no trace.
//!
//! Read next: `eviction/decide.rs` for the rules, `eviction/apply.rs` for the writes.

use std::sync::Arc;

use kinds::Tree;
use kinds::selector::LabelSelector;
use kinds::status::{FieldError, GroupResource, Status};
use rules::eviction::{BudgetState, Phase, PodState};
use store::{Record, Txn};

mod apply;
pub(crate) mod candidates;
mod decide;

pub use apply::charged;
pub use decide::{BudgetFacts, Decision, NotAllowed, PodFacts, Preconditions, decide};

use crate::body::{self, Expected};
use crate::delete::{self, Deletion};
use crate::observe::Sight;
use crate::record::{self, Facts, More, Ready};
use crate::request::{Body, DeleteOptions, Refusal, Reply, WriteOptions};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::View;
use crate::{Registry, admission, object, options, tree};

impl Registry {
    /// Evicts the pod that `target` names.
    pub(crate) async fn evict(
        &self,
        target: Target,
        body: Body,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        let mut sight = Sight::default();
        let evicted = self.evict_seen(&target, &body, &write, &mut sight).await;
        self.observed(&target, &sight, evicted.as_ref().err());
        evicted
    }

    async fn evict_seen(
        &self,
        target: &Target,
        body: &Body,
        write: &WriteOptions,
        sight: &mut Sight,
    ) -> Result<Reply, Refusal> {
        options::dry_run(write, "CreateOptions")?;
        let decoded = body::decode(body, expected(target)?, write.field_validation)?;
        let warnings = decoded.warnings;
        let evicted = self.evict_decoded(target, decoded.tree, write, sight).await;
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
        sight: &mut Sight,
    ) -> Result<(), Refusal> {
        check_namespace(target, &eviction)?;
        admission::namespace::check(&self.store().snapshot(), target)?;
        check_name(target, &eviction)?;
        let asked = delete_options(&eviction, write)?;
        let dry_run = !asked.dry_run.is_empty();
        sight.dry_run = dry_run;
        let always_allow_counts = self.options().gates.unhealthy_pod_eviction_policy;
        // Most evictions under a tight budget are refused. What is visible now decides as well as
        // what is being committed, and needs no place in the queue of commits.
        let snapshot = self.store().snapshot();
        let kinds = Kinds::find()?;
        let early = Scene::look(&snapshot, target, &kinds)?;
        early.show(sight);
        if let (_, Decision::Refuse(refusal)) = early.decide(&asked, always_allow_counts) {
            return Err(refusal);
        }
        // What is to be written of the pod is made ready here. It serves if the pod is the same
        // when its turn comes.
        let early = if dry_run {
            None
        } else {
            Plan::of(target, &early.pod, &asked).ok()
        };
        self.commit(move |txn| {
            let scene = Scene::look(txn, target, &kinds)?;
            scene.show(sight);
            let (budget, decision) = scene.decide(&asked, always_allow_counts);
            options::validate_delete(&asked)?;
            match decision {
                Decision::Refuse(refusal) => Err(refusal),
                Decision::Evict | Decision::Charge if dry_run => Ok(()),
                Decision::Evict | Decision::Charge => match &early {
                    Some(plan) if Arc::ptr_eq(&plan.pod, &scene.pod) => {
                        carry_out(txn, target, &kinds, budget, plan)
                    }
                    _ => carry_out(
                        txn,
                        target,
                        &kinds,
                        budget,
                        &Plan::of(target, &scene.pod, &asked)?,
                    ),
                },
            }
        })
        .await
    }
}

/// What a granted eviction writes of the pod.
struct Plan {
    pod: Arc<Record>,
    /// The pod with its condition, if it does not have that already.
    marked: Option<Ready>,
    deletion: Deletion,
}

impl Plan {
    fn of(target: &Target, pod: &Arc<Record>, asked: &DeleteOptions) -> Result<Self, Refusal> {
        let before = record::tree_of(&target.trees, &target.stored, pod);
        let now = record::written(&before, pod);
        let marked = apply::marked(&before, target.now)
            .map(|tree| (record::ready(&target.stored, tree.clone(), Some(now)), tree));
        // The preconditions were judged with the decision; the version they name is older by then.
        let options = DeleteOptions {
            uid: None,
            resource_version: None,
            ..asked.clone()
        };
        let deletion = match &marked {
            None => delete::prepare(target, &before, Some(now), &options)?,
            Some((ready, tree)) => {
                let written = ready.written();
                delete::prepare(
                    target,
                    written.map_or(tree, |written| written.tree),
                    written,
                    &options,
                )?
            }
        };
        let marked = marked.map(|(ready, _)| ready);
        Ok(Self {
            pod: Arc::clone(pod),
            marked,
            deletion,
        })
    }
}

/// The writes of a granted eviction: budget, condition, deletion.
fn carry_out(
    txn: &mut Txn,
    target: &Target,
    kinds: &Kinds,
    budget: Option<&Record>,
    plan: &Plan,
) -> Result<(), Refusal> {
    if let Some(budget) = budget {
        apply::charge(txn, target, &kinds.budgets, budget);
    }
    let pod = plan
        .marked
        .as_ref()
        .map(|marked| record::put_passing(txn, &plan.pod.key, marked));
    delete::carry_out(
        txn,
        target,
        pod.as_ref().unwrap_or(&plan.pod),
        &plan.deletion,
    );
    Ok(())
}

/// The two kinds of an eviction.
#[derive(Clone)]
struct Kinds {
    pods: ResourceRef,
    budgets: ResourceRef,
}

impl Kinds {
    fn find() -> Result<Self, Refusal> {
        let pods = ResourceRef::built_in("", "v1", "pods");
        let budgets = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets");
        let found = pods
            .zip(budgets)
            .map(|(pods, budgets)| Self { pods, budgets });
        found.ok_or_else(|| Status::internal("the table has no pods or no budgets").into())
    }
}

/// The pod and the budgets that select it, as of one moment.
struct Scene {
    kinds: Kinds,
    pod: Arc<Record>,
    budgets: Vec<Arc<Record>>,
    name: String,
}

impl Scene {
    fn look(view: &impl View, target: &Target, kinds: &Kinds) -> Result<Self, Refusal> {
        let pod = view
            .record(&target.key())
            .ok_or_else(|| target.not_found())?;
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

    /// Tells the observer what was seen.
    fn show(&self, sight: &mut Sight) {
        sight.pod = Some(self.pod.clone());
        sight.budgets.clone_from(&self.budgets);
    }

    /// Returns the decision, and the budget that pays if one does.
    fn decide(
        &self,
        asked: &DeleteOptions,
        always_allow_counts: bool,
    ) -> (Option<&Record>, Decision) {
        let nothing = PodFacts::default();
        let pod = match &record::facts(&self.kinds.pods, &self.pod).more {
            More::Pod(pod) => pod,
            _ => &nothing,
        };
        let budgets: Vec<&BudgetFacts> = self
            .budgets
            .iter()
            .filter_map(|budget| budget_of(record::facts(&self.kinds.budgets, budget)))
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

fn budget_of(facts: &Facts) -> Option<&BudgetFacts> {
    if let More::Budget(budget) = &facts.more {
        Some(budget)
    } else {
        None
    }
}

fn selects(budget: &Facts, pod: &Facts) -> bool {
    let selector = budget_of(budget).and_then(|budget| budget.selector.as_ref());
    selector.is_some_and(|selector| selector.matches(pod))
}

/// The kind of the body; the old version reads alike although it is no longer served.
fn expected(target: &Target) -> Result<Expected<'_>, Refusal> {
    let sub = target
        .resource
        .subresource("eviction")
        .ok_or_else(Status::no_such_resource)?;
    Ok(Expected {
        also: &["policy/v1beta1"],
        ..Expected::of_subresource(sub)
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

/// The name in the body is not filled in from the path; it has to be there and to be the same.
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

/// The options of the body, with the dry run of the query merged in.
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

impl PodFacts {
    /// Reads a pod.
    #[must_use]
    pub fn of(pod: &Tree) -> Self {
        Self {
            state: PodState {
                phase: Phase::parse(tree::text(pod, &["status", "phase"])),
                ready: object::condition(pod, "Ready")
                    .is_some_and(|ready| tree::text(ready, &["status"]) == "True"),
                terminating: object::terminating(pod),
            },
            uid: object::meta_text(pod, "uid").to_owned(),
        }
    }
}

impl BudgetFacts {
    /// Reads a budget; a count that its status lacks is zero.
    #[must_use]
    pub fn of(budget: &Tree) -> Self {
        let number = |path: &[&str]| tree::int(budget, path).unwrap_or(0);
        let count = |name: &str| number(&["status", name]);
        let not_allowed = object::condition(budget, "DisruptionAllowed")
            .filter(|found| tree::text(found, &["status"]) == "False")
            .map(|found| NotAllowed {
                reason: tree::text(found, &["reason"]).to_owned(),
                message: tree::text(found, &["message"]).to_owned(),
            });
        Self {
            state: BudgetState {
                observed: count("observedGeneration") >= number(&["metadata", "generation"]),
                disruptions_allowed: count("disruptionsAllowed"),
                current_healthy: count("currentHealthy"),
                desired_healthy: count("desiredHealthy"),
                disrupted_pods: tree::at(budget, &["status", "disruptedPods"])
                    .as_object()
                    .map_or(0, kinds::tree::Map::len),
                always_allow: tree::text(budget, &["spec", "unhealthyPodEvictionPolicy"])
                    == "AlwaysAllow",
            },
            name: object::meta_text(budget, "name").to_owned(),
            selector: LabelSelector::from_tree(tree::at(budget, &["spec", "selector"])).ok(),
            not_allowed: not_allowed.filter(|found| !found.message.is_empty()),
        }
    }
}
