//! `serve --data-dir`: what it keeps, and what it says when it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::post::{Answer, get, look, post};
use crate::support::{self, Running, Server, run, text};

fn dir() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").to_str().unwrap().to_owned();
    (dir, path)
}

fn serve(dir: &str) -> Server {
    Server::start_with(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir])
}

/// Runs `serve` where it cannot start; what it says.
fn refused(dir: &str) -> String {
    let at_once = ["--data-dir-wait", "1ms"];
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dir];
    let output = run(&[&args[..], &at_once].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr).to_owned()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    text(&id.stdout).trim() == "0"
}

#[test]
fn the_directory_is_told_and_is_its_owners_alone() {
    let (_parent, dir) = dir();
    let mut command = support::command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut running = Running::run(command.env("OPENLINE_DATA_DIR", &dir));
    running.line();
    running.says(&format!("publications are kept in {dir}"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&dir).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let memory = Server::start();
    memory.running.says("publications are kept in memory");
}

#[test]
fn a_restart_keeps_what_was_published_its_etag_and_its_cursors() {
    let (_parent, dir) = dir();
    let server = serve(&dir);
    let first = server.publish("a", "1");
    let receipt = post(server.address(), "a", "key", "2").unwrap();
    let before = get(server.address(), "a", "").unwrap();
    assert_eq!((before.status, before.body.as_str()), (200, "2"));
    server.running.signal("TERM");
    assert_eq!(server.running.end().code(), Some(0));

    let server = serve(&dir);
    let address = server.address();
    let after = get(address, "a", "").unwrap();
    assert_eq!(after.body, "2");
    let etag = |head: &str| {
        head.lines()
            .find(|line| line.starts_with("etag: "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(etag(&after.head), etag(&before.head));
    let condition = format!(
        "if-none-match: {}\r\n",
        &etag(&before.head)["etag: ".len()..]
    );
    assert_eq!(get(address, "a", &condition).unwrap().status, 304);
    let page = get(address, &format!("a?since={first}"), "")
        .unwrap()
        .json();
    assert_eq!(
        (&page["recovered"], &page["publications"][0]["data"]),
        (&true.into(), &"2".into())
    );
    assert_eq!(page["publications"].as_array().unwrap().len(), 1);
    // Tried again after the restart: the same answer, and not published again.
    let again = post(address, "a", "key", "2").unwrap();
    assert_eq!((again.status, &again.body), (201, &receipt.body));
    assert_eq!(post(address, "a", "key", "3").unwrap().status, 422);
    assert_eq!(get(address, "a", "").unwrap().body, "2");
}

#[test]
fn a_gap_is_told_after_a_restart_too() {
    let (_parent, dir) = dir();
    let server = serve(&dir);
    let first = server.publish("a", "0");
    for number in 1..=101 {
        post(server.address(), "a", "", &number.to_string()).unwrap();
    }
    server.running.kill();
    let server = serve(&dir);
    let page = get(server.address(), &format!("a?since={first}"), "")
        .unwrap()
        .json();
    assert_eq!(
        (&page["recovered"], &page["publications"][0]["data"]),
        (&false.into(), &"101".into())
    );
    let mut listener = server.listen(&["a", "--via", "ws", "--since", &first]);
    listener.says("GAP");
    assert!(listener.line().contains("\"101\""));
}

#[test]
fn a_log_whose_acknowledged_tail_is_cut_off_says_so_to_everyone() {
    let (_parent, dir) = dir();
    let server = serve(&dir);
    let first = server.publish("a", "1");
    server.publish("a", "2");
    server.running.kill();
    let wal = Path::new(&dir).join("log.db-wal");
    let bytes = fs::read(&wal).unwrap();
    fs::write(&wal, &bytes[..bytes.len() - 100]).unwrap();
    let server = serve(&dir);
    server.running.says("begins a new epoch");
    let page = get(server.address(), &format!("a?since={first}"), "")
        .unwrap()
        .json();
    assert_eq!(
        (&page["recovered"], &page["publications"][0]["data"]),
        (&false.into(), &"1".into())
    );
}

#[test]
fn a_directory_in_use_is_an_error() {
    let (_parent, dir) = dir();
    let _server = serve(&dir);
    let stderr = refused(&dir);
    assert!(
        stderr.contains(&format!(
            "error: {dir} is in use: another server keeps its log there"
        )),
        "{stderr}"
    );
    assert!(stderr.contains("hint: stop the other server"), "{stderr}");
}

#[test]
fn what_is_no_directory_and_what_cannot_be_made_are_errors() {
    let (parent, dir) = dir();
    fs::write(&dir, "a file").unwrap();
    let stderr = refused(&dir);
    assert!(
        stderr.starts_with(&format!("error: {dir} is not a directory")),
        "{stderr}"
    );
    assert!(
        stderr.contains("hint: choose another directory with --data-dir"),
        "{stderr}"
    );
    let below = parent.path().join("data/below");
    let stderr = refused(below.to_str().unwrap());
    assert!(stderr.contains("cannot keep a log in"), "{stderr}");
}

#[test]
fn a_directory_that_takes_no_writes_is_an_error() {
    let (parent, dir) = dir();
    drop(serve(&dir));
    let because = if is_root() {
        // Root may write where the permissions say no; not on a file system that takes no writes.
        let Some(_mount) = Mount::new(parent.path(), "ro") else {
            return;
        };
        let stderr = refused(parent.path().join("data").to_str().unwrap());
        assert!(stderr.contains("cannot keep a log in"), "{stderr}");
        assert!(stderr.contains("ead-only file system"), "{stderr}");
        return;
    } else {
        let mut permissions = fs::metadata(&dir).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o500);
        fs::set_permissions(&dir, permissions).unwrap();
        refused(&dir)
    };
    assert!(because.contains("cannot keep a log in"), "{because}");
    assert!(because.contains("ermission denied"), "{because}");
}

/// Why a publication was refused.
#[derive(Debug)]
struct Problem {
    kind: String,
    detail: String,
    retry_after: u32,
}

impl Problem {
    fn of(answer: &Answer) -> Self {
        let told = answer.json();
        let retry_after = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("retry-after: "));
        Self {
            kind: told["type"].as_str().unwrap().to_owned(),
            detail: told["detail"].as_str().unwrap().to_owned(),
            retry_after: retry_after.unwrap().parse().unwrap(),
        }
    }
}

/// Publishes until it is refused; how many were taken, and the refusal.
fn fill(address: &str, from: usize) -> (usize, Problem) {
    let body = "x".repeat(2000);
    for number in from..from + 20_000 {
        let answer = post(
            address,
            &format!("full/{}", number % 50),
            "",
            &format!("{number} {body}"),
        )
        .unwrap();
        if answer.status != 201 {
            assert_eq!(answer.status, 503);
            return (number, Problem::of(&answer));
        }
    }
    panic!("it was never full");
}

/// What a full disk must not change.
fn still_serves(server: &Server, taken: usize, listener: &mut Running) {
    let address = server.address();
    for number in taken.saturating_sub(50)..taken {
        let latest = get(address, &format!("full/{}", number % 50), "").unwrap();
        assert!(latest.body.starts_with(&format!("{number} ")), "{latest:?}");
    }
    // The listener heard what was taken and nothing that was refused.
    for number in 0..taken {
        let line = listener.line();
        assert!(
            line.contains(&format!("\"data\":\"{number} ")),
            "{number}: {line}"
        );
    }
}

#[test]
fn a_limit_on_files_refuses_publications_and_nothing_else() {
    let (_parent, dir) = dir();
    // In blocks of 512 or 1,024 bytes, by the shell.
    let script = "ulimit -S -f 6000; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_openline")]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir]);
    let server = Server::started(Running::run(&mut command));
    let mut listener = server.listen(&["full/*", "--since", ""]);
    let (taken, problem) = fill(server.address(), 0);
    assert!(taken > 100);
    assert_eq!(problem.kind, "/problems/unavailable");
    assert!(
        problem
            .detail
            .starts_with("the disk that the log lies on failed, or a limit"),
        "{problem:?}"
    );
    assert_eq!(problem.retry_after, 10);
    server.running.says("publications are refused");
    still_serves(&server, taken, &mut listener);

    // With the limit raised it goes on where it stopped.
    limit_files(&server, "unlimited:unlimited");
    assert_eq!(
        post(server.address(), "full/0", "", "after")
            .unwrap()
            .status,
        201
    );
    assert!(listener.line().contains("\"data\":\"after\""));
    server.running.says("publications are taken");
    server.running.kill();
    let server = serve(&dir);
    assert_eq!(get(server.address(), "full/0", "").unwrap().body, "after");
    let missing = (taken - 49..taken).find(|number| {
        let latest = get(server.address(), &format!("full/{}", number % 50), "").unwrap();
        number % 50 != 0 && !latest.body.starts_with(&format!("{number} "))
    });
    assert_eq!(missing, None);
}

