//! A secret has no text to be printed with (SPEC S-5).

fn main() {
    let password = broker_core::Secret::generate();
    println!("the password is {password}");
}
