//! The table of settings: name, topic, form, help and how a text becomes a field of [`Settings`].
//!
//! A flag `--some-name` is the environment variable `VARDR_SOME_NAME` (else `ETCD_SOME_NAME`) and the key
//! `some-name` of the file. Names and meanings are etcd's where etcd has the setting.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{
    client_url, cluster_entry, domain, duration, duration_text, host_name, list, millis, number, origin,
    service_suffix, without_repeats, word,
};
use super::{AutoCompaction, Settings};
use crate::cluster::{ClusterState, ListenUrl, discovery_url, peer_listen_url, peer_url};
use crate::model::limits::HIGHEST_MAX_REQUEST_BYTES;
use crate::observe::{LogFormat, LogLevel};

/// A group of settings in the help and in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Member,
    Clients,
    Cluster,
    History,
    Logging,
    Raft,
}

impl Topic {
    /// Every topic, in the order of the help.
    pub const ALL: [Self; 6] = [Self::Member, Self::Clients, Self::Cluster, Self::History, Self::Logging, Self::Raft];

    /// The heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Member => "Member",
            Self::Clients => "Clients",
            Self::Cluster => "Cluster",
            Self::History => "History",
            Self::Logging => "Logging",
            Self::Raft => "Raft",
        }
    }
}

/// One row of the table.
pub struct Setting {
    /// The flag without its dashes.
    pub name: &'static str,
    pub topic: Topic,
    /// The placeholder of the value in the help.
    pub placeholder: &'static str,
    /// One sentence, without a full stop.
    pub help: &'static str,
    /// What a value may be, as the end of "allowed: …".
    pub allowed: &'static str,
    /// Sets the field, or says what is wrong with the text.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
    /// The field as text that [`Self::set`] reads; empty for an empty list.
    pub get: fn(&Settings) -> String,
    /// Whether several values may be given, by comma or by repeating the flag.
    pub is_list: bool,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Setting {
    /// `VARDR_SOME_NAME`.
    #[must_use]
    pub fn variable(&self) -> String {
        variable("VARDR", self.name)
    }

    /// `ETCD_SOME_NAME`, read where [`Self::variable`] is not set.
    #[must_use]
    pub fn etcd_variable(&self) -> String {
        variable("ETCD", self.name)
    }

    /// What older versions of etcd call it: taken as its name is.
    pub fn older_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let name = self.name;
        RENAMED.iter().filter(move |(_, now)| *now == name).map(|(older, _)| *older)
    }

    /// The variables that it is read from, of which the first that is set counts.
    pub(super) fn variables(&self) -> impl Iterator<Item = String> + use<> {
        let older = self.older_names().map(|name| variable("ETCD", name));
        [self.variable(), self.etcd_variable()].into_iter().chain(older)
    }

    /// Whether it is, or was, called so.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.older_names().any(|older| older == name)
    }
}

/// A flag of etcd that is accepted, with a warning, and does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Ignored {
    /// The flag without its dashes.
    pub name: &'static str,
    /// Whether the flag may stand without a value.
    pub is_switch: bool,
    /// Why it does nothing, as the end of "--name has no effect: …".
    pub why: &'static str,
}

impl Ignored {
    /// `ETCD_SOME_NAME`.
    #[must_use]
    pub fn etcd_variable(&self) -> String {
        variable("ETCD", self.name)
    }
}

fn variable(prefix: &str, name: &str) -> String {
    format!("{prefix}_{}", name.replace('-', "_").to_ascii_uppercase())
}

