//! Where settings come from, which source wins, and errors that say so.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::table::{IGNORED, SETTINGS, Setting};
use super::{Settings, duration_text};
use crate::cluster::DEFAULT_TOKEN;

/// The variables of a process, so that tests need not change their own.
pub type Environment = BTreeMap<String, String>;

/// Variables of ours that are no settings of the server.
const OTHER_VARIABLES: [&str; 2] = ["VARDR_CONFIG_FILE", "VARDR_ENDPOINT"];

/// The result of [`load`].
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// What was given and has no effect, in sentences for the log.
    pub warnings: Vec<String>,
}

/// The place that a value was given at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag,
    /// The name of the variable.
    Environment(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("given as a flag"),
            Self::Environment(name) => write!(f, "given by the environment variable {name}"),
            Self::File(path) => write!(f, "given in {}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// Why there are no settings to start with.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("--{name}: `{value}` ({origin}) cannot be used: {problem}; allowed: {allowed}")]
    Value { name: &'static str, value: String, origin: Origin, problem: String, allowed: String },
    #[error("the configuration file {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is not TOML: {problem}")]
    NotToml { path: PathBuf, problem: String },
    #[error("the configuration file {path} sets `{key}`, which is not a setting{hint}; allowed: {allowed}")]
    UnknownKey { path: PathBuf, key: String, hint: String, allowed: String },
}

/// Makes settings of the flags (by name without dashes; lists already joined with commas), the environment and
/// the file.
///
/// # Errors
/// The first thing that is wrong: a value, or the file.
pub fn load(
    flags: &BTreeMap<String, String>,
    environment: &Environment,
    file: Option<&Path>,
) -> Result<Loaded, ConfigError> {
    let from_file = file.map(read_file).transpose()?.unwrap_or_default();
    let mut warnings = Vec::new();
    let mut settings = Settings::default();
    let mut origins = BTreeMap::new();
    for setting in SETTINGS {
        let (text, origin) = if let Some(text) = flags.get(setting.name) {
            (text, Origin::Flag)
        } else if let Some((name, text)) = environment_value(setting, environment) {
            (text, Origin::Environment(name))
        } else if let (Some(path), Some(text)) = (file, from_file.get(setting.name)) {
            (text, Origin::File(path.to_path_buf()))
        } else {
            continue;
        };
        apply(&mut settings, setting, text, origin.clone())?;
        origins.insert(setting.name, origin);
    }
    check_elections(&settings, &origins)?;
    check_members(&settings, &origins)?;
    warn_of_useless(&settings, &mut warnings);
    warn_of_ignored(flags, environment, &from_file, &mut warnings);
    warn_of_unknown_variables(environment, &mut warnings);
    Ok(Loaded { settings, warnings })
}

fn environment_value<'a>(setting: &Setting, environment: &'a Environment) -> Option<(String, &'a String)> {
    setting.variables().find_map(|name| {
        // An empty variable counts as not set, as in etcd.
        let text = environment.get(&name).filter(|text| !text.is_empty())?;
        Some((name, text))
    })
}

fn apply(settings: &mut Settings, setting: &Setting, text: &str, origin: Origin) -> Result<(), ConfigError> {
    (setting.set)(settings, text).map_err(|problem| ConfigError::Value {
        name: setting.name,
        value: text.to_owned(),
        origin,
        problem,
        allowed: setting.allowed.to_owned(),
    })
}

/// What no single value shows: elections must outlast heartbeats, as in etcd (`Config.Validate`).
fn check_elections(settings: &Settings, origins: &BTreeMap<&'static str, Origin>) -> Result<(), ConfigError> {
    let least = settings.heartbeat_interval * 5;
    if settings.election_timeout >= least {
        return Ok(());
    }
    let origin_of = |name| origins.get(name).cloned().unwrap_or(Origin::Default);
    Err(ConfigError::Value {
        name: "election-timeout",
        value: settings.election_timeout.as_millis().to_string(),
        origin: origin_of("election-timeout"),
        problem: format!(
            "it is less than five times --heartbeat-interval, which is {} ({})",
            duration_text(settings.heartbeat_interval),
            origin_of("heartbeat-interval")
        ),
        allowed: format!("{} or more", duration_text(least)),
    })
}

/// The members come from one place, as in etcd (`Config.Validate`).
fn check_members(settings: &Settings, origins: &BTreeMap<&'static str, Origin>) -> Result<(), ConfigError> {
    let list = (!settings.initial_cluster.is_empty()).then_some(String::new());
    let places = [
        ("initial-cluster", list),
        ("discovery-srv", settings.discovery_srv.clone()),
        ("discovery", settings.discovery.clone()),
    ];
    let mut given = places.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let (Some((first, _)), Some((name, value))) = (given.next(), given.next()) else { return Ok(()) };
    let origin_of = |name| origins.get(name).cloned().unwrap_or(Origin::Default);
    Err(ConfigError::Value {
        name,
        value,
        origin: origin_of(name),
        problem: format!("--{first} names the members too ({})", origin_of(first)),
        allowed: "one of the two".to_owned(),
    })
}

fn warn_of_useless(settings: &Settings, warnings: &mut Vec<String>) {
    if settings.discovery_srv.is_none() && !settings.discovery_srv_name.is_empty() {
        warnings.push("--discovery-srv-name has no effect: --discovery-srv is not given".to_owned());
    }
    if settings.discovery.is_some() && settings.initial_cluster_token != DEFAULT_TOKEN {
        warnings
            .push("--initial-cluster-token has no effect: --discovery is given, and its URL is the token".to_owned());
    }
}

fn warn_of_ignored(
    flags: &BTreeMap<String, String>,
    environment: &Environment,
    file: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) {
    for ignored in IGNORED {
        if flags.contains_key(ignored.name) {
            warnings.push(format!("--{} has no effect: {}", ignored.name, ignored.why));
        } else if environment.contains_key(&ignored.etcd_variable()) {
            warnings.push(format!("{} has no effect: {}", ignored.etcd_variable(), ignored.why));
        } else if file.contains_key(ignored.name) {
            warnings.push(format!("`{}` in the configuration file has no effect: {}", ignored.name, ignored.why));
        }
    }
}

/// A misspelt variable of ours must not pass unseen. Those of etcd may belong to other programs.
fn warn_of_unknown_variables(environment: &Environment, warnings: &mut Vec<String>) {
    let known = |name: &str| OTHER_VARIABLES.contains(&name) || SETTINGS.iter().any(|s| s.variable() == name);
    for name in environment.keys().filter(|name| name.starts_with("VARDR_") && !known(name)) {
        warnings.push(format!("the environment variable {name} is not known and has no effect"));
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
        path: path.to_path_buf(),
        problem: error.to_string().trim_end().to_owned(),
    })?;
    table.into_iter().map(|(key, value)| file_entry(path, key, &value)).collect()
}