/// Limits the size of the files that a server writes.
fn limit_files(server: &Server, limits: &str) {
    let set = Command::new("prlimit")
        .args([
            &format!("--fsize={limits}"),
            "--pid",
            &server.running.id().to_string(),
        ])
        .status();
    assert!(set.unwrap().success());
}

#[test]
fn a_server_whose_log_takes_nothing_is_not_ready_until_it_finds_that_it_does_again() {
    let (_parent, dir) = dir();
    let server = serve(&dir);
    let address = server.address();
    server.publish("a", "1");
    limit_files(&server, "0:unlimited");
    assert_eq!(post(address, "a", "", "2").unwrap().status, 503);
    let ready = look(address, "readyz", "").unwrap();
    assert_eq!(ready.status, 503);
    assert!(
        ready
            .body
            .starts_with("publications are refused: the disk that the log lies on failed"),
        "{ready:?}"
    );
    assert_eq!(get(address, "a", "").unwrap().body, "1");
    // Nobody publishes where nobody is sent: the server learns by itself that it can be done again.
    limit_files(&server, "unlimited:unlimited");
    server.running.says("publications are taken");
    assert_eq!(look(address, "readyz", "").unwrap().status, 200);
    assert_eq!(post(address, "a", "", "2").unwrap().status, 201);
}

