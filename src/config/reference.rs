//! The reference of all settings, `docs/configuration.md`, written from the table.

use std::fmt::Write as _;

use super::Settings;
use super::table::{IGNORED, SETTINGS, Setting, Topic};

const INTRODUCTION: &str = "\
# Configuration

Every setting is a flag, an environment variable and a key of the TOML file named by `--config-file` (or
`VARDR_CONFIG_FILE`). A flag wins over the environment, the environment over the file, the file over the default.
Flags may be spelt with one dash or two. Where a `VARDR_` variable is not set, the `ETCD_` variable of the same name
is read, so that a unit file written for etcd goes on working. A value that cannot be used stops the start with an
error that names the setting, where it came from, the value and what is allowed.

Durations are written `500ms`, `30s`, `1m30s`, `24h`, `7d`. Lists are separated by commas; a flag of a list may be
repeated, and the file takes an array.

```toml
# vardr.toml
name = \"one\"
data-dir = \"/var/lib/vardr\"
listen-client-urls = [\"http://127.0.0.1:2379\", \"http://10.0.0.7:2379\"]
auto-compaction-retention = \"72h\"
log-format = \"json\"
```

```sh
vardr --config-file vardr.toml --log-level debug
```
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let defaults = Settings::default();
    let mut page = INTRODUCTION.to_owned();
    for topic in Topic::ALL {
        let _infallible = write!(page, "\n## {}\n", topic.title());
        for setting in SETTINGS.iter().filter(|setting| setting.topic == topic) {
            page.push_str(&entry(setting, &defaults));
        }
    }
    page.push_str("\n## Accepted for etcd's sake\n\nThese flags of etcd are accepted with a warning and do nothing.\n");
    page.push_str("\n| flag | why it does nothing |\n| --- | --- |\n");
    for ignored in IGNORED {
        let _infallible = writeln!(page, "| `--{}` | {} |", ignored.name, ignored.why);
    }
    page
}

fn entry(setting: &Setting, defaults: &Settings) -> String {
    let default = match (setting.get)(defaults) {
        text if text.is_empty() => "none".to_owned(),
        text => format!("`{text}`"),
    };
    let older = setting.older_names().map(|name| format!("- in older versions of etcd: `--{name}`, taken as well\n"));
    format!(
        "\n### `--{name} <{placeholder}>`\n\n{help}.\n\n- default: {default}\n- allowed: {allowed}\n- environment: \
         `{variable}`, else `{etcd}`\n{older}",
        name = setting.name,
        placeholder = setting.placeholder,
        help = setting.help,
        allowed = setting.allowed,
        variable = setting.variable(),
        etcd = setting.etcd_variable(),
        older = older.collect::<String>(),
    )
}
