//! From what was typed to a command.
//!
//! Every command has a spaced spelling, `app create`, which is what the parser knows. The dashed one (`app-create`),
//! the other verbs (`app add`) and the shortcuts (`deploy`) are turned into it beforehand, in one step for all
//! commands, from the parser's own tree (contract section 3).

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;

/// Deploy and run apps on a tsuru platform, and give them services.
#[derive(Debug, Parser)]
#[command(
    name = "tsuru",
    version,
    max_term_width = 100,
    disable_help_subcommand = false,
    after_help = "Every command can also be written with dashes (app-create), and as a shortcut: \
                  deploy, log, info, list, start, stop, restart and rollback stand for the app command of that name.\n\n\
                  Begin with:\n  \
                  tsuru target add main http://tsuru.example.com -s\n  \
                  tsuru login alice@example.com\n  \
                  tsuru app create blog python\n  \
                  tsuru app deploy -a blog ."
)]
pub(crate) struct Cli {
    /// Platform to talk to: a label from `tsuru target list`, or a URL.
    #[arg(long, global = true, value_name = "LABEL|URL", help_heading = "Global options")]
    pub(crate) target: Option<String>,
    /// Show requests (1) and answers' statuses (2) on standard error.
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    pub(crate) verbosity: Option<u8>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A verb, and how else it may be typed.
const VERBS: &[(&str, &[&str])] = &[
    ("remove", &["delete"]),
    ("delete", &["remove"]),
    ("create", &["add"]),
    ("add", &["create"]),
    ("info", &["describe"]),
    ("log", &["logs"]),
    ("change", &["update", "set"]),
    ("assign", &["bind", "set"]),
    ("dissociate", &["unbind", "unset"]),
    ("destroy", &["remove", "delete"]),
];

/// Commands of `app` that may be typed without it.
const SHORTCUTS: &[(&str, &[&str])] = &[
    ("deploy", &["app", "deploy"]),
    ("rollback", &["app", "deploy", "rollback"]),
    ("log", &["app", "log"]),
    ("logs", &["app", "log"]),
    ("info", &["app", "info"]),
    ("list", &["app", "list"]),
    ("restart", &["app", "restart"]),
    ("start", &["app", "start"]),
    ("stop", &["app", "stop"]),
];

/// Options that may stand before the command and take a value.
const GLOBAL_OPTIONS: &[&str] = &["--target", "--verbosity"];

/// Reads the command line.
///
/// # Errors
///
/// What is wrong with it, or the help that was asked for.
pub(crate) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut tree = Cli::command();
    tree.build();
    let argv = spell_out(argv.into_iter().collect(), &tree);
    let matches = Cli::command().try_get_matches_from(argv)?;
    Cli::from_arg_matches(&matches)
}

/// Replaces each word that names a command by the words the parser knows.
fn spell_out(argv: Vec<OsString>, root: &clap::Command) -> Vec<OsString> {
    let mut typed = argv.into_iter();
    let mut spelled: Vec<OsString> = typed.by_ref().take(1).collect();
    let mut node = root;
    let mut is_value = false;
    for word in typed.by_ref() {
        let text = word.to_str().unwrap_or_default();
        if is_value || text.starts_with('-') {
            is_value = !is_value && GLOBAL_OPTIONS.contains(&text);
            spelled.push(word);
        } else if node.get_name() == root.get_name() && text == "help" {
            spelled.push(word);
        } else if let Some((words, found)) = resolve(node, root, text) {
            spelled.extend(words.into_iter().map(OsString::from));
            node = found;
        } else {
            spelled.push(word);
            break;
        }
    }
    spelled.extend(typed);
    spelled
}