#[test]
fn a_full_disk_refuses_publications_until_there_is_space_again() {
    if !is_root() {
        not_run("only root may mount a small disk");
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(parent.path(), "size=6m") else {
        return;
    };
    let ballast = parent.path().join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let dir = parent.path().join("data");
    let server = serve(dir.to_str().unwrap());
    let mut listener = server.listen(&["full/*", "--since", ""]);
    let (taken, problem) = fill(server.address(), 0);
    assert!(taken > 100);
    assert_eq!(
        problem.detail,
        "the disk that the log lies on is full; try again later: what bears an Idempotency-Key is not published twice"
    );
    assert_eq!(problem.retry_after, 10);
    still_serves(&server, taken, &mut listener);
    let (still, _) = fill(server.address(), taken);
    assert_eq!(still, taken);

    fs::remove_file(&ballast).unwrap();
    let answer = post(server.address(), "full/0", "", "after").unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(listener.line().contains("\"data\":\"after\""));
    server.running.kill();
    let server = serve(dir.to_str().unwrap());
    assert_eq!(get(server.address(), "full/0", "").unwrap().body, "after");
}

#[expect(clippy::print_stderr, reason = "a test says so that it was not run")]
fn not_run(why: &str) {
    eprintln!("not run: {why}");
}

/// A small file system in memory, gone when this is dropped.
struct Mount(std::path::PathBuf);

impl Mount {
    /// `None` where the machine lets not even root mount one.
    fn new(at: &Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .status();
        if !mounted.unwrap().success() {
            not_run("this machine lets nobody mount a small disk");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
