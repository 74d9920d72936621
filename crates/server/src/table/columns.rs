//! The columns of each kind, as kubectl shows them, and the functions that fill their cells.
//!
//! The server always sends all columns. Clients show those of priority 1 only with `-o wide`.

mod system;

use kinds::Tree;
use kinds::facts::Resource;
use serde::Serialize;

use super::cells::AgeClock;
use super::{cluster, network, pods, workloads};

/// A column.
#[derive(Debug, Serialize)]
pub(crate) struct TableColumn {
    pub(crate) name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// `name` for the column with the name of the object, else empty.
    pub(crate) format: &'static str,
    pub(crate) description: &'static str,
    /// 0 for columns that are always shown, 1 for those of wide output.
    pub(crate) priority: u8,
}

/// Returns the printer of a resource.
#[derive(Debug)]
pub(crate) struct Printer {
    pub(crate) columns: &'static [TableColumn],
    /// Returns the cells of an object at a time.
    pub(crate) cells: fn(&Tree, &AgeClock) -> Vec<Tree>,
    /// Returns the conditions of the row (`Completed` for finished pods).
    pub(crate) conditions: fn(&Tree) -> Option<Tree>,
}

const NAME_TEXT: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

pub(super) const NAME: TableColumn = TableColumn {
    name: "Name",
    kind: "string",
    format: "name",
    description: NAME_TEXT,
    priority: 0,
};
const AGE: TableColumn = TableColumn {
    name: "Age",
    kind: "string",
    format: "",
    description: AGE_TEXT,
    priority: 0,
};