/// The words that lead from `node` to the command that `typed` names, and that command.
fn resolve<'a>(
    node: &'a clap::Command,
    root: &'a clap::Command,
    typed: &str,
) -> Option<(Vec<String>, &'a clap::Command)> {
    let is_root = std::ptr::eq(node, root);
    if let Some(found) = verb(node, typed) {
        return Some((vec![found.get_name().to_owned()], found));
    }
    if is_root && let Some((_, words)) = SHORTCUTS.iter().find(|(name, _)| *name == typed) {
        let found = words.iter().try_fold(root, |node, word| node.find_subcommand(word))?;
        return Some((words.iter().map(ToString::to_string).collect(), found));
    }
    dashed(node, root, typed)
}

/// The subcommand of that name, or the one that the verb stands for.
fn verb<'a>(node: &'a clap::Command, typed: &str) -> Option<&'a clap::Command> {
    let others = || VERBS.iter().filter(|(_, spellings)| spellings.contains(&typed)).map(|(verb, _)| *verb);
    node.find_subcommand(typed).or_else(|| others().find_map(|verb| node.find_subcommand(verb)))
}

/// Takes `typed` apart at its first dash. When only the first part is known, the rest stays one word, so that the
/// parser can say what it may have meant.
fn dashed<'a>(
    node: &'a clap::Command,
    root: &'a clap::Command,
    typed: &str,
) -> Option<(Vec<String>, &'a clap::Command)> {
    let (first, rest) = typed.split_once('-')?;
    let child = node.find_subcommand(first)?;
    let (mut words, found) = match resolve(child, root, rest) {
        Some(resolved) => resolved,
        None if std::ptr::eq(node, root) && child.has_subcommands() => (vec![rest.to_owned()], child),
        None => return None,
    };
    words.insert(0, first.to_owned());
    Some((words, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(line: &str) -> String {
        let mut tree = Cli::command();
        tree.build();
        let argv = line.split(' ').map(OsString::from).collect();
        let spelled: Vec<String> =
            spell_out(argv, &tree).into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
        spelled.join(" ")
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test] // SPEC C-1
    fn dashes_are_spaces() {
        assert_eq!(spelled("tsuru app-create blog python"), "tsuru app create blog python");
        assert_eq!(spelled("tsuru service-instance-bind r c -a b"), "tsuru service instance bind r c -a b");
        assert_eq!(spelled("tsuru app-deploy-list -a blog"), "tsuru app deploy list -a blog");
        assert_eq!(spelled("tsuru help app-create"), "tsuru help app create");
        assert_eq!(spelled("tsuru change-password"), "tsuru change-password");
    }

    #[test] // SPEC C-1
    fn verbs_have_other_spellings() {
        assert_eq!(spelled("tsuru app delete blog"), "tsuru app remove blog");
        assert_eq!(spelled("tsuru app describe"), "tsuru app info");
        assert_eq!(spelled("tsuru app-logs"), "tsuru app log");
        assert_eq!(spelled("tsuru service-instance-create r c"), "tsuru service instance add r c");
        assert_eq!(spelled("tsuru team add core"), "tsuru team create core");
        assert_eq!(spelled("tsuru service delete r"), "tsuru service remove r");
    }

    #[test]
    fn shortcuts_stand_for_app_commands() {
        assert_eq!(spelled("tsuru deploy -a blog ."), "tsuru app deploy -a blog .");
        assert_eq!(spelled("tsuru rollback 1"), "tsuru app deploy rollback 1");
        assert_eq!(spelled("tsuru logs blog"), "tsuru app log blog");
    }

    #[test]
    fn only_words_that_name_commands_change() {
        assert_eq!(spelled("tsuru app deploy my-dir"), "tsuru app deploy my-dir");
        assert_eq!(spelled("tsuru app create app-create"), "tsuru app create app-create");
        assert_eq!(spelled("tsuru app run -- app-create"), "tsuru app run -- app-create");
        assert_eq!(spelled("tsuru --target app-list app-list"), "tsuru --target app-list app list");
    }

    #[test]
    fn a_misspelled_verb_keeps_its_noun() {
        assert_eq!(spelled("tsuru app-creat blog"), "tsuru app creat blog");
        assert_eq!(spelled("tsuru nothing-here"), "tsuru nothing-here");
    }
}
