//! Bodies as they travel, shared by the server's side and the caller's, so that the two can't drift
//! apart: each body is one list of fields, written and read by the same names (contract 3 and 4).

mod bodies;
mod fields;
mod form;
mod number;
mod parameters;

pub use bodies::{
    BindApp, BindJob, ChangeInstance, CreateInstance, Encoding, RemoveInstance, Rotate, UnbindApp, UnbindJob,
};
pub(crate) use fields::Fields;

/// A body that can't be read: one sentence that says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl Malformed {
    fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// A bag as the other end reads it when it travels as a form.
#[cfg(test)]
pub(crate) fn through_form(bag: &crate::Parameters) -> crate::Parameters {
    let pairs = form::decode(form::encode(parameters::encode(bag)).as_bytes()).expect("a form");
    parameters::decode(&pairs).expect("parameters").unwrap_or_default()
}
