//! What commands the words of a rule allow. A server tells a rule in words of its own, by version others than it was told:
//! so rules are compared by what they allow.

use std::collections::{HashMap, HashSet};

/// The commands of a server, with the subcommands of those that have some as `command|subcommand`.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    categories: HashMap<String, HashSet<String>>,
    all: HashSet<String>,
}

impl Commands {
    /// By their categories: each command is in some.
    pub(crate) fn new(mut categories: HashMap<String, HashSet<String>>) -> Self {
        let families = |name: &String| name.split_once('|').map(|(family, _)| family.to_owned());
        let families: HashSet<String> = categories.values().flatten().filter_map(families).collect();
        // One that has subcommands is what they are.
        categories.values_mut().for_each(|names| names.retain(|name| !families.contains(name)));
        let all = categories.values().flatten().cloned().collect();
        Self { categories, all }
    }

    /// What is allowed by words such as `+@read`, `-keys` and `+client|id`, of which a later one stands for an earlier
    /// one. Words that are not about commands mean nothing here.
    pub(crate) fn allowed<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> HashSet<&str> {
        let mut allowed = HashSet::new();
        for word in words {
            let (Some(name), is_more) = (word.strip_prefix(['+', '-']), word.starts_with('+')) else { continue };
            let meant = self.meant(name);
            if is_more {
                allowed.extend(meant);
            } else {
                for name in meant {
                    allowed.remove(name);
                }
            }
        }
        allowed
    }

    fn meant(&self, name: &str) -> Vec<&str> {
        let is_meant =
            |known: &&str| known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('|'));
        match name.strip_prefix('@') {
            Some("all") => self.all.iter().map(String::as_str).collect(),
            Some(category) => self.categories.get(category).into_iter().flatten().map(String::as_str).collect(),
            None => self.all.iter().map(String::as_str).filter(is_meant).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC K-19
    fn rules_in_other_words_allow_the_same() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let commands = Commands::new(HashMap::from([
            ("read".to_owned(), of(&["get", "keys"])),
            ("admin".to_owned(), of(&["client", "client|id", "client|list"])),
        ]));
        let allowed = |rule: &str| commands.allowed(rule.split(' '));

        assert_eq!(allowed("-@all +@read -keys +client|id"), allowed("+@all -@admin +client|id -keys"));
        assert_eq!(allowed("~* +client -client|list"), HashSet::from(["client|id"]));
        assert_ne!(allowed("+@all -get"), allowed("+@all"));
        assert_eq!(allowed("+getex +@none"), HashSet::new());
    }
}
