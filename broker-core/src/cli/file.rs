//! Settings in a TOML file: values for flags that neither the command line nor the environment names (SPEC ).
//!
//! There is one definition of each setting, its flag: the file's values become the defaults of the flags, and are tried
//! with the flags' own parsers first, so that what is wrong is known by its line.

use std::{
    any::TypeId,
    collections::BTreeMap,
    error::Error as _,
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command, error::ContextKind};
use toml::de::{DeTable, DeValue};

use super::reconcile;

/// A file that can't be used; the sentence names it, and the line and key where there is one. No value is quoted: it may
/// be a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("cannot read the configuration file {}: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: std::io::Error },
    #[error("{}, line {line}: {sentence}", file.display())]
    Line { file: PathBuf, line: usize, sentence: String },
}

/// The command with the file's values as defaults.
pub(super) fn apply(command: Command, path: &Path) -> Result<Command, Refusal> {
    let text = fs::read_to_string(path).map_err(|cause| Refusal::Unreadable { file: path.to_owned(), cause })?;
    let values = read(&command, &text).map_err(|Wrong { at, sentence }| Refusal::Line {
        file: path.to_owned(),
        line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count(),
        sentence,
    })?;
    Ok(with_defaults(command, &values))
}

/// A sentence, and the byte it is about.
#[derive(Debug)]
struct Wrong {
    at: usize,
    sentence: String,
}

/// By the flag's name.
type Values = BTreeMap<String, Vec<String>>;

fn read(command: &Command, text: &str) -> Result<Values, Wrong> {
    let table = DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        sentence: format!("this is no TOML: {}", error.message().lines().collect::<Vec<_>>().join(", ")),
    })?;
    let mut values = Values::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().replace('_', "-");
        let wrong = |at: usize, sentence: String| Wrong { at, sentence };
        let Some(arg) = find(command, &name) else {
            return Err(wrong(key.span().start, format!("there is no setting `{}`; --help lists them", key.get_ref())));
        };
        let texts = texts(arg, value.get_ref())
            .and_then(|texts| try_out(arg, &texts).map(|()| texts))
            .map_err(|why| wrong(value.span().start, format!("the value of `{}` is wrong: {why}", key.get_ref())))?;
        if values.insert(name, texts).is_some() {
            return Err(wrong(key.span().start, format!("`{}` is there twice", key.get_ref())));
        }
    }
    Ok(values)
}

/// The flag of that name in any subcommand, but those that are no settings.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let is_setting = |arg: &&Arg| {
        arg.get_long() == Some(name) && !arg.is_global_set() && (arg.get_action().takes_values() || is_switch(arg))
    };
    let subcommands = command.get_subcommands().filter(|sub| !reconcile::is_order(sub, name));
    let below = subcommands.flat_map(|sub| sub.get_arguments().find(is_setting).or_else(|| find(sub, name)));
    below.into_iter().next()
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
}

fn takes_several(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// A value as it would be on the command line.
fn texts(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(list) if takes_several(arg) => list.iter().map(|one| text(arg, one.get_ref())).collect(),
        DeValue::Array(_) => Err("it is a list, and one value is wanted".to_owned()),
        one => Ok(vec![text(arg, one)?]),
    }
}

fn text(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let wanted = Wanted::of(arg);
    match (value, wanted) {
        (DeValue::Boolean(value), Wanted::Switch) => Ok(value.to_string()),
        (DeValue::Integer(value), Wanted::Number | Wanted::Either) => {
            let value = i128::from_str_radix(value.as_str(), value.radix()).map_err(|cause| cause.to_string())?;
            Ok(value.to_string())
        }
        (DeValue::String(value), Wanted::Text | Wanted::Either) => Ok(value.to_string()),
        (_, Wanted::Switch) => Err("true or false is wanted, without quotes".to_owned()),
        (_, Wanted::Number) => Err("a whole number is wanted, without quotes".to_owned()),
        (_, Wanted::Text | Wanted::Either) => Err("a text is wanted, in quotes".to_owned()),
    }
}

/// What a flag's values are in TOML.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Switch,
    Number,
    Text,
    /// A type of the author's own: its parser decides.
    Either,
}

impl Wanted {
    fn of(arg: &Arg) -> Self {
        let parsed = arg.get_value_parser().type_id();
        let is = |types: &[TypeId]| types.iter().any(|known| parsed == *known);
        if is_switch(arg) || is(&[TypeId::of::<bool>()]) {
            Self::Switch
        } else if is(&[
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i8>(),
            TypeId::of::<i16>(),
            TypeId::of::<i32>(),
            TypeId::of::<i64>(),
            TypeId::of::<isize>(),
        ]) {
            Self::Number
        } else if is(&[TypeId::of::<String>(), TypeId::of::<PathBuf>(), TypeId::of::<crate::Secret>()]) {
            Self::Text
        } else {
            Self::Either
        }
    }
}

/// Has the flag's own parser read the values.
fn try_out(arg: &Arg, texts: &[String]) -> Result<(), String> {
    let action = if is_switch(arg) { ArgAction::Set } else { arg.get_action().clone() };
    let mut alone = Arg::new("value").long("value").action(action).value_parser(arg.get_value_parser().clone());
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let flags = texts.iter().map(|text| format!("--value={text}"));
    let outcome = Command::new("file").no_binary_name(true).arg(alone).try_get_matches_from(flags);
    outcome.map(drop).map_err(|refusal| sentence(&refusal))
}

/// The parser's reason, or the values that it takes.
fn sentence(refusal: &clap::Error) -> String {
    if let Some(cause) = refusal.source() {
        return cause.to_string();
    }
    match refusal.get(ContextKind::ValidValue) {
        Some(valid) => format!("it is none of {valid}"),
        None => "it can't be read".to_owned(),
    }
}

fn with_defaults(command: Command, values: &Values) -> Command {
    let command = command.mut_args(|arg| match arg.get_long().and_then(|long| values.get(long)) {
        Some(texts) if !arg.is_global_set() => {
            let is_hidden = arg.is_hide_env_values_set();
            arg.required(false).default_values(texts.clone()).hide_default_value(is_hidden)
        }
        _ => arg,
    });
    command.mut_subcommands(|sub| with_defaults(sub, values))
}
