//! The columns of each kind, as kubectl shows them, and which function fills the cells.
//!
//! The server always sends every column; those of priority 1 are shown only by `-o wide`.

mod system;

use kinds::Tree;
use kinds::facts::Resource;
use serde::Serialize;

use super::cells::Moment;
use super::{cluster, network, pods, workloads};

/// One column.
#[derive(Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// `name` for the column that names the object.
    pub(crate) format: &'static str,
    pub(crate) description: &'static str,
    /// 0: always shown; 1: only wide.
    pub(crate) priority: u8,
}

/// How objects of a kind become rows.
#[derive(Debug)]
pub(crate) struct Printer {
    pub(crate) columns: &'static [Column],
    /// An object and the present time to its cells.
    pub(crate) cells: fn(&Tree, &Moment) -> Vec<Tree>,
    /// Conditions of the row (`Completed` for finished pods).
    pub(crate) conditions: fn(&Tree) -> Option<Tree>,
}

const NAME_TEXT: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

pub(super) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: NAME_TEXT,
    priority: 0,
};
const AGE: Column = Column {
    name: "Age",
    kind: "string",
    format: "",
    description: AGE_TEXT,
    priority: 0,
};

const fn text(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

const fn count(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        format: "",
        description,
        priority: 0,
    }
}

const fn truth(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "boolean",
        format: "",
        description,
        priority: 0,
    }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 1,
    }
}

const CONTAINERS: Column = wide("Containers", "Names of each container in the template.");
const IMAGES: Column = wide(
    "Images",
    "Images referenced by each container in the template.",
);
const SELECTOR: Column = wide("Selector", "The label selector of the pods.");

const fn printer(columns: &'static [Column], cells: fn(&Tree, &Moment) -> Vec<Tree>) -> Printer {
    Printer {
        columns,
        cells,
        conditions: no_conditions,
    }
}

fn no_conditions(_object: &Tree) -> Option<Tree> {
    None
}

const POD: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Ready",
            "The aggregate readiness state of this pod for accepting traffic.",
        ),
        text(
            "Status",
            "The aggregate status of the containers in this pod.",
        ),
        text(
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        AGE,
        wide("IP", "The pod's first address."),
        wide("Node", "The node that the pod is bound to."),
        wide(
            "Nominated Node",
            "The node on which pods are being preempted for this one.",
        ),
        wide(
            "Readiness Gates",
            "How many of the readiness gates are open.",
        ),
    ],
    cells: pods::pod,
    conditions: pods::conditions,
};

const POD_TEMPLATE: Printer = printer(
    &[NAME, CONTAINERS_SHOWN, IMAGES_SHOWN, POD_LABELS],
    pods::template,
);
const CONTAINERS_SHOWN: Column = text("Containers", "Names of each container in the template.");
const IMAGES_SHOWN: Column = text(
    "Images",
    "Images referenced by each container in the template.",
);
const POD_LABELS: Column = text("Pod Labels", "The labels for the pod template.");

