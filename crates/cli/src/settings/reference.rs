//! The reference page, made of the settings' declaration.

use openline_server::{Config, Setting};

use super::{flag, variable};

const HEAD: &str = "\
# Configuration

`openline check-config --reference` prints this page, from the declaration that the server itself goes by.

`openline serve` and `openline demo` take their settings from a TOML file (`--config FILE`, or `OPENLINE_CONFIG`), from
the environment, and from the command line; each counts more than the one before it. All have defaults. A key that is
not known, or a value that is not understood, is an error: the server does not start.

```toml
listen = \"127.0.0.1:8000\"
allow_hosts = [\"push.example\"]

[limits]
connections = 20_000
publication = \"64KiB\"

[namespace.flights]
anonymous.subscribe = true
```

```console
$ openline check-config openline.toml
openline.toml: all is well
$ openline check-config wrong.toml
error: wrong.toml:2: there is no key `limits.conections`; did you mean `limits.connections`?
```

**live** settings are put into force by a reload (SIGHUP) without a dropped connection; the others by a new start.
Secrets have no option, since others on the machine can see a command line. What belongs to a table with a name of your
own (`[key.NAME]`, `[namespace.PREFIX]`) is set in the file only. Where no `traces.endpoint` is set anywhere,
`OTEL_EXPORTER_OTLP_ENDPOINT` of the environment is taken.
";

/// The page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for setting in Config::settings() {
        let parts = &setting.path[..setting.path.len() - 1];
        let of = parts.first().copied().unwrap_or_default();
        if section != Some(of) {
            let title = match of {
                "" => "General".to_owned(),
                of if parts.get(1) == Some(&"*") => format!("`[{of}.NAME]`"),
                of => format!("`[{of}]`"),
            };
            page.push_str(&format!("\n## {title}\n"));
            section = Some(of);
        }
        page.push_str(&entry(&setting));
    }
    page
}

fn entry(setting: &Setting) -> String {
    let key = setting.key().replace('*', "NAME");
    let mut facts = vec![format!("Write {}.", setting.form)];
    facts.push(match setting.default.as_deref() {
        None if setting.is_secret => "Default: none.".to_owned(),
        None => "Default: not set.".to_owned(),
        Some(default) => format!("Default: `{default}`."),
    });
    if setting.is_live {
        facts.push("**live**".to_owned());
    }
    if !setting.is_named() {
        let mut names = format!("`{}`", variable(setting));
        if !setting.is_secret {
            names.push_str(&format!(", `--{}`", flag(setting)));
        }
        facts.push(names);
    }
    format!(
        "\n### `{key}`\n\n{}\n\n{}\n",
        setting.about,
        facts.join(" ")
    )
}
