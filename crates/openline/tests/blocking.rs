//! Programs without a runtime, on both ends.

use openline::{CloseCode, Error};
use std::net::TcpListener;
use std::thread;

#[test]
fn two_threads_talk() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut ws = openline::blocking::accept(listener.accept().unwrap().0)?;
        while let Some(message) = ws.next() {
            ws.feed(message?)?;
            ws.flush()?;
        }
        Ok::<_, Error>(ws.closed().unwrap())
    });
    let mut ws = openline::blocking::connect(&url).unwrap();
    for text in ["one", "two"] {
        ws.send(text).unwrap();
        assert_eq!(ws.next().unwrap().unwrap().as_text(), Some(text));
    }
    assert!(ws.traffic().received > 0);
    assert!(ws.close(CloseCode::NORMAL, "").unwrap().clean);
    assert!(ws.next().is_none());
    let closed = server.join().unwrap().unwrap();
    assert!(closed.by_peer && closed.clean);
}
