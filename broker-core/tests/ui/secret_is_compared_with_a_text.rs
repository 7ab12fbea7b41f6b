//! Secrets are compared with secrets, in constant time; a text has to become one first.

fn main() {
    let password = broker_core::Secret::generate();
    assert!(password == "s3cret");
}
