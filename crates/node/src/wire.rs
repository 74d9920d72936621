//! A pod as it is on the wire, as far as a node reads it ([`view`]) and writes it ([`status`]).

pub(crate) mod status;
pub(crate) mod view;
