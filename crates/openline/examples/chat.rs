//! A chat room: everyone hears what anyone says.
//!
//! `cargo run -p openline --example chat -- 127.0.0.1:9001`, then connect with two clients of your choice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use openline::{Error, Frame, Sender, Server, WebSocket};
use tokio::net::TcpListener;

/// Who is in the room, by number.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<HashMap<u64, Sender>>>);

impl Room {
    fn enter(&self, sender: Sender) -> u64 {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = people.keys().max().map_or(1, |last| last + 1);
        people.insert(number, sender);
        number
    }

    fn leave(&self, number: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }

    /// Says it to all: the frame is made once. One who reads too slowly misses it, and holds up nobody.
    fn say(&self, text: &str) {
        let frame = Frame::text(text);
        let people: Vec<Sender> = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        for mut person in people {
            if person.feed_frame(&frame).is_ok() {
                tokio::spawn(async move { person.flush().await });
            }
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address).await?;
    let room = Room::default();
    let ctrl_c = async { _ = tokio::signal::ctrl_c().await };
    Server::default()
        .run(listener, ctrl_c, move |ws, _| visit(room.clone(), ws))
        .await;
    Ok(())
}

async fn visit(room: Room, ws: WebSocket) -> Result<(), Error> {
    let (sender, mut receiver) = ws.split();
    let number = room.enter(sender);
    room.say(&format!("{number} came in"));
    let mut result = Ok(());
    while let Some(message) = receiver.next().await {
        match message {
            Ok(message) => {
                let text = message.as_text().unwrap_or("(binary)");
                room.say(&format!("{number}: {text}"));
            }
            Err(error) => result = Err(error),
        }
    }
    room.leave(number);
    room.say(&format!("{number} left"));
    result
}
