//! `CertificateSubjectRestriction`: nobody gets a client certificate of the group that may do
//! everything.

use kinds::Tree;
use kinds::status::Status;

use crate::object::meta_text;
use crate::request::Refusal;
use crate::strategy::signing;
use crate::target::Target;
use crate::tree::text;

/// The signer of client certificates for the API server.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// Refuses a request of the client signer for a certificate of a master.
pub(super) fn validate(target: &Target, request: &Tree) -> Result<(), Refusal> {
    if text(request, &["spec", "signerName"]) != SIGNER {
        return Ok(());
    }
    let why = match signing::organizations(request) {
        Ok(groups) if groups.iter().any(|group| group == MASTERS) => {
            format!("use of {SIGNER} signer with {MASTERS} group is not allowed")
        }
        Ok(_) => return Ok(()),
        Err(fault) => format!("failed to parse CSR: {fault}"),
    };
    let kind = target.resource.group_resource();
    Err(Status::forbidden(kind, meta_text(request, "name"), why).into())
}
