//! Reading: what the books name is looked for in memory, and else read from the disk on a thread
//! that may wait.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::Semaphore;

use super::rows::Reader;
use super::store::outage;
use super::{Shared, Slot, State};
use crate::broker::log::cut;
use crate::broker::{MissedPage, Outage, Pages, Since};
use crate::channel::{Channel, Filter};
use crate::cursor::Cursor;
use crate::hub::{Lagged, Live};
use crate::publication::Publication;
use crate::sync::lock;

/// Connections that read at the same time; who comes then waits for one.
const READERS: usize = 4;
/// Most of a page that a subscriber takes from the disk.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 256 << 10;
/// Bytes of the largest answer to one question.
const MAX_BYTES: usize = 1 << 20;

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    places: Arc<Semaphore>,
    /// Those that nobody uses; `None` when the log is closed.
    idle: Mutex<Option<Vec<Reader>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            places: Arc::new(Semaphore::new(READERS)),
            idle: Mutex::new(Some(Vec::new())),
        }
    }

    /// Closes all, and gives none out any more.
    pub(super) fn close(&self) {
        self.places.close();
        *lock(&self.idle) = None;
    }

    fn take(&self) -> Result<Reader, Outage> {
        let mut idle = lock(&self.idle);
        let reader = idle.as_mut().ok_or(Outage::Closed)?.pop();
        drop(idle);
        match reader {
            Some(reader) => Ok(reader),
            None => Reader::open(&self.path).map_err(|error| outage(&error)),
        }
    }

    fn give(&self, reader: Reader) {
        let mut idle = lock(&self.idle);
        if let Some(idle) = idle.as_mut() {
            idle.push(reader);
        }
    }
}

/// What is asked of the log.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Latest(Channel),
    Read(Filter, Since, usize),
    Subscribe(Filter, Since),
    /// What a subscriber missed, from a place on and up to an offset.
    Missed(Filter, Cursor, u64),
}

/// What the books say to it.
struct Found {
    slots: Vec<Slot>,
    cursor: Cursor,
    recovered: bool,
    next: Option<(Cursor, u64)>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) publications: Vec<Arc<Publication>>,
    pub(super) cursor: Cursor,
    pub(super) recovered: bool,
    /// Where the next page of what was missed begins, and where the last one ends.
    next: Option<(Cursor, u64)>,
    /// For a subscriber.
    pub(super) live: Option<Live>,
}

impl Answer {
    /// The pages after this one.
    pub(super) fn rest(&self, shared: &Arc<Shared>, filter: &Filter) -> Option<Box<dyn Pages>> {
        let (from, end) = self.next?;
        Some(Box::new(Rest {
            shared: Arc::clone(shared),
            filter: filter.clone(),
            from,
            end,
        }))
    }
}

impl Question {
    fn answered_by(&self, state: &State) -> Found {
        let log = &state.log;
        let whole = |slots| Found {
            slots,
            cursor: Cursor::after(log.epoch(), log.last()),
            recovered: true,
            next: None,
        };
        match self {
            Self::Latest(channel) => whole(log.latest(channel).into_iter().collect()),
            Self::Read(filter, since, limit) => {
                let found = log.read(filter, *since, *limit, MAX_BYTES);
                Found {
                    slots: found.entries,
                    cursor: found.cursor,
                    recovered: found.recovered,
                    next: None,
                }
            }
            Self::Subscribe(filter, since) => {
                let (cursor, from, recovered) = log.begin(filter, *since);
                Found {
                    cursor,
                    recovered,
                    ..page(state, filter, from, log.last())
                }
            }
            Self::Missed(filter, from, end) => Found {
                recovered: log.honours(filter, Since::Cursor(*from)),
                ..page(state, filter, *from, *end)
            },
        }
    }

    fn filter_of_subscriber(&self) -> Option<&Filter> {
        match self {
            Self::Subscribe(filter, _) => Some(filter),
            _ => None,
        }
    }
}

/// The first page of what comes after `from`, up to the offset `end`.
fn page(state: &State, filter: &Filter, from: Cursor, end: u64) -> Found {
    let mut slots = state.log.after(filter, from, PAGE + 1);
    slots.retain(|slot| slot.offset <= end);
    let more = cut(&mut slots, PAGE, PAGE_BYTES);
    let next = slots.last().filter(|_| more).map(|last| Cursor {
        epoch: from.epoch,
        offset: last.offset,
        settled: from.settled.max(last.offset),
    });
    Found {
        slots,
        cursor: from,
        recovered: true,
        next: next.map(|next| (next, end)),
    }
}

/// Answers `question`, from memory if all that it takes is there.
pub(super) async fn ask(shared: &Arc<Shared>, question: Question) -> Result<Answer, Outage> {
    if let Some(answer) = ask_memory(shared, &question) {
        return Ok(answer);
    }
    let places = Arc::clone(&shared.readers.places);
    let place = places.acquire_owned().await.map_err(|_| Outage::Closed)?;
    let shared = Arc::clone(shared);
    let answer = tokio::task::spawn_blocking(move || {
        let answer = ask_disk(&shared, &question);
        drop(place);
        answer
    });
    answer.await.map_err(|_| Outage::Failing)?
}

fn ask_memory(shared: &Shared, question: &Question) -> Option<Answer> {
    let state = shared.state();
    let found = question.answered_by(&state);
    let publications = found.slots.iter();
    let publications = publications.map(|slot| state.recent.get(slot.offset));
    let publications = publications.collect::<Option<Vec<_>>>()?;
    Some(found.with(publications, live(shared, question)))
}

fn ask_disk(shared: &Shared, question: &Question) -> Result<Answer, Outage> {
    let mut reader = shared.readers.take()?;
    // All that the books name now is in a snapshot that begins while they are held.
    let state = shared.state();
    let snapshot = reader.snapshot()?;
    let found = question.answered_by(&state);
    let epoch = state.log.epoch();
    let recent: Vec<_> = found
        .slots
        .iter()
        .map(|slot| state.recent.get(slot.offset))
        .collect();
    let live = live(shared, question);
    drop(state);
    let publications = found
        .slots
        .iter()
        .zip(recent)
        .map(|(slot, recent)| recent.map_or_else(|| snapshot.get(slot.offset, epoch), Ok))
        .collect::<Result<_, _>>()?;
    drop(snapshot);
    shared.readers.give(reader);
    Ok(found.with(publications, live))
}

/// Joins a subscriber to what is published from now on; the books are held meanwhile.
fn live(shared: &Shared, question: &Question) -> Option<Live> {
    let filter = question.filter_of_subscriber()?;
    Some(shared.hub.lock().subscribe(filter))
}

impl Found {
    fn with(self, publications: Vec<Arc<Publication>>, live: Option<Live>) -> Answer {
        Answer {
            publications,
            cursor: self.cursor,
            recovered: self.recovered,
            next: self.next,
            live,
        }
    }
}

/// What a subscriber missed and has not taken yet.
#[derive(Debug)]
struct Rest {
    shared: Arc<Shared>,
    filter: Filter,
    from: Cursor,
    end: u64,
}

impl Pages for Rest {
    fn next_page(&mut self) -> BoxFuture<'_, Result<MissedPage, Lagged>> {
        async move {
            let question = Question::Missed(self.filter.clone(), self.from, self.end);
            match ask(&self.shared, question).await {
                Ok(answer) if answer.recovered => {
                    if let Some((next, _)) = answer.next {
                        self.from = next;
                    }
                    Ok(MissedPage {
                        publications: answer.publications,
                        more: answer.next.is_some(),
                    })
                }
                _ => Err(Lagged),
            }
        }
        .boxed()
    }
}
