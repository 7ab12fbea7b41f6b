//! A variable's name that no shell can hold is found before the broker runs (SPEC N-7).

fn main() {
    let _ = broker_core::env_vars! { "REDIS-HOST" => "10.0.0.9" };
}
