//! The scale subresource: one small object for everything that has replicas. Reading makes it from
//! the object, writing puts its one figure back.

use std::sync::Arc;

use bytes::Bytes;
use kinds::Tree;
use kinds::facts::Subresource;
use kinds::selector;
use kinds::status::{FieldError, GroupResource, Status};
use kinds::tree::json;

use crate::body::{self, Expected};
use crate::patch::{self, Patch};
use crate::request::{Body, Decoded, Refusal, Reply, Verb, WriteOptions};
use crate::strategy::ScalePaths;
use crate::target::Target;
use crate::update::{self, Change, Origin};
use crate::{Registry, custom, options, read, record, tree};

impl Registry {
    /// Answers a request to `scale`.
    pub(crate) async fn scale(&self, target: Target, verb: Verb) -> Result<Reply, Refusal> {
        let sub = target.resource.subresource("scale").ok_or_else(Status::no_such_resource)?;
        let paths = target.rules.scale_paths().ok_or_else(Status::no_such_resource)?;
        match verb {
            Verb::Get { resource_version } => self.read_scale(&target, sub, paths, &resource_version).await,
            Verb::Update { body, options } => self.put_scale(&target, sub, paths, &body, &options).await,
            Verb::Patch { kind, patch, options } => {
                let patch = Patch::parse(kind, &patch, &options)?;
                self.patch_scale(&target, sub, paths, &patch, &options).await
            }
            _ => Err(Status::method_not_allowed().into()),
        }
    }

    async fn read_scale(&self, target: &Target, sub: &'static Subresource, paths: ScalePaths, version: &str) -> Result<Reply, Refusal> {
        if let Some(revision) = read::parse_version(version)? {
            self.wait_for(revision).await?;
        }
        let found = self.store().get(&target.key()).ok_or_else(|| target.not_found())?;
        let found = record::tree(&found.value);
        check_there(target, &found, paths)?;
        let json = render(sub, &of(&found, paths));
        Ok(Reply::Object { code: 200, json, warnings: Vec::new() })
    }

    async fn put_scale(
        &self,
        target: &Target,
        sub: &'static Subresource,
        paths: ScalePaths,
        body: &Body,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(write, "UpdateOptions")?;
        let decoded = body::decode(body, Expected::of_subresource(sub), write.field_validation)?;
        let scale = Arc::new(decoded.tree);
        update::check_name(target, &scale)?;
        let make = |_: &Tree| Ok(Decoded { tree: Tree::clone(&scale), warnings: Vec::new() });
        let mut reply = self.change_scale(target, sub, paths, write, Origin::Put, dry_run, make).await?;
        if let Reply::Object { warnings, .. } = &mut reply {
            warnings.extend(decoded.warnings);
        }
        Ok(reply)
    }

    async fn patch_scale(
        &self,
        target: &Target,
        sub: &'static Subresource,
        paths: ScalePaths,
        patch: &Patch,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(write, "PatchOptions")?;
        let expected = Expected::of_subresource(sub);
        let make = |scale: &Tree| patch::apply_to(patch, scale, expected, write);
        self.change_scale(target, sub, paths, write, Origin::Patch, dry_run, make).await
    }

    #[expect(clippy::too_many_arguments, reason = "the two callers differ in all of them")]
    async fn change_scale(
        &self,
        target: &Target,
        sub: &'static Subresource,
        paths: ScalePaths,
        write: &WriteOptions,
        origin: Origin,
        dry_run: bool,
        make: impl Fn(&Tree) -> Result<Decoded, Refusal> + Send + Sync,
    ) -> Result<Reply, Refusal> {
        let change = Change { target, subresource: "", owned_as: "scale", write, origin };
        let produce = |old: Option<&Tree>| {
            let old = old.ok_or_else(|| target.not_found())?;
            let Decoded { tree: scale, warnings } = make(&of(old, paths))?;
            check(target, &scale)?;
            let mut tree = old.clone();
            tree::put(&mut tree, paths.spec_replicas, tree::int(&scale, &["spec", "replicas"]).unwrap_or(0));
            for member in ["resourceVersion", "uid"] {
                tree::carry(&scale, &mut tree, &["metadata", member]);
            }
            if tree::text(&tree, &["metadata", "uid"]).is_empty() {
                tree::carry(old, &mut tree, &["metadata", "uid"]);
            }
            Ok(Decoded { tree, warnings })
        };
        let changed = self.change(&change, dry_run, produce).await?;
        let json = render(sub, &of(&record::tree(&changed.json), paths));
        Ok(Reply::Object { code: 200, json, warnings: changed.warnings })
    }
}

/// An object of a custom kind that does not say how many it wants has no scale.
fn check_there(target: &Target, object: &Tree, paths: ScalePaths) -> Result<(), Refusal> {
    if custom::of(target.resource).is_some() && tree::at(object, paths.spec_replicas).is_null() {
        let path = paths.spec_replicas.join(".");
        return Err(Status::internal(format!("the spec replicas field \".{path}\" does not exist")).into());
    }
    Ok(())
}

fn check(target: &Target, scale: &Tree) -> Result<(), Refusal> {
    let replicas = tree::int(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas >= 0 {
        return Ok(());
    }
    let fault = FieldError::invalid("spec.replicas", &Tree::from(replicas), "must be greater than or equal to 0");
    Err(Status::invalid(GroupResource { group: "autoscaling", resource: "Scale" }, &target.name, &[fault]).into())
}

/// The scale of an object.
fn of(object: &Tree, paths: ScalePaths) -> Tree {
    let selector = if paths.selector.is_empty() { &Tree::Null } else { tree::at(object, paths.selector) };
    // Objects of custom kinds keep it as text.
    let selector = if let Tree::String(text) = selector {
        text.to_string()
    } else if paths.selector_is_map {
        let labels = tree::entries(selector, &[]);
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
    } else {
        selector::LabelSelector::from_tree(selector).map(|selector| selector.to_string()).unwrap_or_default()
    };
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {},
        "status": {"replicas": tree::int(object, paths.status_replicas).unwrap_or(0)},
    });
    for member in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        tree::carry(object, &mut scale, &["metadata", member]);
    }
    let replicas = tree::int(object, paths.spec_replicas).unwrap_or(0);
    if replicas != 0 {
        tree::put(&mut scale, &["spec", "replicas"], replicas);
    }
    if !selector.is_empty() {
        tree::put(&mut scale, &["status", "selector"], selector);
    }
    scale
}

fn render(sub: &'static Subresource, scale: &Tree) -> Bytes {
    kinds::json::encode(scale, sub.ty).into()
}