const DEPLOYMENT: Printer = printer(
    &[
        NAME,
        text("Ready", "Number of the pod with ready state"),
        text("Up-to-date", "Pods of the newest template."),
        text("Available", "Pods that have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    workloads::deployment,
);

pub(super) const SCALE: Printer = printer(
    &[
        NAME,
        count(
            "Desired",
            "replicas is the desired number of instances for the scaled object.",
        ),
        count(
            "Available",
            "replicas is the actual number of observed instances of the scaled object.",
        ),
        AGE,
    ],
    workloads::scale,
);
const REPLICAS: Printer = printer(
    &[
        NAME,
        count("Desired", "The number of wanted pods."),
        count("Current", "The number of pods."),
        count("Ready", "The number of ready pods."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    workloads::replicas,
);

const STATEFUL_SET: Printer = printer(
    &[
        NAME,
        text("Ready", "Number of the pod with ready state"),
        AGE,
        CONTAINERS,
        IMAGES,
    ],
    workloads::stateful_set,
);

const DAEMON_SET: Printer = printer(
    &[
        NAME,
        count("Desired", "Nodes that should run the daemon."),
        count("Current", "Nodes that run it."),
        count("Ready", "Nodes on which it is ready."),
        count("Up-to-date", "Nodes that run the newest template."),
        count(
            "Available",
            "Nodes on which it has been ready for long enough.",
        ),
        text("Node Selector", "Which nodes should run it."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    workloads::daemon_set,
);

const JOB: Printer = printer(
    &[
        NAME,
        text("Status", "Status of the job."),
        text("Completions", "Finished pods of the wanted ones."),
        text("Duration", "Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    workloads::job,
);

const CRON_JOB: Printer = printer(
    &[
        NAME,
        text("Schedule", "When jobs are made, in Cron form."),
        text("Timezone", "The time zone of the schedule."),
        truth("Suspend", "Whether no jobs are made for now."),
        count("Active", "Jobs that run."),
        text("Last Schedule", "When a job was last made."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    workloads::cron_job,
);

const AUTOSCALER: Printer = printer(
    &[
        NAME,
        text("Reference", "What is scaled."),
        text("Targets", "Current and wanted metrics."),
        text("MinPods", "The lower limit of pods."),
        count("MaxPods", "The upper limit of pods."),
        count("Replicas", "The number of pods."),
        AGE,
    ],
    workloads::autoscaler,
);

const CONTROLLER_REVISION: Printer = printer(
    &[
        NAME,
        text("Controller", "The owner."),
        text("Revision", "The number of the state."),
        AGE,
    ],
    workloads::controller_revision,
);

const BUDGET: Printer = printer(
    &[
        NAME,
        text(
            "Min Available",
            "The minimum number of pods that must be available.",
        ),
        text(
            "Max Unavailable",
            "The maximum number of pods that may be unavailable.",
        ),
        count(
            "Allowed Disruptions",
            "Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ],
    workloads::budget,
);

const NODE: Printer = printer(
    &[
        NAME,
        text("Status", "The status of the node"),
        text("Roles", "The roles of the node"),
        AGE,
        text("Version", "Version of the node agent."),
        wide("Internal-IP", "The node's address inside the cluster."),
        wide("External-IP", "The node's address from outside."),
        wide("OS-Image", "The operating system."),
        wide("Kernel-Version", "The kernel."),
        wide("Container-Runtime", "The container runtime."),
    ],
    cluster::node,
);

const NAMESPACE: Printer = printer(
    &[NAME, text("Status", "The status of the namespace"), AGE],
    cluster::namespace,
);

const EVENT: Printer = printer(
    &[
        text("Last Seen", "When it was last seen."),
        text("Type", "Normal or Warning."),
        text("Reason", "Why, for programs."),
        text("Object", "What it is about."),
        wide("Subobject", "The part of the object."),
        wide("Source", "Who tells it."),
        text("Message", "For people."),
        wide("First Seen", "When it was first seen."),
        wide("Count", "How often it was seen."),
        Column {
            name: "Name",
            kind: "string",
            format: "name",
            description: NAME_TEXT,
            priority: 1,
        },
    ],
    cluster::event,
);

const LEASE: Printer = printer(
    &[NAME, text("Holder", "Who holds the lease."), AGE],
    cluster::lease,
);

const PRIORITY_CLASS: Printer = printer(
    &[
        NAME,
        count("Value", "The priority of its pods."),
        truth("Global-Default", "Whether pods without a class get it."),
        AGE,
        text("PreemptionPolicy", "Whether its pods push others out."),
    ],
    cluster::priority_class,
);

const CONFIG_MAP: Printer = printer(
    &[NAME, text("Data", "The number of entries."), AGE],
    cluster::config_map,
);
const SECRET: Printer = printer(
    &[
        NAME,
        text("Type", "What the data is for."),
        text("Data", "The number of entries."),
        AGE,
    ],
    cluster::secret,
);
const SERVICE_ACCOUNT: Printer = printer(
    &[NAME, text("Secrets", "The number of secrets."), AGE],
    cluster::service_account,
);
const ROLE: Printer = printer(
    &[
        NAME,
        Column {
            name: "Created At",
            kind: "date",
            format: "",
            description: AGE_TEXT,
            priority: 0,
        },
    ],
    cluster::created,
);
const BINDING: Printer = printer(
    &[
        NAME,
        text("Role", "The role that is given."),
        AGE,
        wide("Users", "Users that have it."),
        wide("Groups", "Groups that have it."),
        wide("ServiceAccounts", "Service accounts that have it."),
    ],
    cluster::role_binding,
);
const QUOTA: Printer = printer(
    &[
        NAME,
        text("Request", "Requests, used and allowed."),
        text("Limit", "Limits, used and allowed."),
        AGE,
    ],
    cluster::quota,
);
const VOLUME: Printer = printer(
    &[
        NAME,
        text("Capacity", "Its size."),
        text("Access Modes", "How it can be mounted."),
        text("Reclaim Policy", "What becomes of it when it is released."),
        text("Status", "Its phase."),
        text("Claim", "Who uses it."),
        text("StorageClass", "Its storage class."),
        text("VolumeAttributesClass", "Its attributes class."),
        text("Reason", "Why it is in this phase."),
        AGE,
        wide("VolumeMode", "File system or block device."),
    ],
    cluster::volume,
);
const CLAIM: Printer = printer(
    &[
        NAME,
        text("Status", "Its phase."),
        text("Volume", "The volume that it is bound to."),
        text("Capacity", "Its size."),
        text("Access Modes", "How it can be mounted."),
        text("StorageClass", "Its storage class."),
        text("VolumeAttributesClass", "Its attributes class."),
        AGE,
        wide("VolumeMode", "File system or block device."),
    ],
    cluster::claim,
);
const STORAGE_CLASS: Printer = printer(
    &[
        NAME,
        text("Provisioner", "Who makes the volumes."),
        text("ReclaimPolicy", "What becomes of a released volume."),
        text("VolumeBindingMode", "When claims are bound."),
        text("AllowVolumeExpansion", "Whether volumes may grow."),
        AGE,
    ],
    cluster::storage_class,
);

const SERVICE: Printer = printer(
    &[
        NAME,
        text("Type", "How the service is reached."),
        text("Cluster-IP", "Its address inside the cluster."),
        text("External-IP", "Its address from outside."),
        text("Port(s)", "Its ports."),
        AGE,
        wide("Selector", "Which pods it leads to."),
    ],
    network::service,
);
const ENDPOINTS: Printer = printer(
    &[NAME, text("Endpoints", "Addresses with their ports."), AGE],
    network::endpoints,
);
const ENDPOINT_SLICE: Printer = printer(
    &[
        NAME,
        text("AddressType", "The family of the addresses."),
        text("Ports", "The ports."),
        text("Endpoints", "The addresses."),
        AGE,
    ],
    network::endpoint_slice,
);
const INGRESS: Printer = printer(
    &[
        NAME,
        text("Class", "Who serves it."),
        text("Hosts", "Host names."),
        text("Address", "Where it is reached."),
        text("Ports", "Its ports."),
        AGE,
    ],
    network::ingress,
);
const NETWORK_POLICY: Printer = printer(
    &[NAME, text("Pod-Selector", "Which pods it is for."), AGE],
    network::network_policy,
);

/// Kinds that have nothing to show but their name and age.
const PLAIN: Printer = printer(&[NAME, AGE], cluster::plain);
/// Every other kind.
const OTHER: Printer = printer(
    &[
        NAME,
        Column {
            name: "Created At",
            kind: "date",
            format: "",
            description: AGE_TEXT,
            priority: 0,
        },
    ],
    cluster::created,
);

/// The printer of a resource.
pub(crate) fn of(resource: &Resource) -> &'static Printer {
    match resource.group_and_plural() {
        ("", "pods") => &POD,
        ("", "podtemplates") => &POD_TEMPLATE,
        ("", "nodes") => &NODE,
        ("", "namespaces") => &NAMESPACE,
        ("" | "events.k8s.io", "events") => &EVENT,
        ("", "services") => &SERVICE,
        ("", "endpoints") => &ENDPOINTS,
        ("", "configmaps") => &CONFIG_MAP,
        ("", "secrets") => &SECRET,
        ("", "serviceaccounts") => &SERVICE_ACCOUNT,
        ("", "resourcequotas") => &QUOTA,
        ("", "persistentvolumes") => &VOLUME,
        ("", "persistentvolumeclaims") => &CLAIM,
        ("", "replicationcontrollers") | ("apps", "replicasets") => &REPLICAS,
        ("apps", "deployments") => &DEPLOYMENT,
        ("apps", "statefulsets") => &STATEFUL_SET,
        ("apps", "daemonsets") => &DAEMON_SET,
        ("apps", "controllerrevisions") => &CONTROLLER_REVISION,
        ("batch", "jobs") => &JOB,
        ("batch", "cronjobs") => &CRON_JOB,
        ("autoscaling", "horizontalpodautoscalers") => &AUTOSCALER,
        ("policy", "poddisruptionbudgets") => &BUDGET,
        ("coordination.k8s.io", "leases") => &LEASE,
        ("scheduling.k8s.io", "priorityclasses") => &PRIORITY_CLASS,
        ("discovery.k8s.io", "endpointslices") => &ENDPOINT_SLICE,
        ("networking.k8s.io", "ingresses") => &INGRESS,
        ("networking.k8s.io", "networkpolicies") => &NETWORK_POLICY,
        ("storage.k8s.io", "storageclasses") => &STORAGE_CLASS,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &ROLE,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &BINDING,
        ("", "limitranges") => &ROLE,
        ("resource.k8s.io", "deviceclasses" | "resourceclaimtemplates") => &PLAIN,
        _ => system::of(resource).unwrap_or(&OTHER),
    }
}
