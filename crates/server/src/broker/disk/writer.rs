//! The thread that writes: it takes all that waits, makes one commit of it, and then, in the order
//! of the log, tells the listeners and the publishers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::place::{Mark, Place};
use super::queue::{Job, Kind, Next};
use super::store::{Changes, New, Store, outage};
use super::{Shared, Slot};
use crate::broker::idempotency::Keys;
use crate::broker::log::{Dropped, in_steps};
use crate::broker::{Appended, BrokerError, Idempotency, Outage};
use crate::channel::Channel;
use crate::cursor::Cursor;
use crate::publication::{Content, Publication};
use crate::sync::lock;

/// Dropped publications that are taken out in one commit at most.
const MAX_GONE: usize = 4096;
/// How soon what was dropped is taken out, and what failed tried again, if nothing is published
/// meanwhile.
const TIDY: Duration = Duration::from_secs(1);
/// How often what became too old is looked for, if nothing else is to be done.
const LOOK: Duration = Duration::from_secs(30);

/// All that the thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) mark: Mark,
    pub(super) keys: Keys,
    /// The offset of the next publication. One whose commit failed is not used again: nobody can
    /// tell whether it got to the disk.
    pub(super) next: u64,
    /// What was dropped and still lies in the store.
    pub(super) dropped: VecDeque<Dropped>,
    /// Held until the end.
    pub(super) place: Place,
}