fn file_entry(path: &Path, key: String, value: &toml::Value) -> Result<(String, String), ConfigError> {
    if IGNORED.iter().any(|ignored| ignored.name == key) {
        return Ok((key, String::new()));
    }
    let Some(setting) = SETTINGS.iter().find(|setting| setting.is_called(&key)) else {
        let hint = SETTINGS
            .iter()
            .find(|setting| setting.name == key.replace('_', "-").to_ascii_lowercase())
            .map_or_else(String::new, |setting| format!(" (`{}` is)", setting.name));
        let allowed = SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
        return Err(ConfigError::UnknownKey { path: path.to_path_buf(), key, hint, allowed });
    };
    let text = toml_text(value, setting.is_list).ok_or_else(|| ConfigError::Value {
        name: setting.name,
        value: value.to_string(),
        origin: Origin::File(path.to_path_buf()),
        problem: format!("it is of the type {}", value.type_str()),
        allowed: setting.allowed.to_owned(),
    })?;
    Ok((setting.name.to_owned(), text))
}

fn toml_text(value: &toml::Value, is_list: bool) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(items) if is_list => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;
    use crate::cluster::ListenUrl;
    use crate::cluster::Source;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
        let toml = file("name = 'from-file'\nsnapshot-count = 500\nlog-level = 'warn'\n");
        let environment = map(&[("VARDR_NAME", "from-variable"), ("VARDR_SNAPSHOT_COUNT", "600")]);
        let loaded = load(&map(&[("name", "from-flag")]), &environment, Some(toml.path())).unwrap();
        assert_eq!(loaded.settings.name, "from-flag");
        assert_eq!(loaded.settings.snapshot_count, 600);
        assert_eq!(loaded.settings.log_level.name(), "warn");
        assert_eq!(loaded.settings.max_request_bytes, Settings::default().max_request_bytes);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn variables_of_etcd_are_read_where_ours_are_not_set() {
        let environment = map(&[("ETCD_NAME", "etcd"), ("ETCD_DATA_DIR", "/a"), ("VARDR_DATA_DIR", "/b")]);
        let settings = load(&map(&[]), &environment, None).unwrap().settings;
        assert_eq!(settings.name, "etcd");
        assert_eq!(settings.data_dir, Path::new("/b"));
    }

    #[test]
    fn what_older_versions_of_etcd_call_a_setting_is_taken_for_it() {
        let (older, seconds) = ("experimental-watch-progress-notify-interval", |loaded: Loaded| {
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            loaded.settings.watch_progress_notify_interval.as_secs()
        });
        let toml = file(&format!("{older} = '7s'"));
        assert_eq!(seconds(load(&map(&[]), &map(&[]), Some(toml.path())).unwrap()), 7);
        let variable = ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "8s");
        assert_eq!(seconds(load(&map(&[]), &map(&[variable]), Some(toml.path())).unwrap()), 8);
        let newer = ("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", "9s");
        assert_eq!(seconds(load(&map(&[]), &map(&[variable, newer]), None).unwrap()), 9);
        let error = load(&map(&[]), &map(&[(variable.0, "no")]), None).unwrap_err().to_string();
        assert!(error.contains(variable.0), "{error}");
    }

    #[test]
    fn lists_are_given_by_commas_or_by_a_toml_array() {
        let expected = [ListenUrl::new("127.0.0.1", 1), ListenUrl::new("::1", 2)];
        let flags = map(&[("listen-client-urls", "http://127.0.0.1:1, http://[::1]:2")]);
        assert_eq!(load(&flags, &map(&[]), None).unwrap().settings.listen_client_urls, expected);
        let toml = file("listen-client-urls = ['http://127.0.0.1:1', 'http://[::1]:2']");
        assert_eq!(load(&map(&[]), &map(&[]), Some(toml.path())).unwrap().settings.listen_client_urls, expected);
    }

    #[test]
    fn an_error_names_the_setting_its_origin_the_value_and_what_is_allowed() {
        let error = load(&map(&[]), &map(&[("ETCD_SNAPSHOT_COUNT", "many")]), None).unwrap_err().to_string();
        assert_eq!(
            error,
            "--snapshot-count: `many` (given by the environment variable ETCD_SNAPSHOT_COUNT) cannot be used: it is \
             not a whole number; allowed: 100 to 10000000"
        );
        let toml = file("cors = 7");
        let error = load(&map(&[]), &map(&[]), Some(toml.path())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--cors: `7` (given in {})", toml.path().display())), "{error}");
    }

    #[test]
    fn every_setting_refuses_nonsense_by_name() {
        for setting in SETTINGS {
            let nonsense = if setting.name == "data-dir" { "" } else { "no t\u{7}://" };
            let error = load(&map(&[(setting.name, nonsense)]), &map(&[]), None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--{}: ", setting.name)), "{error}");
            assert!(error.contains(setting.allowed), "{error}");
        }
    }

    #[test]
    fn elections_must_outlast_five_heartbeats() {
        let flags = map(&[("heartbeat-interval", "300")]);
        let error = load(&flags, &map(&[]), None).unwrap_err().to_string();
        assert!(error.contains("--election-timeout: `1000` (the default)"), "{error}");
        assert!(error.contains("300ms (given as a flag)"), "{error}");
        assert!(error.ends_with("allowed: 1500ms or more"), "{error}");
    }

    #[test]
    fn a_cluster_is_described_as_for_etcd() {
        let flags = map(&[
            ("name", "n1"),
            ("initial-advertise-peer-urls", "http://10.0.0.17:2380"),
            ("listen-peer-urls", "http://10.0.0.17:2380"),
            ("initial-cluster", "n1=http://10.0.0.17:2380,n2=http://10.0.0.18:2380,n3=http://10.0.0.19:2380"),
            ("initial-cluster-state", "new"),
        ]);
        let environment = map(&[("ETCD_INITIAL_CLUSTER_TOKEN", "token-01")]);
        let settings = load(&flags, &environment, None).unwrap().settings;
        assert_eq!(settings.peer_listen(), [ListenUrl::new("10.0.0.17", 2380)]);
        let given = settings.cluster();
        assert_eq!((given.name.as_str(), given.token.as_str()), ("n1", "token-01"));
        assert_eq!(given.advertised, ["http://10.0.0.17:2380"]);
        let Source::List(list) = given.source else { panic!("{given:?}") };
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn a_wrong_setting_of_the_cluster_is_refused_with_what_is_wrong() {
        for (name, value, problem) in [
            ("listen-peer-urls", "http://localhost", "it names no port"),
            ("listen-peer-urls", "http://localhost:0", "port 0 is not one"),
            ("listen-peer-urls", "http://a:1,http://a:1/", "http://a:1 stands twice"),
            ("initial-advertise-peer-urls", "https://localhost:2380", "TLS between members is not"),
            ("initial-advertise-peer-urls", "http://localhost:2380/x", "something stands behind"),
            ("initial-cluster", "n1=http://a:1,n2", "`n2` is not NAME=URL"),
            ("initial-cluster", "n1=http://a:1,n2=b:1", "the URL of `n2`, `b:1`: it does not begin with http://"),
            ("initial-cluster-state", "old", "it is not a state; allowed: new or existing"),
            ("initial-cluster-token", "", "it is empty, too long or not one word"),
            ("discovery", "https://discovery.etcd.io/x", "TLS is not available"),
            ("discovery", "http://10.0.0.1:2379/", "it has no path"),
            ("discovery", "http://10.0.0.1:2379/new?size=3", "something stands"),
            ("discovery-srv", "127.0.0.1", "it is an address"),
            ("discovery-srv-name", "a.b", "it is not a name that DNS knows"),
        ] {
            let error = load(&map(&[(name, value)]), &map(&[]), None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--{name}: `{value}` (given as a flag)")), "{error}");
            assert!(error.contains(problem), "{name}: {error}");
        }
    }

    #[test]
    fn the_members_come_from_one_place() {
        let flags = map(&[("initial-cluster", "n1=http://a:1")]);
        let environment = map(&[("ETCD_DISCOVERY_SRV", "example.org")]);
        let error = load(&flags, &environment, None).unwrap_err().to_string();
        assert_eq!(
            error,
            "--discovery-srv: `example.org` (given by the environment variable ETCD_DISCOVERY_SRV) cannot be used: \
             --initial-cluster names the members too (given as a flag); allowed: one of the two"
        );
        let settings = load(&map(&[]), &environment, None).unwrap().settings;
        assert!(matches!(settings.cluster().source, Source::Srv(service) if service.domain == "example.org"));
        let loaded = load(&map(&[("discovery-srv-name", "blue")]), &map(&[]), None).unwrap();
        assert!(loaded.warnings.concat().contains("--discovery-srv is not given"), "{:?}", loaded.warnings);
    }

    #[test]
    fn a_discovery_url_is_the_token_of_its_cluster_too() {
        let url = "http://10.0.0.1:2379/v2/keys/_etcd/registry/x";
        let loaded = load(&map(&[("discovery", url), ("initial-cluster-token", "t")]), &map(&[]), None).unwrap();
        assert!(loaded.warnings.concat().contains("--initial-cluster-token has no effect"), "{:?}", loaded.warnings);
        let given = loaded.settings.cluster();
        assert_eq!((given.source, given.token.as_str()), (Source::Discovery(url.to_owned()), url));
        assert_eq!(loaded.settings.peer_listen(), [ListenUrl::new("localhost", 2380)], "there are others");
        let both = load(&map(&[("discovery", url), ("discovery-srv", "example.org")]), &map(&[]), None);
        let error = both.unwrap_err().to_string();
        assert!(error.contains("--discovery-srv names the members too"), "{error}");
    }

    #[test]
    fn an_unknown_key_of_the_file_is_an_error_with_a_hint() {
        let toml = file("data_dir = '/x'");
        let error = load(&map(&[]), &map(&[]), Some(toml.path())).unwrap_err().to_string();
        assert!(error.contains("sets `data_dir`, which is not a setting (`data-dir` is)"), "{error}");
    }

    #[test]
    fn a_file_that_is_missing_or_not_toml_is_an_error_with_its_path() {
        let error = load(&map(&[]), &map(&[]), Some(Path::new("/no/such.toml"))).unwrap_err().to_string();
        assert!(error.contains("/no/such.toml cannot be read"), "{error}");
        let yaml = file("name: default\n");
        let error = load(&map(&[]), &map(&[]), Some(yaml.path())).unwrap_err().to_string();
        assert!(error.contains("is not TOML"), "{error}");
    }

    #[test]
    fn what_has_no_effect_is_a_warning() {
        let flags = map(&[("enable-v2", "true")]);
        let environment = map(&[("ETCD_LOGGER", "zap"), ("VARDR_NAEM", "x"), ("VARDR_ENDPOINT", "y")]);
        let toml = file("quota-backend-bytes = 8");
        let warnings = load(&flags, &environment, Some(toml.path())).unwrap().warnings.join("\n");
        for part in ["--enable-v2 has no effect", "ETCD_LOGGER has", "VARDR_NAEM is not known", "`quota-backend-bytes`"]
        {
            assert!(warnings.contains(part), "{part} is missing in {warnings}");
        }
        assert!(!warnings.contains("VARDR_ENDPOINT"), "{warnings}");
    }
}
