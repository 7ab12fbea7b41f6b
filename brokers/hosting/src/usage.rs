//! What a process and a folder use.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use crate::Usage;

/// Memory, processor time and threads of a process; none when it is gone.
pub(crate) fn of_process(pid: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut times = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    let used = ticks()? + ticks()?;
    let rate = rustix::param::clock_ticks_per_second().max(1);
    Some(Usage {
        memory: field("VmRSS:")? * 1024,
        cpu: Duration::from_millis(used * 1000 / rate),
        processes: field("Threads:")?,
        disk: 0,
    })
}

/// Bytes that a folder takes on disk. What goes away meanwhile takes nothing.
pub(crate) fn of_folder(folder: &Path) -> io::Result<u64> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(error) };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return gone(error),
    };
    let mut total = 0;
    for entry in entries {
        let entry = entry?;
        total += match entry.metadata() {
            Ok(found) if found.is_dir() => of_folder(&entry.path())? + found.blocks() * 512,
            Ok(found) => found.blocks() * 512,
            Err(error) => gone(error)?,
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_a_folder_use_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/file"), vec![7; 100_000]).unwrap();

        assert!(of_folder(folder.path()).unwrap() >= 100_000);
        assert_eq!(of_folder(Path::new("/no/such/folder")).unwrap(), 0);
        let own = of_process(std::process::id()).unwrap();
        assert!(own.memory > 100_000 && own.processes >= 1, "{own:?}");
    }
}
