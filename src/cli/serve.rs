//! `vardr` and `vardr serve`: from the command line to settings, and on to the server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::exit::{Failure, Outcome};
use crate::config::{self, Environment, IGNORED, Ignored, Loaded, SETTINGS, Setting, Settings};
use crate::observe::logging;

const SERVE_EXAMPLES: &str = "\
Every setting can also be given as VARDR_<NAME> (else ETCD_<NAME>) in the environment, or in the file named by
--config-file; flags win over the environment, the environment over the file. See docs/configuration.md.

Examples:
  vardr
  vardr --data-dir /var/lib/vardr --listen-client-urls http://0.0.0.0:2379
  vardr --config-file /etc/vardr.toml --log-format json";

/// The command `serve`.
pub(crate) fn command() -> Command {
    let command =
        Command::new("serve").about("Start a server; the same as no command at all").after_help(SERVE_EXAMPLES);
    arguments(false).into_iter().fold(command, Command::arg)
}

/// The settings as arguments; `hidden` where they stand beside the commands.
pub(crate) fn arguments(hidden: bool) -> Vec<Arg> {
    let file = Arg::new("config-file")
        .long("config-file")
        .value_name("FILE")
        .env("VARDR_CONFIG_FILE")
        .hide_env_values(true)
        .value_parser(clap::value_parser!(PathBuf))
        .help("A TOML file with settings")
        .help_heading("Settings")
        .hide(hidden);
    let settings = SETTINGS.iter().map(|setting| setting_argument(setting).hide(hidden));
    std::iter::once(file).chain(settings).chain(IGNORED.iter().map(ignored_argument)).collect()
}

fn setting_argument(setting: &Setting) -> Arg {
    let default = (setting.get)(&Settings::default());
    let default = if default.is_empty() { String::new() } else { format!(" [default: {default}]") };
    Arg::new(setting.name)
        .long(setting.name)
        .aliases(setting.older_names())
        .value_name(setting.placeholder)
        .action(ArgAction::Append)
        .help(format!("{}{default}", setting.help))
        .help_heading(setting.topic.title())
}

fn ignored_argument(ignored: &Ignored) -> Arg {
    let argument = Arg::new(ignored.name).long(ignored.name).action(ArgAction::Append).hide(true);
    // A switch of a Go program takes a value only behind `=`.
    if ignored.is_switch {
        argument.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        argument
    }
}

/// Go's flags may have one dash: `-data-dir` becomes `--data-dir`. Nothing else is touched, and nothing behind `--`, where
/// the arguments of another program stand.
pub(crate) fn with_double_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut ours = true;
    let doubled = |argument: OsString| {
        ours &= argument != "--";
        if ours { with_double_dash(argument) } else { argument }
    };
    arguments.into_iter().map(doubled).collect()
}

fn with_double_dash(argument: OsString) -> OsString {
    let Some(name) = argument.to_str().and_then(|text| text.strip_prefix('-')) else { return argument };
    let name = name.split('=').next().unwrap_or(name);
    let known = name == "config-file"
        || SETTINGS.iter().any(|setting| setting.is_called(name))
        || IGNORED.iter().any(|ignored| ignored.name == name);
    if !known {
        return argument;
    }
    let mut doubled = OsString::from("-");
    doubled.push(argument);
    doubled
}

/// Loads the settings of a parsed command line.
pub(crate) fn settings(matches: &ArgMatches) -> Outcome<Loaded> {
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let file = matches.get_one::<PathBuf>("config-file");
    config::load(&flags(matches), &environment, file.map(PathBuf::as_path))
        .map_err(|error| Failure::usage(error.to_string()))
}

/// The flags that were given: of a list all values, of anything else the last one, as Go's flags do.
fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    let given = |name: &str| matches.get_many::<String>(name).map(|values| values.cloned().collect::<Vec<_>>());
    let settings = SETTINGS.iter().filter_map(|setting| {
        let mut values = given(setting.name)?;
        let text = if setting.is_list { values.join(",") } else { values.pop()? };
        Some((setting.name.to_owned(), text))
    });
    let ignored = IGNORED.iter().filter_map(|ignored| Some((ignored.name.to_owned(), given(ignored.name)?.pop()?)));
    settings.chain(ignored).collect()
}

/// Starts the log, tells what has no effect, and serves until the server is told to stop.
pub(crate) fn run(matches: &ArgMatches, serve: impl FnOnce(Settings) -> anyhow::Result<()>) -> Outcome<()> {
    let Loaded { settings, warnings } = settings(matches)?;
    logging::init(settings.log_level, settings.log_format);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    serve(settings).map_err(|error| Failure::failed(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> BTreeMap<String, String> {
        let arguments = with_double_dashes(arguments.iter().map(OsString::from));
        flags(&command().no_binary_name(true).try_get_matches_from(arguments).unwrap())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        let expected = BTreeMap::from([pair("data-dir", "/x"), pair("name", "one")]);
        assert_eq!(parse(&["-data-dir", "/x", "-name=one"]), expected);
        assert_eq!(parse(&["--data-dir", "/x", "--name=one"]), expected);
        let exec = ["exec", "-name", "--", "find", "-name"].map(OsString::from);
        assert_eq!(with_double_dashes(exec), ["exec", "--name", "--", "find", "-name"]);
        assert_eq!(with_double_dash("-o".into()), "-o");
        assert_eq!(with_double_dash("-x-data-dir".into()), "-x-data-dir");
    }

    #[test]
    fn the_last_value_counts_and_lists_are_joined() {
        let given = parse(&["--name", "a", "--name", "b", "--cors", "http://x", "--cors", "http://y,http://z"]);
        assert_eq!(given, BTreeMap::from([pair("name", "b"), pair("cors", "http://x,http://y,http://z")]));
    }

    #[test]
    fn a_flag_has_the_name_that_older_versions_of_etcd_gave_it() {
        let expected = BTreeMap::from([pair("watch-progress-notify-interval", "1s")]);
        for dashes in ["-", "--"] {
            assert_eq!(parse(&[&format!("{dashes}experimental-watch-progress-notify-interval=1s")]), expected);
        }
    }

    #[test]
    fn flags_of_etcd_that_mean_nothing_are_taken_as_go_takes_them() {
        let given = parse(&["-enable-v2", "--logger", "zap", "--enable-pprof=false", "--name", "x"]);
        let expected =
            [pair("enable-v2", "true"), pair("logger", "zap"), pair("enable-pprof", "false"), pair("name", "x")];
        assert_eq!(given, BTreeMap::from(expected));
    }
}
