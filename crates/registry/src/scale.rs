//! The scale subresource: one small object for every kind that has replicas. A read derives it from
//! the object; a write sets the number of replicas, and the managers that own it.

use bytes::Bytes;
use kinds::Tree;
use kinds::apply::ApplySchema;
use kinds::apply::{managers_behind_scale, managers_of_scale};
use kinds::facts::Subresource;
use kinds::selector;
use kinds::status::{FieldError, GroupResource, Status};
use kinds::tree::json;

use crate::body::{self, ExpectedKind};
use crate::managers::{self, Author};
use crate::patch::{self, Patch, apply};
use crate::request::{DecodedObject, PatchKind, Refusal, Reply, RequestBody, Verb, WriteOptions};
use crate::strategy::ScalePaths;
use crate::target::Target;
use crate::update::{self, ObjectUpdate, Origin};
use crate::{Registry, options, read, record, tree};

/// A request to the scale of an object.
#[derive(Clone)]
struct Scaling<'a> {
    /// The object that has the scale.
    target: &'a Target,
    sub: &'a Subresource,
    paths: ScalePaths,
}

impl Registry {
    /// Carries out a request to `scale`.
    pub(crate) async fn scale(&self, target: Target, verb: Verb) -> Result<Reply, Refusal> {
        let sub = target
            .resource
            .subresource("scale")
            .ok_or_else(Status::no_such_resource)?;
        let paths = target
            .rules
            .scale_paths()
            .ok_or_else(Status::no_such_resource)?;
        let scaling = Scaling {
            target: &target,
            sub,
            paths,
        };
        match verb {
            Verb::Get { resource_version } => self.read_scale(scaling, &resource_version).await,
            Verb::Update { body, options } => self.put_scale(scaling, &body, &options).await,
            Verb::Patch {
                kind: PatchKind::Apply,
                patch,
                options,
            } => self.apply_scale(scaling, &patch, &options).await,
            Verb::Patch {
                kind,
                patch,
                options,
            } => {
                let patch = Patch::parse(kind, &patch, &options)?;
                self.patch_scale(scaling, &patch, &options).await
            }
            _ => Err(Status::method_not_allowed().into()),
        }
    }

    async fn read_scale(&self, scaling: Scaling<'_>, version: &str) -> Result<Reply, Refusal> {
        let Scaling { target, sub, paths } = scaling;
        if let Some(revision) = read::parse_version(version)? {
            self.wait_for(revision).await?;
        }
        let found = self
            .store()
            .get(&target.key())
            .ok_or_else(|| target.not_found())?;
        let found = record::parse(&found.value);
        check_there(target, &found, &paths)?;
        let json = render(sub, &of(&found, &paths));
        Ok(Reply::Object {
            code: 200,
            json,
            warnings: Vec::new(),
        })
    }

    async fn put_scale(
        &self,
        scaling: Scaling<'_>,
        body: &RequestBody,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(write, "UpdateOptions")?;
        let DecodedObject {
            tree: sent,
            warnings,
        } = body::decode(
            body,
            ExpectedKind::of_subresource(scaling.sub),
            write.field_validation,
        )?;
        update::check_name(scaling.target, &sent)?;
        let change = scaling.change(write, Origin::Put);
        let make = |scale: &Tree| {
            Ok(DecodedObject {
                tree: scaling.with_managers(sent.clone(), scale, write),
                warnings: Vec::new(),
            })
        };
        let mut reply = self.change_scale(&scaling, &change, dry_run, make).await?;
        if let Reply::Object { warnings: all, .. } = &mut reply {
            all.extend(warnings);
        }
        Ok(reply)
    }

    async fn patch_scale(
        &self,
        scaling: Scaling<'_>,
        patch: &Patch,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(write, "PatchOptions")?;
        let expected = ExpectedKind::of_subresource(scaling.sub);
        let change = scaling.change(write, Origin::Patch);
        let make = |scale: &Tree| {
            // The refusal quotes the scale, without the managers that it took over from its object.
            let mut shown = scale.clone();
            tree::take(&mut shown, &["metadata", "managedFields"]);
            let DecodedObject { mut tree, warnings } =
                patch::apply_to(patch, &shown, expected, write)?;
            if managers::of(&tree).is_null() {
                managers::put(&mut tree, managers::of(scale).clone());
            }
            Ok(DecodedObject {
                tree: scaling.with_managers(tree, scale, write),
                warnings,
            })
        };
        self.change_scale(&scaling, &change, dry_run, make).await
    }

    async fn apply_scale(
        &self,
        scaling: Scaling<'_>,
        bytes: &Bytes,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        patch::check_options(PatchKind::Apply, write)?;
        let dry_run = options::dry_run(write, "PatchOptions")?;
        let expected = ExpectedKind::of_subresource(scaling.sub);
        let DecodedObject {
            tree: applied,
            warnings,
        } = apply::parse(bytes, scaling.target, expected)?;
        let (change, author) = (
            scaling.change(write, Origin::Apply),
            Author::of_scale(scaling.target, write),
        );
        let make = |scale: &Tree| {
            let made = apply::on_top(
                scale,
                &applied,
                ApplySchema::BuiltIn(expected.ty),
                expected,
                &author,
                write,
            )?;
            apply::judge(&warnings, write)?;
            Ok(made)
        };
        let mut reply = self.change_scale(&scaling, &change, dry_run, make).await?;
        if let Reply::Object { warnings: all, .. } = &mut reply {
            all.splice(0..0, apply::warned(&warnings, write));
        }
        Ok(reply)
    }