/// Every setting, grouped by topic.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "name",
        topic: Topic::Member,
        placeholder: "NAME",
        help: "The name of this member, for people",
        allowed: "1 to 128 printable characters without blanks",
        set: |settings, text| {
            word(text)?.clone_into(&mut settings.name);
            Ok(())
        },
        get: |settings| settings.name.clone(),
        is_list: false,
    },
    Setting {
        name: "data-dir",
        topic: Topic::Member,
        placeholder: "DIR",
        help: "The directory of the log and the store; made if absent",
        allowed: "a path on a local file system",
        set: |settings, text| {
            if text.is_empty() {
                return Err("it is empty".to_owned());
            }
            settings.data_dir = PathBuf::from(text);
            Ok(())
        },
        get: |settings| settings.data_dir.display().to_string(),
        is_list: false,
    },
    Setting {
        name: "listen-client-urls",
        topic: Topic::Clients,
        placeholder: "URLS",
        help: "Where to listen for clients",
        allowed: "http://HOST:PORT, several with commas; port 0 picks a free one",
        set: |settings, text| {
            let urls = list(text).map(ListenUrl::parse).collect::<Result<Vec<_>, _>>()?;
            if urls.is_empty() {
                return Err("it is empty".to_owned());
            }
            settings.listen_client_urls = urls;
            Ok(())
        },
        get: |settings| join(&settings.listen_client_urls),
        is_list: true,
    },
    Setting {
        name: "advertise-client-urls",
        topic: Topic::Clients,
        placeholder: "URLS",
        help: "What clients are told to connect to; by default the addresses listened on",
        allowed: "http://HOST[:PORT], several with commas",
        set: |settings, text| {
            settings.advertise_client_urls = list(text).map(client_url).collect::<Result<_, _>>()?;
            Ok(())
        },
        get: |settings| join(&settings.advertise_client_urls),
        is_list: true,
    },
    Setting {
        name: "max-request-bytes",
        topic: Topic::Clients,
        placeholder: "BYTES",
        help: "The largest request body",
        allowed: "1024 to 67108864",
        set: |settings, text| {
            let bytes = number(text, 1024, HIGHEST_MAX_REQUEST_BYTES as u64)?;
            settings.max_request_bytes = usize::try_from(bytes).map_err(|error| error.to_string())?;
            Ok(())
        },
        get: |settings| settings.max_request_bytes.to_string(),
        is_list: false,
    },
    Setting {
        name: "cors",
        topic: Topic::Clients,
        placeholder: "ORIGINS",
        help: "Foreign origins whose pages may call this member; none by default",
        allowed: "SCHEME://HOST[:PORT], several with commas, or * for any",
        set: |settings, text| {
            settings.cors = list(text).map(origin).collect::<Result<_, _>>()?;
            Ok(())
        },
        get: |settings| join(&settings.cors),
        is_list: true,
    },
    Setting {
        name: "host-whitelist",
        topic: Topic::Clients,
        placeholder: "HOSTS",
        help: "Further names that a Host header may carry; the advertised and listening names, loopback and IP \
               addresses always may",
        allowed: "host names without port, several with commas, or * for any",
        set: |settings, text| {
            settings.host_whitelist = list(text).map(host_name).collect::<Result<_, _>>()?;
            Ok(())
        },
        get: |settings| join(&settings.host_whitelist),
        is_list: true,
    },
    Setting {
        name: "listen-peer-urls",
        topic: Topic::Cluster,
        placeholder: "URLS",
        help: "Where to listen for the other members; by default http://localhost:2380 once --initial-cluster, \
               --initial-advertise-peer-urls or --discovery-srv is given, and nowhere otherwise, since a member that \
               is alone has nobody to listen to",
        allowed: "http://HOST:PORT, several with commas",
        set: |settings, text| {
            let urls = list(text).map(peer_listen_url).collect::<Result<_, _>>()?;
            settings.listen_peer_urls = without_repeats(urls)?;
            Ok(())
        },
        get: |settings| join(&settings.listen_peer_urls),
        is_list: true,
    },
    Setting {
        name: "initial-advertise-peer-urls",
        topic: Topic::Cluster,
        placeholder: "URLS",
        help: "Where the other members reach this one, as --initial-cluster says it too; http://localhost:2380 when \
               left out; like every setting named initial, it counts at the first start only",
        allowed: "http://HOST:PORT, several with commas",
        set: |settings, text| {
            let urls = list(text).map(peer_url).collect::<Result<_, _>>()?;
            settings.initial_advertise_peer_urls = without_repeats(urls)?;
            Ok(())
        },
        get: |settings| join(&settings.initial_advertise_peer_urls),
        is_list: true,
    },
    Setting {
        name: "initial-cluster",
        topic: Topic::Cluster,
        placeholder: "MEMBERS",
        help: "All members that the cluster begins with, this one too, alike on each of them; a name that stands \
               twice is one member with two URLs; when left out, this member is alone",
        allowed: "NAME=http://HOST:PORT, several with commas, at most 7 members",
        set: |settings, text| {
            settings.initial_cluster = list(text).map(cluster_entry).collect::<Result<_, _>>()?;
            Ok(())
        },
        get: |settings| join(&settings.initial_cluster),
        is_list: true,
    },
    Setting {
        name: "initial-cluster-state",
        topic: Topic::Cluster,
        placeholder: "STATE",
        help: "Whether the cluster begins with this start; existing is for a member that was added to one that runs: it asks the \
               others that --initial-cluster names which member it is",
        allowed: "new or existing",
        set: |settings, text| {
            settings.initial_cluster_state = ClusterState::ALL
                .into_iter()
                .find(|state| state.name() == text)
                .ok_or_else(|| "it is not a state".to_owned())?;
            Ok(())
        },
        get: |settings| settings.initial_cluster_state.name().to_owned(),
        is_list: false,
    },
    Setting {
        name: "initial-cluster-token",
        topic: Topic::Cluster,
        placeholder: "TOKEN",
        help: "A word that ids are computed from, alike on all members; another one makes another cluster of members \
               with the same URLs",
        allowed: "1 to 128 printable characters without blanks",
        set: |settings, text| {
            word(text)?.clone_into(&mut settings.initial_cluster_token);
            Ok(())
        },
        get: |settings| settings.initial_cluster_token.clone(),
        is_list: false,
    },
    Setting {
        name: "discovery-srv",
        topic: Topic::Cluster,
        placeholder: "DOMAIN",
        help: "The domain whose SRV records _etcd-server._tcp.DOMAIN name the members, in place of --initial-cluster",
        allowed: "a domain of DNS",
        set: |settings, text| {
            settings.discovery_srv = domain(text)?;
            Ok(())
        },
        get: |settings| settings.discovery_srv.clone().unwrap_or_default(),
        is_list: false,
    },
    Setting {
        name: "discovery-srv-name",
        topic: Topic::Cluster,
        placeholder: "NAME",
        help: "Tells clusters of one domain apart: the records are then those of _etcd-server-NAME._tcp.DOMAIN",
        allowed: "letters, digits and hyphens, at most 46",
        set: |settings, text| {
            settings.discovery_srv_name = service_suffix(text)?;
            Ok(())
        },
        get: |settings| settings.discovery_srv_name.clone(),
        is_list: false,
    },
    Setting {
        name: "discovery",
        topic: Topic::Cluster,
        placeholder: "URL",
        help: "Where a discovery service keeps the members of this new cluster, in place of --initial-cluster: each member \
               enters itself there and waits for the others. `curl http://HOST:PORT/new?size=3` has any Vardr make such a URL; \
               its directory in the v2 API of etcd is one, too",
        allowed: "http://HOST:PORT/PATH, alike on all members",
        set: |settings, text| {
            settings.discovery = match text {
                "" => None,
                url => discovery_url(url).map(|()| Some(url.to_owned()))?,
            };
            Ok(())
        },
        get: |settings| settings.discovery.clone().unwrap_or_default(),
        is_list: false,
    },
    Setting {
        name: "auto-compaction-mode",
        topic: Topic::History,
        placeholder: "MODE",
        help: "How --auto-compaction-retention counts: by age or by revisions",
        allowed: "periodic or revision",
        // Applied before the retention, which is read according to it.
        set: |settings, text| {
            settings.auto_compaction = match text {
                "periodic" => AutoCompaction::Periodic(Duration::from_hours(24)),
                "revision" => AutoCompaction::Revision(1_000_000),
                _ => return Err("it is not a mode".to_owned()),
            };
            Ok(())
        },
        get: |settings| match settings.auto_compaction {
            AutoCompaction::Off | AutoCompaction::Periodic(_) => "periodic".to_owned(),
            AutoCompaction::Revision(_) => "revision".to_owned(),
        },
        is_list: false,
    },
    Setting {
        name: "auto-compaction-retention",
        topic: Topic::History,
        placeholder: "HOW_MUCH",
        help: "How much of the past is kept: an age (a plain number means hours), or a number of revisions \
               (1000000 when left out in that mode); 0 keeps all",
        allowed: "with mode periodic: 0, hours, or a duration from 1s such as 90m, 24h, 7d; with mode revision: a \
                  number of revisions",
        set: set_retention,
        get: |settings| match settings.auto_compaction {
            AutoCompaction::Off => "0".to_owned(),
            AutoCompaction::Periodic(age) => duration_text(age),
            AutoCompaction::Revision(count) => count.to_string(),
        },
        is_list: false,
    },
    Setting {
        name: "log-level",
        topic: Topic::Logging,
        placeholder: "LEVEL",
        help: "How much is logged, to standard error",
        allowed: "error, warn, info, debug or trace (etcd's dpanic, panic and fatal mean error)",
        set: |settings, text| {
            settings.log_level = match text {
                "dpanic" | "panic" | "fatal" => LogLevel::Error,
                other => LogLevel::ALL
                    .into_iter()
                    .find(|level| level.name() == other)
                    .ok_or_else(|| "it is not a level".to_owned())?,
            };
            Ok(())
        },
        get: |settings| settings.log_level.to_string(),
        is_list: false,
    },
    Setting {
        name: "log-format",
        topic: Topic::Logging,
        placeholder: "FORMAT",
        help: "What a log line looks like: for people, or one JSON object",
        allowed: "text or json (etcd's console means text)",
        set: |settings, text| {
            settings.log_format = match text {
                "text" | "console" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err("it is not a format".to_owned()),
            };
            Ok(())
        },
        get: |settings| settings.log_format.to_string(),
        is_list: false,
    },
    Setting {
        name: "slow-request-threshold",
        topic: Topic::Logging,
        placeholder: "DURATION",
        help: "Requests that take longer are logged; 0 logs none",
        allowed: "a duration such as 500ms or 2s",
        set: |settings, text| {
            let threshold = duration(text)?;
            settings.slow_request_threshold = (!threshold.is_zero()).then_some(threshold);
            Ok(())
        },
        get: |settings| settings.slow_request_threshold.map_or_else(|| "0".to_owned(), duration_text),
        is_list: false,
    },
    Setting {
        name: "snapshot-count",
        topic: Topic::Raft,
        placeholder: "ENTRIES",
        help: "Applied entries after which, at the latest, the store is made durable and the log before them is dropped",
        allowed: "100 to 10000000",
        set: |settings, text| {
            settings.snapshot_count = number(text, 100, 10_000_000)?;
            Ok(())
        },
        get: |settings| settings.snapshot_count.to_string(),
        is_list: false,
    },
    Setting {
        name: "heartbeat-interval",
        topic: Topic::Raft,
        placeholder: "TIME",
        help: "How often a leader shows that it lives; a plain number means milliseconds",
        allowed: "1ms to 10s",
        set: |settings, text| {
            settings.heartbeat_interval = within(millis(text)?, Duration::from_millis(1), Duration::from_secs(10))?;
            Ok(())
        },
        get: |settings| settings.heartbeat_interval.as_millis().to_string(),
        is_list: false,
    },
    Setting {
        name: "election-timeout",
        topic: Topic::Raft,
        placeholder: "TIME",
        help: "How long a member waits for a sign of a leader before it stands for election; a plain number means \
               milliseconds",
        allowed: "5 heartbeat intervals to 50s",
        set: |settings, text| {
            settings.election_timeout = within(millis(text)?, Duration::from_millis(5), Duration::from_secs(50))?;
            Ok(())
        },
        get: |settings| settings.election_timeout.as_millis().to_string(),
        is_list: false,
    },
    Setting {
        name: "watch-progress-notify-interval",
        topic: Topic::Clients,
        placeholder: "DURATION",
        help: "How often a watch of etcd's v3 API that asks for it says how far it has come, while nothing happens",
        allowed: "100ms to 24h",
        set: |settings, text| {
            let most = Duration::from_hours(24);
            settings.watch_progress_notify_interval = within(duration(text)?, Duration::from_millis(100), most)?;
            Ok(())
        },
        get: |settings| duration_text(settings.watch_progress_notify_interval),
        is_list: false,
    },
];

