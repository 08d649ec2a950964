//! The next process goes on where the last one ended.

use super::*;
use crate::broker::disk::store::Store;

#[tokio::test]
async fn a_restart_keeps_publications_cursors_and_offsets() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    let second = life.publish("b", "2").await;
    let image = Content::new("image/png", Bytes::from_static(b"\x00\xff")).unwrap();
    life.broker
        .append(channel("a"), image.clone(), AppendOptions::default())
        .await
        .unwrap();
    let before = life.broker.latest(&channel("a")).await.unwrap().unwrap();

    let life = life.again(Duration::ZERO).await;
    let after = life.broker.latest(&channel("a")).await.unwrap().unwrap();
    assert_eq!(after.content(), &image);
    assert_eq!(
        (after.cursor(), after.time()),
        (before.cursor(), before.time())
    );
    assert_eq!(life.read("b", start).await, all(["2"], true));
    assert_eq!(life.read("b", second).await, all([], true));
    let next = life.publish("a", "3").await;
    assert_eq!(next.epoch, start.epoch);
    assert!(next.offset > after.offset());
}

#[tokio::test]
async fn a_restart_keeps_the_floors_of_every_kind() {
    let life = Life::begin(small());
    let start = life.publish("bounded", "1").await;
    let kept = life.publish("bounded", "2").await;
    for number in 3..=5 {
        life.publish("bounded", &number.to_string()).await;
    }
    let removed = life.publish("removed", "x").await;
    life.broker.remove(&channel("removed")).await.unwrap();

    // Twice, so that what the first one took out is gone by then.
    let mut life = life;
    for _ in 0..2 {
        life = life.again(Duration::ZERO).await;
        assert_eq!(life.read("bounded", start).await, all(["5"], false));
        assert_eq!(life.read("bounded", kept).await, all(["3", "4", "5"], true));
        assert_eq!(life.read("removed", kept).await, all([], false));
        assert_eq!(life.read("removed", removed).await, all([], true));
        assert_eq!(life.read("never", start).await, all([], true));
    }

    // Four channels are one too many: the emptied one is forgotten, and its floor is everyone's.
    life.publish("c", "c").await;
    life.publish("d", "d").await;
    for _ in 0..2 {
        life = life.again(Duration::ZERO).await;
        assert_eq!(life.read("never", kept).await, all([], false));
        assert_eq!(life.read("never", removed).await, all([], true));
    }
    life.publish("removed", "y").await;
    assert_eq!(life.broker.stats().channels, 3);
}

#[tokio::test]
async fn what_was_removed_stays_removed() {
    let life = Life::begin(small());
    let first = life.publish("a", "1").await;
    life.publish("a", "2").await;
    life.broker.remove(&channel("a")).await.unwrap();
    life.publish("a", "3").await;
    let life = life.again(Duration::ZERO).await.again(Duration::ZERO).await;
    assert_eq!(life.read("a", first).await, all(["3"], false));
    assert_eq!(life.broker.stats().publications, 1);
}

#[tokio::test]
async fn the_end_of_the_log_outlives_all_that_is_in_it() {
    let life = Life::begin(small());
    let last = life.publish("a", "1").await;
    let life = life.again(DAY).await;
    assert_eq!(life.broker.stats().publications, 0);
    let life = life.again(Duration::ZERO).await;
    assert_eq!(life.read("a", last).await, all([], true));
    let next = life.publish("a", "2").await;
    assert!(next.offset > last.offset && next.epoch == last.epoch);
}

#[tokio::test]
async fn an_age_goes_on_while_no_process_runs() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    life.clock.passed.advance(DAY / 4);
    let second = life.publish("a", "2").await;
    let life = life.again(DAY / 2).await;
    assert_eq!(life.read("a", start).await, all(["2"], true));
    life.clock.passed.advance(DAY / 4);
    assert_eq!(
        life.read("a", start).await,
        all(["2"], true),
        "it has the one that is too old"
    );
    life.clock.passed.advance(DAY / 4);
    assert_eq!(life.read("a", start).await, all([], false));
    assert_eq!(life.read("a", second).await, all([], true));
}

#[tokio::test]
async fn a_time_of_day_that_jumps_back_loses_nothing_and_keeps_nothing_for_ever() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    // Two years back while no process runs, and two days back in the midst of one.
    let life = life.again_at(19_270 * DAY).await;
    assert_eq!(life.read("a", start).await, all([], true));
    let second = life.publish("a", "2").await;
    assert!(second.offset > start.offset && second.epoch == start.epoch);
    *life.clock.day.lock().unwrap() -= 2 * DAY;
    life.publish("a", "3").await;
    assert_eq!(life.read("a", start).await, all(["2", "3"], true));
    let life = life.again(DAY - Duration::from_secs(1)).await;
    assert_eq!(life.broker.stats().publications, 3);
    let life = life.again(Duration::from_secs(1)).await;
    assert_eq!(life.broker.stats().publications, 0);
}

#[tokio::test]
async fn a_key_outlives_the_process_and_its_publication() {
    let life = Life::begin(small());
    let first = life.publish_keyed("1", "k").await.unwrap();
    life.broker.remove(&channel("a")).await.unwrap();
    let half = KEY_LIFETIME / 2;
    let life = life.again(half).await;
    assert_eq!(life.publish_keyed("1", "k").await, Ok(first));
    assert_eq!(
        life.publish_keyed("2", "k").await,
        Err(BrokerError::KeyReused)
    );
    let life = life.again(half).await;
    assert_ne!(life.publish_keyed("1", "k").await, Ok(first));
    life.broker.close().await.unwrap();
    let keys: u32 = sql(&life)
        .query_row("SELECT count(*) FROM keys", (), |row| row.get(0))
        .unwrap();
    assert_eq!(keys, 1, "the one that is over is gone from the disk too");
}

#[tokio::test]
async fn what_is_dropped_is_taken_out_of_the_file() {
    let life = Life::begin(small());
    for number in 0..100 {
        life.publish("a", &number.to_string()).await;
    }
    life.broker.close().await.unwrap();
    let rows: u32 = sql(&life)
        .query_row("SELECT count(*) FROM log", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn smaller_limits_are_in_force_at_once() {
    let life = Life::begin(small());
    let start = life.publish("a", "1").await;
    life.publish("a", "2").await;
    life.publish("a", "3").await;
    let mut life = life;
    life.limits.count = 1;
    let life = life.again(Duration::ZERO).await;
    assert_eq!(life.read("a", start).await, all(["3"], false));
}

/// What no test that leaves the power on can show: that the database was told to sync each commit.
#[tokio::test]
async fn each_commit_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join(LOG)).unwrap();
    store.settle().unwrap();
    assert_eq!(store.setting("journal_mode").unwrap(), "wal");
    // 2 is FULL: the log of changes is synced before a commit returns.
    assert_eq!(store.setting("synchronous").unwrap(), "2");
}
