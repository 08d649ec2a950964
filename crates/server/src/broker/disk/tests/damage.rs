//! Directories and files that are not as they were left.

use super::*;

#[tokio::test]
async fn a_directory_has_one_server() {
    let life = Life::begin(small());
    let refused = open(life.dir.path(), &small(), &life.clock).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(life.dir.path().to_str().unwrap())
    );
    drop(life.broker);
    open(life.dir.path(), &small(), &life.clock).unwrap();
}

#[tokio::test]
async fn what_is_no_log_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let clock = DayClock::at(DAY);
    let file = dir.path().join("file");
    fs::write(&file, "hello").unwrap();
    assert!(matches!(
        open(&file, &small(), &clock),
        Err(OpenError::NotDirectory { .. })
    ));
    assert!(matches!(
        open(&file.join("below"), &small(), &clock),
        Err(OpenError::Directory { .. })
    ));

    let log = dir.path().join(LOG);
    fs::write(&log, "hello, this is no database; it is a text").unwrap();
    let refused = open(dir.path(), &small(), &clock).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(
        fs::read(&log).unwrap(),
        b"hello, this is no database; it is a text"
    );

    fs::remove_file(&log).unwrap();
    let other = rusqlite::Connection::open(&log).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    assert!(matches!(
        open(dir.path(), &small(), &clock),
        Err(OpenError::Foreign { .. })
    ));
}

#[tokio::test]
async fn a_newer_form_is_refused_and_left_as_it_is() {
    let life = Life::begin(small());
    life.publish("a", "1").await;
    life.broker.close().await.unwrap();
    sql(&life).pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(life.dir.path().join(LOG)).unwrap();
    let refused = open(life.dir.path(), &small(), &life.clock).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::Newer {
                found: 7,
                known: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(fs::read(life.dir.path().join(LOG)).unwrap(), before);
}

/// Copies the files of a log, as they are now.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[tokio::test]
async fn a_copy_begins_a_new_epoch_and_uses_no_offset_again() {
    let life = Life::begin(small());
    let first = life.publish("a", "1").await;
    let backup = tempfile::tempdir().unwrap();
    let path = backup.path().join(LOG);
    // As docs/storage.md says, while the server runs.
    sql(&life)
        .execute("VACUUM INTO ?1", (path.to_str().unwrap(),))
        .unwrap();
    let lost = life.publish("a", "2").await;

    let broker = open(backup.path(), &small(), &life.clock).unwrap();
    assert_eq!(read(&broker, "a", Since::Start).await, all(["1"], true));
    for cursor in [first, lost] {
        let gap = read(&broker, "a", Since::Cursor(cursor)).await;
        assert_eq!(gap, all(["1"], false));
    }
    drop(broker);

    // All files, while nobody writes: elsewhere, and put back over those that are there.
    life.broker.close().await.unwrap();
    let there = life.dir.path();
    let files = [LOG, "mark", "identity"].map(|name| (name, fs::read(there.join(name)).unwrap()));
    let elsewhere = copy(there);
    for dir in [elsewhere.path(), there] {
        for (name, bytes) in &files {
            fs::write(dir.join(name), bytes).unwrap();
        }
        let broker = open(dir, &small(), &life.clock).unwrap();
        let gap = read(&broker, "a", Since::Cursor(first)).await;
        assert_eq!(gap, all(["2"], false), "{dir:?}");
        let next = broker
            .append(channel("a"), content("3"), AppendOptions::default())
            .await
            .unwrap();
        assert!(next.cursor.offset > lost.offset);
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_log_put_back_alone_begins_a_new_epoch() {
    let life = Life::begin(small());
    let first = life.publish("a", "1").await;
    let life = life.again(Duration::ZERO).await;
    let old = fs::read(life.dir.path().join(LOG)).unwrap();
    let life = life.again(Duration::ZERO).await;
    let lost = life.publish("a", "2").await;
    life.broker.close().await.unwrap();
    // Into the same file, so that only what it lacks tells.
    fs::write(life.dir.path().join(LOG), old).unwrap();
    let broker = open(life.dir.path(), &small(), &life.clock).unwrap();
    assert_eq!(
        read(&broker, "a", Since::Cursor(first)).await,
        all(["1"], false)
    );
    let next = broker
        .append(channel("a"), content("3"), AppendOptions::default())
        .await
        .unwrap();
    assert!(next.cursor.offset > lost.offset && next.cursor.epoch != lost.epoch);
}

#[tokio::test]
async fn a_log_that_is_cut_or_garbled_anywhere_is_a_whole_beginning_or_refused() {
    let life = Life::begin(HistoryLimits::default());
    for number in 0..60 {
        life.publish("a", &format!("{number} {}", "x".repeat(100)))
            .await;
    }
    let life = life.again(Duration::ZERO).await;
    // Half of it in the file, half of it in the tail that is not yet part of it.
    for number in 60..90 {
        life.publish("a", &format!("{number} {}", "x".repeat(100)))
            .await;
    }
    let wal = format!("{LOG}-wal");
    let (mut whole, mut cut, mut refused) = (0, 0, 0);
    for name in [LOG, &wal] {
        let bytes = fs::read(life.dir.path().join(name)).unwrap();
        for step in 0..30 {
            let at = step * bytes.len() / 30 + step;
            for garble in [false, true] {
                let copy = copy(life.dir.path());
                let mut bytes = bytes.clone();
                if garble {
                    let end = bytes.len().min(at + 16);
                    bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
                } else {
                    bytes.truncate(at);
                }
                fs::write(copy.path().join(name), bytes).unwrap();
                let broker = match open(copy.path(), &HistoryLimits::default(), &life.clock) {
                    Ok(broker) => broker,
                    Err(
                        OpenError::Damaged { .. }
                        | OpenError::Foreign { .. }
                        | OpenError::Newer { .. },
                    ) => {
                        refused += 1;
                        continue;
                    }
                    Err(error) => panic!("{name} at {at}: {error:?}"),
                };
                let start = Cursor::after(broker.shared.state().log.epoch(), 0);
                let (got, recovered) = read(&broker, "a", Since::Cursor(start)).await;
                assert!(recovered);
                for (number, text) in got.iter().enumerate() {
                    assert_eq!(
                        *text,
                        format!("{number} {}", "x".repeat(100)),
                        "{name} at {at}"
                    );
                }
                if got.len() == 90 {
                    whole += 1;
                } else {
                    cut += 1;
                }
            }
        }
    }
    assert!(
        whole > 0 && cut > 0 && refused > 0,
        "{whole} {cut} {refused}"
    );
}