/// What older versions of etcd call a setting, and its name.
const RENAMED: &[(&str, &str)] = &[("experimental-watch-progress-notify-interval", "watch-progress-notify-interval")];

const V2_ALWAYS: &str = "nothing has to be switched on";
const NO_TLS: &str = "TLS is not available";
const ONE_LOGGER: &str = "there is one logger; see --log-format and --log-level";

const NO_PROXIES: &str = "a member that comes when the cluster is full says so and ends; there are no proxies";

/// Flags of etcd that scripts pass routinely and that mean nothing here.
pub const IGNORED: &[Ignored] = &[
    Ignored { name: "enable-v2", is_switch: true, why: V2_ALWAYS },
    Ignored { name: "enable-grpc-gateway", is_switch: true, why: V2_ALWAYS },
    Ignored { name: "discovery-fallback", is_switch: false, why: NO_PROXIES },
    Ignored { name: "discovery-proxy", is_switch: false, why: "the discovery service is asked without a proxy" },
    Ignored { name: "logger", is_switch: false, why: ONE_LOGGER },
    Ignored { name: "log-outputs", is_switch: false, why: "the log goes to standard error" },
    Ignored { name: "log-package-levels", is_switch: false, why: ONE_LOGGER },
    Ignored { name: "debug", is_switch: true, why: ONE_LOGGER },
    Ignored { name: "enable-log-rotation", is_switch: true, why: "the log goes to standard error" },
    Ignored { name: "wal-dir", is_switch: false, why: "the log lies in the data directory" },
    Ignored { name: "max-snapshots", is_switch: false, why: "old files are removed as soon as nothing needs them" },
    Ignored { name: "max-wals", is_switch: false, why: "old files are removed as soon as nothing needs them" },
    Ignored { name: "quota-backend-bytes", is_switch: false, why: "the size of the store is not bounded" },
    Ignored { name: "backend-batch-limit", is_switch: false, why: "writes are grouped by themselves" },
    Ignored { name: "backend-batch-interval", is_switch: false, why: "writes are grouped by themselves" },
    Ignored { name: "backend-bbolt-freelist-type", is_switch: false, why: "the store is not bbolt" },
    Ignored { name: "max-txn-ops", is_switch: false, why: "a transaction has at most 128 operations" },
    Ignored { name: "metrics", is_switch: false, why: "all metrics are always shown" },
    Ignored { name: "enable-pprof", is_switch: true, why: "that is a facility of Go programs" },
    Ignored { name: "pre-vote", is_switch: true, why: "elections always use it" },
    Ignored {
        name: "initial-election-tick-advance",
        is_switch: true,
        why: "a lone member leads at once, and others wait for one election timeout",
    },
    Ignored { name: "auto-tls", is_switch: true, why: NO_TLS },
    Ignored { name: "peer-auto-tls", is_switch: true, why: NO_TLS },
];

