//! The columns of system kinds: admission, flow control, certificates, storage drivers, addresses,
//! devices, and the parts of the control plane.

use kinds::facts::Resource;

use super::{AGE, NAME, Printer, TableColumn, count, printer, text, truth};
use crate::table::system;

const COMPONENT_STATUS: Printer = printer(
    &[
        NAME,
        text("Status", "Healthy, Unhealthy or Unknown."),
        text("Message", "Message of the component."),
        text("Error", "Error of the health check."),
    ],
    system::component_status,
);

const WEBHOOKS: Printer = printer(
    &[NAME, count("Webhooks", "The number of webhooks."), AGE],
    system::webhooks,
);
const VALIDATING_POLICY: Printer = printer(
    &[
        NAME,
        count("Validations", "The number of validations."),
        text("ParamKind", "Kind of the parameters."),
        AGE,
    ],
    system::validating_policy,
);
const MUTATING_POLICY: Printer = printer(
    &[
        NAME,
        count("Mutations", "The number of mutations."),
        text("ParamKind", "Kind of the parameters."),
        AGE,
    ],
    system::mutating_policy,
);
const POLICY_BINDING: Printer = printer(
    &[
        NAME,
        text("PolicyName", "Policy that the binding applies."),
        text("ParamRef", "Parameters."),
        AGE,
    ],
    system::policy_binding,
);

const FLOW_SCHEMA: Printer = printer(
    &[
        NAME,
        text("PriorityLevel", "Priority level of matching requests."),
        text(
            "MatchingPrecedence",
            "Precedence; lower values match first.",
        ),
        text(
            "DistinguisherMethod",
            "How requests are grouped into flows.",
        ),
        AGE,
        text("MissingPL", "Whether its priority level does not exist."),
    ],
    system::flow_schema,
);
const PRIORITY_LEVEL: Printer = printer(
    &[
        NAME,
        text("Type", "Exempt or Limited."),
        text(
            "NominalConcurrencyShares",
            "Share of the concurrency limit.",
        ),
        text("Queues", "Number of queues."),
        text("HandSize", "Number of queues that one flow can use."),
        text("QueueLengthLimit", "Maximum length of a queue."),
        AGE,
    ],
    system::priority_level,
);

const SIGNING_REQUEST: Printer = printer(
    &[
        NAME,
        AGE,
        text("SignerName", "Requested signer."),
        text("Requestor", "User who made the request."),
        text("RequestedDuration", "Requested validity."),
        text("Condition", "Approved, denied or failed."),
    ],
    system::signing_request,
);

const STORAGE_DRIVER: Printer = printer(
    &[
        NAME,
        truth(
            "AttachRequired",
            "Whether volumes are attached before they are mounted.",
        ),
        truth(
            "PodInfoOnMount",
            "Whether the driver receives information about the pod.",
        ),
        truth(
            "StorageCapacity",
            "Whether the scheduler looks at the capacity.",
        ),
        text(
            "TokenRequests",
            "Audiences of the tokens that the driver receives.",
        ),
        truth(
            "RequiresRepublish",
            "Whether volumes are published again and again.",
        ),
        text("Modes", "Supported volume modes."),
        AGE,
    ],
    system::storage_driver,
);
const STORAGE_NODE: Printer = printer(
    &[
        NAME,
        count("Drivers", "The number of drivers on the node."),
        AGE,
    ],
    system::storage_node,
);
const STORAGE_CAPACITY: Printer = printer(
    &[
        NAME,
        text("StorageClassName", "The class."),
        text("Capacity", "Available capacity."),
    ],
    system::storage_capacity,
);
const ATTACHMENT: Printer = printer(
    &[
        NAME,
        TableColumn {
            format: "name",
            ..text("Attacher", "The driver.")
        },
        text("PV", "The volume."),
        text("Node", "The node."),
        truth("Attached", "Whether it is done."),
        AGE,
    ],
    system::attachment,
);
const ATTRIBUTES_CLASS: Printer = printer(
    &[NAME, text("DriverName", "The driver."), AGE],
    system::attributes_class,
);

const INGRESS_CLASS: Printer = printer(
    &[
        NAME,
        text("Controller", "The controller that implements it."),
        text("Parameters", "Parameters."),
        AGE,
    ],
    system::ingress_class,
);
const SERVICE_CIDR: Printer = printer(
    &[NAME, text("CIDRs", "Address ranges."), AGE],
    system::service_cidr,
);
const ADDRESS: Printer = printer(
    &[
        NAME,
        text("ParentRef", "Object that the address belongs to."),
    ],
    system::address,
);
const RUNTIME_CLASS: Printer = printer(
    &[
        NAME,
        text("Handler", "Runtime handler of the containers."),
        AGE,
    ],
    system::runtime_class,
);

const CLAIM_OF_DEVICES: Printer = printer(
    &[NAME, text("State", "Pending, allocated or reserved."), AGE],
    system::device_claim,
);
const SLICE_OF_DEVICES: Printer = printer(
    &[
        NAME,
        text("Node", "The node."),
        text("Driver", "The driver."),
        text("Pool", "The pool."),
        AGE,
    ],
    system::device_slice,
);

const API_SERVICE: Printer = printer(
    &[
        NAME,
        text(
            "Service",
            "The reference to the service that hosts this API endpoint.",
        ),
        text("Available", "Whether this service is available."),
        AGE,
    ],
    system::api_service,
);

/// Returns the printer of a system kind.
pub(super) fn of(resource: &Resource) -> Option<&'static Printer> {
    Some(match resource.group_and_plural() {
        ("", "componentstatuses") => &COMPONENT_STATUS,
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => &WEBHOOKS,
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => &VALIDATING_POLICY,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => &MUTATING_POLICY,
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings",
        ) => &POLICY_BINDING,
        ("apiregistration.k8s.io", "apiservices") => &API_SERVICE,
        ("certificates.k8s.io", "certificatesigningrequests") => &SIGNING_REQUEST,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &PRIORITY_LEVEL,
        ("networking.k8s.io", "ingressclasses") => &INGRESS_CLASS,
        ("networking.k8s.io", "servicecidrs") => &SERVICE_CIDR,
        ("networking.k8s.io", "ipaddresses") => &ADDRESS,
        ("node.k8s.io", "runtimeclasses") => &RUNTIME_CLASS,
        ("resource.k8s.io", "resourceclaims") => &CLAIM_OF_DEVICES,
        ("resource.k8s.io", "resourceslices") => &SLICE_OF_DEVICES,
        ("storage.k8s.io", "csidrivers") => &STORAGE_DRIVER,
        ("storage.k8s.io", "csinodes") => &STORAGE_NODE,
        ("storage.k8s.io", "csistoragecapacities") => &STORAGE_CAPACITY,
        ("storage.k8s.io", "volumeattachments") => &ATTACHMENT,
        ("storage.k8s.io", "volumeattributesclasses") => &ATTRIBUTES_CLASS,
        _ => return None,
    })
}
