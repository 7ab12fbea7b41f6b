//! What a push asks for, and whether it may.

/// A line of the hook's input: a ref that shall move.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Update<'a> {
    old: &'a str,
    new: &'a str,
    name: &'a str,
}

/// A commit to deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deploy {
    pub(super) branch: String,
    pub(super) old: String,
    pub(super) new: String,
}

/// What is to be deployed of a push: a deployed branch's commit, or nothing when it brings tags
/// only. A push that asks for anything else is refused as a whole (SPEC G-7).
pub(super) fn read(input: &str, branches: &[&str]) -> Result<Option<Deploy>, String> {
    let mut deploys = Vec::new();
    for line in input.lines() {
        let update = parse(line).ok_or_else(|| format!("git's hook got a line that it can't read: {line}"))?;
        if update.name.starts_with("refs/tags/") {
            continue;
        }
        deploys.push(deploy(&update, branches)?);
    }
    match deploys.len() {
        0 | 1 => Ok(deploys.pop()),
        _ => Err(format!("{} are all deployed: please push one of them", branches.join(" and "))),
    }
}

fn parse(line: &str) -> Option<Update<'_>> {
    let mut words = line.splitn(3, ' ');
    Some(Update { old: words.next()?, new: words.next()?, name: words.next()? })
}

fn deploy(update: &Update<'_>, branches: &[&str]) -> Result<Deploy, String> {
    let main = branches.first().copied().unwrap_or("main");
    let branch = update.name.strip_prefix("refs/heads/").filter(|name| branches.contains(name));
    let Some(branch) = branch else {
        let name = update.name.strip_prefix("refs/heads/").unwrap_or(update.name);
        return Err(format!(
            "{name} is not deployed and not kept here, please push to {main}: git push tsuru HEAD:{main}"
        ));
    };
    if update.new.bytes().all(|byte| byte == b'0') {
        return Err(format!("{branch} is what runs and can't be deleted: `tsuru app remove` removes an app"));
    }
    Ok(Deploy { branch: branch.to_owned(), old: update.old.to_owned(), new: update.new.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn deploy_of(input: &str) -> Result<Option<(String, String)>, String> {
        Ok(read(input, &["main", "master"])?.map(|deploy| (deploy.branch, deploy.new)))
    }

    #[test] // SPEC G-7
    fn a_deployed_branch_is_deployed_and_tags_come_along() {
        let main = Ok(Some(("main".to_owned(), B.to_owned())));
        assert_eq!(deploy_of(&format!("{A} {B} refs/heads/main\n")), main);
        assert_eq!(deploy_of(&format!("{ZERO} {A} refs/tags/v1\n{A} {B} refs/heads/main\n")), main);
        assert_eq!(
            deploy_of(&format!("{ZERO} {B} refs/heads/master\n")),
            Ok(Some(("master".to_owned(), B.to_owned())))
        );
        assert_eq!(deploy_of(&format!("{ZERO} {A} refs/tags/v1\n{A} {ZERO} refs/tags/v0\n")), Ok(None));
        assert_eq!(deploy_of(""), Ok(None));
    }

    #[test] // SPEC G-7
    fn anything_else_is_refused_as_a_whole() {
        for (input, sentence) in [
            (
                format!("{ZERO} {A} refs/heads/next\n{A} {B} refs/heads/main"),
                "please push to main: git push tsuru HEAD:main",
            ),
            (format!("{ZERO} {A} refs/notes/commits"), "please push to main"),
            (format!("{ZERO} {A} refs/heads/main/x"), "please push to main"),
            (format!("{A} {ZERO} refs/heads/next"), "please push to main"),
            (format!("{A} {ZERO} refs/heads/main"), "main is what runs and can't be deleted"),
            (format!("{ZERO} {A} refs/heads/main\n{ZERO} {A} refs/heads/master"), "main and master are all deployed"),
            ("rubbish".to_owned(), "can't read: rubbish"),
        ] {
            let refusal = deploy_of(&input).unwrap_err();
            assert!(refusal.contains(sentence), "{refusal}");
        }
    }
}