/// One publication that waits for its commit.
struct Append {
    channel: Channel,
    content: Content,
    idempotency: Option<Idempotency>,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Appended, BrokerError>>;

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            let patience = if self.is_tidy() { LOOK } else { TIDY };
            match self.shared.queue.next(patience) {
                Next::Work(jobs) => {
                    self.work(jobs);
                    self.collect();
                }
                Next::Idle => {
                    self.collect();
                    // What fails is tried again, and those who publish are told.
                    while self.shared.queue.is_empty() && self.tidy() {}
                }
                Next::Over => break,
            }
        }
        while self.tidy() {}
        // The last connection that is closed leaves one file, whole and synced.
        self.shared.readers.close();
        drop(self.store);
        drop(self.place);
    }

    fn work(&mut self, jobs: Vec<Job>) {
        let mut appends = Vec::new();
        for job in jobs {
            let channel = job.channel;
            match job.kind {
                Kind::Append {
                    content,
                    idempotency,
                    answer,
                } => appends.push(Append {
                    channel,
                    content,
                    idempotency,
                    answer,
                }),
                Kind::Remove { answer } => {
                    self.append(std::mem::take(&mut appends));
                    // Whoever does not wait for the answer any more is not told.
                    let _ = answer.send(self.remove(channel).map_err(Into::into));
                }
            }
        }
        self.append(appends);
    }

    /// Appends all of them in one commit.
    fn append(&mut self, appends: Vec<Append>) {
        let first = self.next;
        let (new, answers) = self.place(appends);
        let keyed = new.iter().filter(|new| new.idempotency.is_some()).count();
        let written = if new.is_empty() {
            Ok(())
        } else {
            let changes = self.changes(new);
            let written = self.commit(&changes);
            if written.is_ok() {
                self.show(&changes.new);
            } else {
                (0..keyed).for_each(|_| self.keys.take_back());
            }
            written
        };
        for (answer, told) in answers {
            let told = match (written, told) {
                // An earlier one's answer, which was written then.
                (Err(_), Ok(appended)) if appended.cursor.offset < first => Ok(appended),
                (Err(outage), _) => Err(outage.into()),
                (Ok(()), told) => told,
            };
            let _ = answer.send(told);
        }
    }

    /// Gives each publication its place, and each publisher the answer for when it is written.
    #[expect(clippy::type_complexity, reason = "two lists, taken apart at once")]
    fn place(
        &mut self,
        appends: Vec<Append>,
    ) -> (Vec<New>, Vec<(Answer, Result<Appended, BrokerError>)>) {
        let shared = Arc::clone(&self.shared);
        let (now, time) = (shared.now(), shared.clock.now());
        let state = shared.state();
        let mut last_of = HashMap::<Channel, u64>::new();
        let mut new = Vec::with_capacity(appends.len());
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            let asked = append.idempotency;
            match asked.as_ref().map(|asked| self.keys.look(now, asked)) {
                Some(Ok(Some(appended))) => {
                    answers.push((append.answer, Ok(appended)));
                    continue;
                }
                Some(Err(error)) => {
                    answers.push((append.answer, Err(error)));
                    continue;
                }
                Some(Ok(None)) | None => {}
            }
            let cursor = Cursor::after(state.log.epoch(), self.next);
            self.next += 1;
            let channel = append.channel;
            let before = last_of.insert(channel.clone(), cursor.offset);
            let prev = before.unwrap_or_else(|| state.log.last_of(&channel));
            let publication = Publication::new(channel, cursor, time, append.content);
            let appended = Appended {
                cursor,
                time: publication.time(),
            };
            if let Some(asked) = &asked {
                self.keys.remember(now, asked, appended);
            }
            new.push(New {
                publication: Arc::new(publication),
                prev,
                idempotency: asked,
            });
            answers.push((append.answer, Ok(appended)));
        }
        (new, answers)
    }

    /// Shows what was written: in the log, then to those who listen.
    fn show(&self, new: &[New]) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        for New { publication, .. } in new {
            let slot = Slot::of(publication);
            state.log.push(publication.channel().clone(), slot, now);
            state.recent.push(Arc::clone(publication));
        }
        // The hub is taken before the log is let go, as in memory.
        let mut hub = self.shared.hub.lock();
        drop(state);
        for New { publication, .. } in new {
            hub.publish(publication);
        }
    }

    /// Drops a channel's history: its floor is written first, and from then on nothing up to it
    /// counts, however long it still lies there.
    fn remove(&mut self, channel: Channel) -> Result<(), Outage> {
        let latest = self.shared.state().log.latest(&channel);
        if let Some(latest) = latest {
            let mut changes = self.changes(Vec::new());
            changes.floors.push((channel.clone(), latest.offset));
            self.commit(&changes)?;
            in_steps(|| lock(&self.shared.state).log.remove(&channel, latest.offset));
        }
        Ok(())
    }

    /// Whether nothing is left to be done when nothing is published. After a write that failed
    /// something is: to learn when it can be done again, since nobody may publish until that is told.
    fn is_tidy(&self) -> bool {
        self.dropped.is_empty() && self.shared.outage().is_none()
    }

    /// Takes out a piece of what was dropped; whether it did.
    fn tidy(&mut self) -> bool {
        if self.is_tidy() {
            return false;
        }
        let changes = self.changes(Vec::new());
        self.commit(&changes).is_ok()
    }

    /// Learns what was dropped since the last time.
    fn collect(&mut self) {
        let drops = self.shared.state().log.take_drops();
        self.dropped.extend(drops);
        self.keys.expire(self.shared.now());
    }

    /// `new`, and what is to be written along with it.
    fn changes(&self, new: Vec<New>) -> Changes {
        let state = self.shared.state();
        let mut changes = Changes {
            forgotten: state.log.forgotten(),
            last: new
                .last()
                .map_or(state.log.last(), |new| new.publication.offset()),
            keys_gone: self.keys.forgotten(),
            new,
            ..Changes::default()
        };
        for Dropped { channel, offset } in self.dropped.iter().take(MAX_GONE) {
            match offset {
                Some(offset) => {
                    changes.gone.push(*offset);
                    let floor = state.log.floor_of_emptied(channel);
                    changes
                        .floors
                        .extend(floor.map(|floor| (channel.clone(), floor)));
                }
                // All its publications came before this in the list.
                None if !state.log.knows(channel) => changes.forget.push(channel.clone()),
                None => {}
            }
        }
        changes
    }

    /// Writes it all; on success it is on the disk, and the mark says so.
    fn commit(&mut self, changes: &Changes) -> Result<(), Outage> {
        match self.store.commit(changes) {
            Ok(()) => {
                if let Err(error) = self.mark.set(changes.last) {
                    tracing::warn!(%error, "cannot write the mark of the log's end");
                }
                self.dropped.drain(..self.dropped.len().min(MAX_GONE));
                self.shared.report(None);
                Ok(())
            }
            Err(error) => {
                let outage = outage(&error);
                self.shared.report(Some((outage, &error)));
                Err(outage)
            }
        }
    }
}