const fn text(name: &'static str, description: &'static str) -> TableColumn {
    TableColumn {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

const fn count(name: &'static str, description: &'static str) -> TableColumn {
    TableColumn {
        name,
        kind: "integer",
        format: "",
        description,
        priority: 0,
    }
}

const fn truth(name: &'static str, description: &'static str) -> TableColumn {
    TableColumn {
        name,
        kind: "boolean",
        format: "",
        description,
        priority: 0,
    }
}

const fn wide(name: &'static str, description: &'static str) -> TableColumn {
    TableColumn {
        name,
        kind: "string",
        format: "",
        description,
        priority: 1,
    }
}

const CONTAINERS: TableColumn = wide("Containers", "Names of each container in the template.");
const IMAGES: TableColumn = wide(
    "Images",
    "Images referenced by each container in the template.",
);
const SELECTOR: TableColumn = wide("Selector", "Label selector of the pods.");

const fn printer(
    columns: &'static [TableColumn],
    cells: fn(&Tree, &AgeClock) -> Vec<Tree>,
) -> Printer {
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
        wide("IP", "First address of the pod."),
        wide("Node", "Node that the pod is bound to."),
        wide(
            "Nominated Node",
            "The node on which pods are being preempted for this one.",
        ),
        wide(
            "Readiness Gates",
            "Number of readiness gates that are true.",
        ),
    ],
    cells: pods::pod,
    conditions: pods::conditions,
};

const POD_TEMPLATE: Printer = printer(
    &[NAME, CONTAINERS_SHOWN, IMAGES_SHOWN, POD_LABELS],
    pods::template,
);
const CONTAINERS_SHOWN: TableColumn =
    text("Containers", "Names of each container in the template.");
const IMAGES_SHOWN: TableColumn = text(
    "Images",
    "Images referenced by each container in the template.",
);
const POD_LABELS: TableColumn = text("Pod Labels", "The labels for the pod template.");

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
        text("Node Selector", "Labels of the nodes that run the pods."),
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
        text(
            "Completions",
            "Number of finished pods and of required ones.",
        ),
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
        text("Schedule", "Schedule in cron format."),
        text("Timezone", "The time zone of the schedule."),
        truth("Suspend", "Whether no jobs are made for now."),
        count("Active", "Jobs that run."),
        text("Last Schedule", "Time of the last scheduled job."),
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
        text("Reference", "Resource that is scaled."),
        text("Targets", "Current and target values of the metrics."),
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
        text("Version", "Version of the kubelet."),
        wide("Internal-IP", "Internal address of the node."),
        wide("External-IP", "External address of the node."),
        wide("OS-Image", "Operating system of the node."),
        wide("Kernel-Version", "Kernel version of the node."),
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
        text("Last Seen", "Time of the last occurrence of the event."),
        text("Type", "Type of the event: Normal or Warning."),
        text("Reason", "Machine-readable reason of the event."),
        text("Object", "Object of the event."),
        wide("Subobject", "Field of the object that the event is about."),
        wide("Source", "Component that reported the event."),
        text("Message", "Description of the event."),
        wide("First Seen", "Time of the first occurrence of the event."),
        wide("Count", "Number of occurrences of the event."),
        TableColumn {
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
    &[
        NAME,
        text("Holder", "Identity of the holder of the lease."),
        AGE,
    ],
    cluster::lease,
);

const PRIORITY_CLASS: Printer = printer(
    &[
        NAME,
        count("Value", "The priority of its pods."),
        truth("Global-Default", "Whether pods without a class get it."),
        AGE,
        text(
            "PreemptionPolicy",
            "Whether pods of this class preempt others.",
        ),
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
        text("Type", "Purpose of the data."),
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
        TableColumn {
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
        text("Role", "Role that the binding grants."),
        AGE,
        wide("Users", "Users that the role is granted to."),
        wide("Groups", "Groups that the role is granted to."),
        wide(
            "ServiceAccounts",
            "Service accounts that the role is granted to.",
        ),
    ],
    cluster::role_binding,
);
const QUOTA: Printer = printer(
    &[
        NAME,
        text("Request", "Requests in use and allowed."),
        text("Limit", "Limits in use and allowed."),
        AGE,
    ],
    cluster::quota,
);
const VOLUME: Printer = printer(
    &[
        NAME,
        text("Capacity", "Capacity of the volume."),
        text("Access Modes", "Access modes of the volume."),
        text(
            "Reclaim Policy",
            "What happens to the volume when its claim is deleted.",
        ),
        text("Status", "Phase."),
        text("Claim", "The claim that is bound to the volume."),
        text("StorageClass", "Storage class."),
        text("VolumeAttributesClass", "Volume attributes class."),
        text("Reason", "Reason of the phase."),
        AGE,
        wide("VolumeMode", "File system or block device."),
    ],
    cluster::volume,
);
const CLAIM: Printer = printer(
    &[
        NAME,
        text("Status", "Phase."),
        text("Volume", "Volume that the claim is bound to."),
        text("Capacity", "Capacity of the volume."),
        text("Access Modes", "Access modes of the volume."),
        text("StorageClass", "Storage class."),
        text("VolumeAttributesClass", "Volume attributes class."),
        AGE,
        wide("VolumeMode", "File system or block device."),
    ],
    cluster::claim,
);
const STORAGE_CLASS: Printer = printer(
    &[
        NAME,
        text("Provisioner", "Provisioner of the volumes."),
        text(
            "ReclaimPolicy",
            "What happens to volumes when their claims are deleted.",
        ),
        text("VolumeBindingMode", "When volumes are bound to claims."),
        text(
            "AllowVolumeExpansion",
            "Whether volumes of this class can be expanded.",
        ),
        AGE,
    ],
    cluster::storage_class,
);

const SERVICE: Printer = printer(
    &[
        NAME,
        text("Type", "Type of the service."),
        text("Cluster-IP", "Cluster-internal address of the service."),
        text("External-IP", "External addresses of the service."),
        text("Port(s)", "Ports."),
        AGE,
        wide("Selector", "Labels of the pods that receive the traffic."),
    ],
    network::service,
);
const ENDPOINTS: Printer = printer(
    &[
        NAME,
        text("Endpoints", "Addresses and ports of the endpoints."),
        AGE,
    ],
    network::endpoints,
);
const ENDPOINT_SLICE: Printer = printer(
    &[
        NAME,
        text("AddressType", "The family of the addresses."),
        text("Ports", "The ports."),
        text("Endpoints", "Addresses of the endpoints."),
        AGE,
    ],
    network::endpoint_slice,
);
const INGRESS: Printer = printer(
    &[
        NAME,
        text("Class", "The controller that implements it."),
        text("Hosts", "Host names."),
        text("Address", "Addresses of the load balancer."),
        text("Ports", "Ports."),
        AGE,
    ],
    network::ingress,
);
const NETWORK_POLICY: Printer = printer(
    &[
        NAME,
        text("Pod-Selector", "Labels of the pods that it applies to."),
        AGE,
    ],
    network::network_policy,
);

/// Kinds with only a name and an age.
const PLAIN: Printer = printer(&[NAME, AGE], cluster::plain);
/// All other kinds.
const OTHER: Printer = printer(
    &[
        NAME,
        TableColumn {
            name: "Created At",
            kind: "date",
            format: "",
            description: AGE_TEXT,
            priority: 0,
        },
    ],
    cluster::created,
);

/// Returns the printer of a resource.
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
