//! A chat room: everyone hears what anyone says.
//!
//! `cargo run -p openline --example chat -- 127.0.0.1:9001`, then connect with two clients of your choice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use openline::{Broadcast, Error, Receiver, Sender, Server, WebSocket};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What one may be behind the others, in messages.
const MAX_BEHIND: usize = 64;

/// Who is in the room, by number, and where to put what each of them is to hear.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<HashMap<u64, mpsc::Sender<Broadcast>>>>);

impl Room {
    fn enter(&self) -> (u64, mpsc::Receiver<Broadcast>) {
        let (say, hear) = mpsc::channel(MAX_BEHIND);
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = people.keys().max().map_or(1, |last| last + 1);
        people.insert(number, say);
        (number, hear)
    }

    fn leave(&self, number: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }

    /// Says it to all: the message is made once. One who is too far behind misses it, and holds up nobody.
    fn say(&self, text: &str) {
        let news = Broadcast::text(text);
        let people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for person in people.values() {
            let _ = person.try_send(news.clone());
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
    let (sender, receiver) = ws.split();
    let (number, hear) = room.enter();
    room.say(&format!("{number} came in"));
    // Leaving the room ends the writing, too.
    let (result, ()) = tokio::join!(read(&room, number, receiver), write(sender, hear));
    room.say(&format!("{number} left"));
    result
}

async fn read(room: &Room, number: u64, mut receiver: Receiver) -> Result<(), Error> {
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
    result
}

/// Writes what is to be heard, until the visitor leaves. An error ends it; the reader is told of it as well.
async fn write(mut sender: Sender, mut hear: mpsc::Receiver<Broadcast>) {
    while let Some(news) = hear.recv().await {
        if sender.feed(&news).is_err() || sender.flush().await.is_err() {
            return;
        }
    }
}
