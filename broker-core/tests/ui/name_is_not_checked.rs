//! A name is proof that somebody checked it: there is no other way to make one.

fn main() {
    let _ = broker_core::InstanceName("../etc/passwd".to_owned());
}
