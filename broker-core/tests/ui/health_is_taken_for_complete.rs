//! There may be further kinds one day: whoever looks at them says what is done about the rest.

use broker_core::Health;

fn works(health: &Health) -> bool {
    match health {
        Health::Up | Health::Notice(_) => true,
        Health::Down(_) => false,
    }
}

fn main() {
    let _ = works;
}
