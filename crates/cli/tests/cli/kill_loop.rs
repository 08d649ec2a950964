//! A server that is killed again and again while clients publish and listen.

use std::thread;
use std::time::Duration;

use crate::post::post;
use crate::support::{Running, Server};
use crate::traffic::Traffic;

/// How often the server is killed: `ci/kill-loop.sh` says more.
fn kills() -> u64 {
    let kills = std::env::var("OPENLINE_KILLS").ok();
    kills.map_or(5, |kills| {
        kills.parse().expect("OPENLINE_KILLS is no number")
    })
}

/// Publishes to a server that may be dead, or die in the midst of it: then nobody knows whether it was taken.
fn publish(address: &str, channel: &str, key: &str, body: &str) -> String {
    loop {
        match post(address, channel, key, body) {
            Ok(answer) if answer.status == 201 => {
                return answer.json()["cursor"].as_str().unwrap().to_owned();
            }
            // The first try is still under way, or the server is going down.
            Ok(answer) => assert!([409, 503].contains(&answer.status), "{answer:?}"),
            // It is tried again until a new one listens.
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(address: &str, dir: &str) -> Server {
    Server::start_with(&["serve", "--listen", address, "--data-dir", dir])
}

#[test]
fn nothing_that_was_acknowledged_is_lost_or_doubled_or_out_of_order_however_often_the_server_is_killed()
 {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let mut server = serve("127.0.0.1:0", dir);
    let address = server.address().to_owned();
    let traffic = Traffic::begin(&server, |_| Box::new(publish));
    for kill in 0..kills() {
        // Each time at another moment: of a commit, of a checkpoint, of the start itself.
        traffic.go_on(20 + kill * 37 % 120);
        server.running.kill();
        if kill % 4 == 3 {
            Running::start(&["serve", "--listen", &address, "--data-dir", dir]).kill();
        }
        server = serve(&address, dir);
    }
    traffic.end();
    server.running.signal("TERM");
    assert_eq!(server.running.end().code(), Some(0));
}
