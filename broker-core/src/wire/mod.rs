//! Bodies as they travel, shared by the server's side and the caller's, so that the two can't drift
//! apart: each body is one list of fields, written and read by the same names (contract 3 and 4).

mod bodies;
mod fields;
mod form;
mod limits;
mod number;
mod parameters;

pub use bodies::{
    BindApp, BindJob, ChangeInstance, CreateInstance, Encoding, RemoveInstance, Rotate, UnbindApp, UnbindJob,
};
pub(crate) use fields::Fields;
#[cfg(feature = "fuzzing")]
pub(crate) use limits::is_within_limits;
pub(crate) use limits::{read_json, text as within_limit};

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
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn through_form(bag: &crate::Parameters) -> crate::Parameters {
    let pairs = form::decode(form::encode(parameters::encode(bag)).as_bytes()).expect("a form");
    parameters::decode(&pairs).expect("parameters").unwrap_or_default()
}

/// Reads a body as each of the calls that it could be of.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_all(fields: &Fields) {
    let _ = (CreateInstance::read(fields), ChangeInstance::read(fields), RemoveInstance::read(fields));
    let _ = (BindApp::read(fields), UnbindApp::read(fields), BindJob::read(fields), UnbindJob::read(fields));
    let _ = Rotate::read(fields);
}

/// A number as the platform writes it into a form.
#[cfg(feature = "fuzzing")]
pub(crate) fn number_in_form(number: &serde_json::Number) -> String {
    number::in_form(number)
}
