//! `hash-password`: a line for a file of credentials that does not show its password (SPEC T-12).

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Context as _;

use crate::{Credentials, Secret};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct HashPassword {
    /// User name that the password belongs to
    #[arg(value_name = "NAME")]
    username: String,
}

impl HashPassword {
    pub(super) const ABOUT: &str = "Print a line with a password's hash, for the files that --credentials-file and \
        --operator-credentials-file of `serve` name.\n\n\
        The password is asked for, or is the first line of standard input where that is no terminal. Its hash is \
        one of argon2id: whoever reads the file can't call with it.";

    pub(super) fn run(self) -> anyhow::Result<()> {
        let password = if io::stdin().is_terminal() { asked_for() } else { first_line() };
        println!("{}", Credentials::hashed_line(&self.username, &password?)?.expose());
        Ok(())
    }
}

fn first_line() -> anyhow::Result<Secret> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    let line = Secret::from(line);
    Ok(Secret::from(line.expose().trim_end_matches(['\n', '\r'])))
}

/// Twice: nobody sees what they type.
fn asked_for() -> anyhow::Result<Secret> {
    let ask = |prompt| rpassword::prompt_password(prompt).map(Secret::from).context("cannot ask for the password");
    let password = ask("Password: ")?;
    anyhow::ensure!(ask("Again: ")? == password, "the passwords are not the same, try again");
    Ok(password)
}
