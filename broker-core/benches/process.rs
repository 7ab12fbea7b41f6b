//! `cargo bench -p broker-core --bench process`: how large a broker's binary is, how fast it starts, what memory it holds.
//!
//! Build it first: `cargo build --release -p motd-broker`.

mod support;

use std::{fs, time::Duration};

use support::{
    figure, middle,
    program::{Program, binary},
    spelled,
};

const STARTS: usize = 11;

fn main() {
    let mut measured = Vec::new();
    for _ in 0..STARTS {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Program::serve(folder.path());
        measured.push((program.ready_after, program.memory()));
    }
    let ready = middle(measured.iter().map(|(ready, _)| ready.as_secs_f64()).collect());
    let memory = middle(measured.iter().map(|(_, memory)| *memory as f64).collect());
    let size = fs::metadata(binary()).expect("the binary").len() as f64;
    figure("start to ready, a new store", "", &spelled(Duration::from_secs_f64(ready)), "", "");
    figure("resident memory, idle", "", &format!("{:.1} MiB", memory / 1024.0), "", "");
    figure("size of the binary", "", &format!("{:.1} MiB", size / 1024.0 / 1024.0), "", "");
}
