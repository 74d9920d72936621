//! The columns of kinds that the machinery of a cluster keeps, rather than people: admission, flow
//! control, certificates, storage drivers, addresses, devices, and the parts of the control plane.

use kinds::facts::Resource;

use super::{AGE, Column, NAME, Printer, count, printer, text, truth};
use crate::table::system;

const COMPONENT_STATUS: Printer = printer(
    &[
        NAME,
        text("Status", "Healthy, Unhealthy or Unknown."),
        text("Message", "What the component says."),
        text("Error", "What went wrong when it was asked."),
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
        text("ParamKind", "The kind of its parameters."),
        AGE,
    ],
    system::validating_policy,
);
const MUTATING_POLICY: Printer = printer(
    &[
        NAME,
        count("Mutations", "The number of mutations."),
        text("ParamKind", "The kind of its parameters."),
        AGE,
    ],
    system::mutating_policy,
);
const POLICY_BINDING: Printer = printer(
    &[
        NAME,
        text("PolicyName", "The policy that it binds."),
        text("ParamRef", "Its parameters."),
        AGE,
    ],
    system::policy_binding,
);

const FLOW_SCHEMA: Printer = printer(
    &[
        NAME,
        text("PriorityLevel", "The level to which it assigns requests."),
        text("MatchingPrecedence", "Lower ones are asked first."),
        text("DistinguisherMethod", "How its flows are told apart."),
        AGE,
        text("MissingPL", "Whether its level is missing."),
    ],
    system::flow_schema,
);
const PRIORITY_LEVEL: Printer = printer(
    &[
        NAME,
        text("Type", "Exempt or Limited."),
        text("NominalConcurrencyShares", "Its share of the seats."),
        text("Queues", "The number of its queues."),
        text("HandSize", "How many queues one flow may use."),
        text("QueueLengthLimit", "How long a queue may be."),
        AGE,
    ],
    system::priority_level,
);

const SIGNING_REQUEST: Printer = printer(
    &[
        NAME,
        AGE,
        text("SignerName", "Who is to sign."),
        text("Requestor", "Who asks."),
        text("RequestedDuration", "For how long."),
        text("Condition", "What has come of it."),
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
            "Whether the driver is told about the pod.",
        ),
        truth(
            "StorageCapacity",
            "Whether the scheduler looks at the capacity.",
        ),
        text("TokenRequests", "For whom the driver gets tokens."),
        truth(
            "RequiresRepublish",
            "Whether volumes are published again and again.",
        ),
        text("Modes", "Kinds of volumes."),
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
        text("Capacity", "How much is left."),
    ],
    system::storage_capacity,
);
const ATTACHMENT: Printer = printer(
    &[
        NAME,
        Column {
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
        text("Controller", "Who serves it."),
        text("Parameters", "Its parameters."),
        AGE,
    ],
    system::ingress_class,
);
const SERVICE_CIDR: Printer = printer(
    &[NAME, text("CIDRs", "The ranges of addresses."), AGE],
    system::service_cidr,
);
const ADDRESS: Printer = printer(
    &[NAME, text("ParentRef", "Who has the address.")],
    system::address,
);
const RUNTIME_CLASS: Printer = printer(
    &[NAME, text("Handler", "What runs its containers."), AGE],
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

/// The printer of a resource of the machinery.
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