fn set_retention(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.auto_compaction = match settings.auto_compaction {
        _ if text == "0" => AutoCompaction::Off,
        AutoCompaction::Off | AutoCompaction::Periodic(_) => {
            let age = match text.parse::<u64>() {
                Ok(hours) => hours.checked_mul(3600).map(Duration::from_secs).ok_or("it is too long")?,
                Err(_) => duration(text)?,
            };
            if age.is_zero() {
                AutoCompaction::Off
            } else if age < Duration::from_secs(1) {
                return Err("it is less than 1s".to_owned());
            } else {
                AutoCompaction::Periodic(age)
            }
        }
        AutoCompaction::Revision(_) => AutoCompaction::Revision(number(text, 1, u64::MAX)?),
    };
    Ok(())
}

fn within(value: Duration, min: Duration, max: Duration) -> Result<Duration, String> {
    if value < min {
        return Err(format!("it is less than {}", duration_text(min)));
    }
    if value > max {
        return Err(format!("it is more than {}", duration_text(max)));
    }
    Ok(value)
}

fn join(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_is_text_that_its_own_setting_reads() {
        let defaults = Settings::default();
        let mut settings = defaults.clone();
        for setting in SETTINGS {
            let text = (setting.get)(&defaults);
            (setting.set)(&mut settings, &text).unwrap_or_else(|error| panic!("{}: {error}", setting.name));
        }
        assert_eq!(settings, defaults);
    }

    #[test]
    fn every_name_stands_once() {
        let names = SETTINGS.iter().map(|s| s.name).chain(IGNORED.iter().map(|i| i.name));
        let mut seen = BTreeSet::new();
        for name in names {
            assert!(seen.insert(name), "{name} stands twice");
        }
    }

    #[test]
    fn retention_is_read_by_its_mode() {
        let retention = |mode: &str, text: &str| {
            let mut settings = Settings::default();
            for (name, value) in [("auto-compaction-mode", mode), ("auto-compaction-retention", text)] {
                let setting = SETTINGS.iter().find(|s| s.name == name).unwrap();
                (setting.set)(&mut settings, value)?;
            }
            Ok::<_, String>(settings.auto_compaction)
        };
        assert_eq!(retention("periodic", "10"), Ok(AutoCompaction::Periodic(Duration::from_hours(10))));
        assert_eq!(retention("periodic", "90m"), Ok(AutoCompaction::Periodic(Duration::from_mins(90))));
        assert_eq!(retention("periodic", "0"), Ok(AutoCompaction::Off));
        assert_eq!(retention("revision", "0"), Ok(AutoCompaction::Off));
        assert_eq!(retention("revision", "500"), Ok(AutoCompaction::Revision(500)));
        assert!(retention("revision", "5m").is_err());
        assert!(retention("periodic", "5ms").is_err());
        assert!(retention("always", "5").is_err());
    }
}