    /// Carries out a change of a scale. `make` returns the new scale with its managers for the
    /// present one.
    async fn change_scale(
        &self,
        scaling: &Scaling<'_>,
        change: &ObjectUpdate<'_>,
        dry_run: bool,
        make: impl Fn(&Tree) -> Result<DecodedObject, Refusal> + Send + Sync,
    ) -> Result<Reply, Refusal> {
        let Scaling { target, sub, paths } = scaling;
        let produce = |old: Option<&Tree>| {
            let old = old.ok_or_else(|| target.not_found())?;
            let mut scale = of(old, paths);
            managers::put(
                &mut scale,
                managers_of_scale(managers::of(old), &paths.spec_replicas.names()),
            );
            let DecodedObject {
                tree: scale,
                warnings,
            } = make(&scale)?;
            check(target, &scale)?;
            Ok(DecodedObject {
                tree: scaling.scaled(old, &scale),
                warnings,
            })
        };
        let changed = self.change(change, dry_run, produce).await?;
        let json = render(sub, &of(&record::parse(&changed.json), paths));
        Ok(Reply::Object {
            code: 200,
            json,
            warnings: changed.warnings,
        })
    }
}

impl<'a> Scaling<'a> {
    fn change(&self, write: &'a WriteOptions, origin: Origin) -> ObjectUpdate<'a> {
        ObjectUpdate {
            target: self.target,
            // Written as the object itself, so that the generation rises and the spec is validated.
            subresource: "",
            has_managers: true,
            write,
            origin,
        }
    }

    /// Returns a new scale with the managers that it has after a write other than apply.
    fn with_managers(&self, mut new: Tree, old: &Tree, write: &WriteOptions) -> Tree {
        managers::record(
            &mut new,
            old,
            ApplySchema::BuiltIn(self.sub.ty),
            &Author::of_scale(self.target, write),
        );
        new
    }

    /// Returns the object with the replicas and the managers of its new scale.
    fn scaled(&self, old: &Tree, scale: &Tree) -> Tree {
        let mut object = old.clone();
        tree::put(
            &mut object,
            &self.paths.spec_replicas.names(),
            tree::int(scale, &["spec", "replicas"]).unwrap_or(0),
        );
        // The client's preconditions apply to the object. Without a uid the object keeps its own.
        for member in ["resourceVersion", "uid"] {
            tree::carry(scale, &mut object, &["metadata", member]);
        }
        if tree::text(&object, &["metadata", "uid"]).is_empty() {
            tree::carry(old, &mut object, &["metadata", "uid"]);
        }
        let api_version = self.target.resource.api_version();
        let after = managers_behind_scale(
            managers::of(old),
            managers::of(scale),
            &self.paths.spec_replicas.names(),
            &api_version,
        );
        managers::put(&mut object, after);
        object
    }
}

/// Refuses an object of a custom kind that does not set its number of replicas: it has no scale.
fn check_there(target: &Target, object: &Tree, paths: &ScalePaths) -> Result<(), Refusal> {
    if target.resource.is_custom() && tree::at(object, &paths.spec_replicas.names()).is_null() {
        let path = paths.spec_replicas.names().join(".");
        return Err(Status::internal(format!(
            "the spec replicas field \".{path}\" does not exist"
        ))
        .into());
    }
    Ok(())
}

fn check(target: &Target, scale: &Tree) -> Result<(), Refusal> {
    let replicas = tree::int(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas >= 0 {
        return Ok(());
    }
    let fault = FieldError::invalid(
        "spec.replicas",
        &Tree::from(replicas),
        "must be greater than or equal to 0",
    );
    Err(Status::invalid(
        GroupResource {
            group: "autoscaling",
            resource: "Scale",
        },
        &target.name,
        &[fault],
    )
    .into())
}

/// Returns the scale of an object.
fn of(object: &Tree, paths: &ScalePaths) -> Tree {
    let selector = match paths.selector.names().as_slice() {
        [] => &Tree::Null,
        names => tree::at(object, names),
    };
    // Objects of custom kinds hold the selector as a string.
    let selector = if let Tree::String(text) = selector {
        text.to_string()
    } else if paths.selector_is_map {
        let labels = tree::entries(selector, &[]);
        labels
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(",")
    } else {
        selector::LabelSelector::from_tree(selector)
            .map(|selector| selector.to_string())
            .unwrap_or_default()
    };
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {},
        "status": {"replicas": tree::int(object, &paths.status_replicas.names()).unwrap_or(0)},
    });
    for member in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        tree::carry(object, &mut scale, &["metadata", member]);
    }
    let replicas = tree::int(object, &paths.spec_replicas.names()).unwrap_or(0);
    if replicas != 0 {
        tree::put(&mut scale, &["spec", "replicas"], replicas);
    }
    if !selector.is_empty() {
        tree::put(&mut scale, &["status", "selector"], selector);
    }
    scale
}

fn render(sub: &Subresource, scale: &Tree) -> Bytes {
    kinds::json::encode(scale, sub.ty).into()
}
