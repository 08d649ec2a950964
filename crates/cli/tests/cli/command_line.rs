//! What the command line says and how it ends, without a server.

use crate::support::{command, run, run_with, text, unused_address};

fn fails(args: &[&str], code: i32) -> String {
    let output = run(args);
    let stderr = text(&output.stderr).to_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    stderr
}

#[test]
fn help_tells_what_there_is_and_how_it_ends() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for expected in ["demo", "serve", "publish", "listen", "Exit codes:"] {
        assert!(help.contains(expected), "{expected}: {help}");
    }
}

#[test]
fn each_command_has_help_with_its_defaults() {
    let expected: [(&str, &[&str]); 4] = [
        ("demo", &["--listen", "127.0.0.1:8000", "--speed", "120"]),
        (
            "serve",
            &[
                "--listen",
                "127.0.0.1:8000",
                "--allow-origin",
                "--allow-host",
                "--data-dir",
                "OPENLINE_DATA_DIR",
                "--memory",
            ],
        ),
        (
            "publish",
            &[
                "http://127.0.0.1:8000",
                "--content-type",
                "--idempotency-key",
            ],
        ),
        (
            "listen",
            &["--via", "long-poll", "--since", "--count", "--interval"],
        ),
    ];
    for (command, parts) in expected {
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = text(&output.stdout);
        for part in parts.iter().chain(&["Exit codes:"]) {
            assert!(help.contains(part), "{command} {part}: {help}");
        }
        let serves = help.contains("OPENLINE_LOG");
        assert_eq!(serves, ["demo", "serve"].contains(&command), "{help}");
    }
}

#[test]
fn the_version_is_printed() {
    let output = run(&["--version"]);
    assert_eq!(
        text(&output.stdout),
        concat!("openline ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    fails(&[], 2);
    fails(&["fly"], 2);
    fails(&["serve", "--memory", "--listen", "here"], 2);
    fails(&["serve", "--memory", "--allow-host", "a/b"], 2);
    fails(
        &[
            "serve",
            "--memory",
            "--allow-origin",
            "https://app.example/path",
        ],
        2,
    );
    fails(&["demo", "--speed", "0"], 2);
    fails(&["listen", "a", "--count", "0"], 2);
    fails(&["listen", "a", "--via", "pigeon"], 2);
    fails(&["listen", "a", "--via", "poll", "--interval", "-1"], 2);
    fails(&["publish", "a", "b", "--content-type", "a\nb"], 2);
}

#[test]
fn a_bad_channel_is_told_the_rule() {
    for channel in ["a//b", "a b", "..", "a/x*"] {
        for command in ["publish", "listen"] {
            let stderr = fails(&[command, channel], 2);
            assert!(
                stderr.starts_with(&format!("error: `{channel}` is not a channel\n")),
                "{stderr}"
            );
            assert!(
                stderr.contains("\n\nhint: a channel is 1 to 16 segments"),
                "{stderr}"
            );
        }
    }
}

#[test]
fn a_pattern_cannot_be_published_on() {
    let stderr = fails(&["publish", "flights/*", "x"], 2);
    assert!(stderr.contains("pattern"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
}

#[test]
fn a_bad_server_is_told_how_to_write_it() {
    for server in ["localhost:8000", "ftp://h", "http://h/?x=1"] {
        let stderr = fails(&["listen", "a", "--server", server], 2);
        assert!(
            stderr.contains("hint: write it as http://127.0.0.1:8000"),
            "{stderr}"
        );
    }
}

#[test]
fn a_server_without_its_scheme_is_told_what_is_missing() {
    for server in ["127.0.0.1:8000", "localhost:8000", "push.example"] {
        let stderr = fails(&["publish", "a", "b", "--server", server], 2);
        assert!(stderr.contains("because: http:// is missing"), "{stderr}");
    }
}

#[test]
fn a_server_is_not_a_channels_url() {
    for server in ["http://h/channels", "http://h/channels/a"] {
        let stderr = fails(&["publish", "a", "b", "--server", server], 2);
        assert!(stderr.contains("hint: leave /channels"), "{stderr}");
    }
}

#[test]
fn a_password_is_not_repeated() {
    for server in ["http://u:secret@h", "u:secret@h", "http://u:secret@h:x"] {
        let stderr = fails(&["publish", "a", "b", "--server", server], 2);
        assert!(stderr.contains("***@h"), "{stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    }
}

#[test]
fn each_host_is_named() {
    for host in ["*", "push.example:0"] {
        let stderr = fails(
            &[
                "serve",
                "--memory",
                "--listen",
                "127.0.0.1:0",
                "--allow-host",
                host,
            ],
            2,
        );
        assert!(stderr.contains("name each host"), "{stderr}");
    }
}

#[test]
fn attack_14_a_wrong_number_is_told_which_are_right() {
    let wrong: [(&[&str], &str); 3] = [
        (&["listen", "a", "--count", "0"], "a whole number from 1 on"),
        (&["demo", "--speed", "abc"], "from 1 to 86400"),
        (&["listen", "a", "--interval", "0"], "from 0.05 to 86400"),
    ];
    for (args, told) in wrong {
        let stderr = fails(args, 2);
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[test]
#[cfg(unix)]
fn an_argument_that_is_no_text_is_told_another_way() {
    use std::os::unix::ffi::OsStrExt as _;

    let body = std::ffi::OsStr::from_bytes(b"\xff");
    let output = command(&["publish", "a"]).arg(body).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("standard input"), "{stderr}");
}

#[test]
fn an_input_without_end_is_not_read_to_it() {
    let output = run_with(&["publish", "a", "-"], &vec![b'x'; (64 << 20) + 1]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("longer than 67108864 bytes"), "{stderr}");
    assert!(stderr.contains("\n\nhint: "), "{stderr}");
}

#[test]
fn a_host_that_is_not_known_is_told_so() {
    // RFC 6761: this name is never anybody's.
    for args in [
        ["publish", "a", "b", "--server", "http://nobody.invalid"],
        [
            "listen",
            "a",
            "--via=sse",
            "--server",
            "http://nobody.invalid",
        ],
        [
            "listen",
            "a",
            "--via=ws",
            "--server",
            "http://nobody.invalid",
        ],
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("hint: is the host's name"), "{stderr}");
    }
}

#[test]
fn an_interval_is_for_polling_only() {
    let stderr = fails(&["listen", "a", "--via", "sse", "--interval", "1"], 2);
    assert!(stderr.contains("--via poll"), "{stderr}");
}

#[test]
fn no_server_is_told_with_a_way_out() {
    let server = format!("http://{}", unused_address());
    let mut commands = vec![vec!["publish", "a", "b", "--server", &server]];
    for way in crate::support::WAYS {
        commands.push(vec!["listen", "a", "--server", &server, "--via", way]);
    }
    for args in commands {
        let stderr = fails(&args, 1);
        assert!(stderr.contains("error: "), "{args:?}: {stderr}");
        assert!(stderr.contains("refused"), "{args:?}: {stderr}");
        assert!(
            stderr.contains("\n\nhint: is a server running there? start one with `openline demo`"),
            "{args:?}: {stderr}"
        );
    }
}
