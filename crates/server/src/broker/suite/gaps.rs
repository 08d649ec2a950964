//! What is told to whoever comes from before something that was dropped.

use super::*;

pub(crate) async fn a_dropped_publication_is_a_gap(make: Make) {
    let bench = make(small().into(), 10);
    let mut cursors = Vec::new();
    for number in 1..=5 {
        cursors.push(bench.publish("a", &number.to_string()).await);
    }
    let latest = (vec!["5".to_owned()], false);
    assert_eq!(bench.resume("a", cursors[0]).await, latest, "2 was dropped");
    assert_eq!(bench.resume("*", cursors[0]).await, latest);
    let rest: Vec<String> = vec!["3".into(), "4".into(), "5".into()];
    assert_eq!(
        bench.resume("a", cursors[1]).await,
        (rest.clone(), true),
        "it has 2"
    );
    assert_eq!(bench.resume("*", cursors[1]).await, (rest, true));
}

pub(crate) async fn a_removed_channel_is_a_gap(make: Make) {
    let bench = make(small().into(), 10);
    let first = bench.publish("a", "1").await;
    let second = bench.publish("a", "2").await;
    let mut live = bench.subscribe("a", Since::Start).await.live;
    bench.broker.remove(&channel("a")).await.unwrap();
    bench.broker.remove(&channel("never")).await.unwrap();
    assert_eq!(bench.latest("a").await, None);
    assert_eq!(bench.resume("a", first).await, (vec![], false));
    assert_eq!(bench.resume("*", first).await, (vec![], false));
    assert_eq!(bench.resume("a", second).await, (vec![], true));
    let third = bench.publish("a", "3").await;
    assert!(third.offset > second.offset, "an offset is not used twice");
    assert_eq!(bench.resume("a", first).await, (vec!["3".into()], false));
    assert_eq!(bench.resume("a", second).await, (vec!["3".into()], true));
    assert_eq!(next_body(&mut live).await, "3", "subscribers stay");
}

pub(crate) async fn a_gap_elsewhere_is_none_here(make: Make) {
    let bench = make(small().into(), 10);
    let here = bench.publish("quiet/x", "1").await;
    bench.publish("quiet/x", "2").await;
    for number in 0..9 {
        bench.publish("busy/x", &number.to_string()).await;
    }
    assert_eq!(
        bench.resume("quiet/x", here).await,
        (vec!["2".into()], true)
    );
    assert_eq!(
        bench.resume("quiet/*", here).await,
        (vec!["2".into()], true)
    );
    assert!(!bench.resume("*/x", here).await.1);
    assert_eq!(bench.resume("never", here).await, (vec![], true));
}

pub(crate) async fn a_cursor_that_this_log_never_gave_is_a_gap(make: Make) {
    let bench = make(small().into(), 10);
    let end = bench.publish("a", "1").await;
    let beyond = Cursor::after(end.epoch, end.offset + 1);
    let foreign = Cursor::after(crate::cursor::Epoch::random(), end.offset);
    for cursor in [
        beyond,
        foreign,
        Cursor {
            settled: end.offset + 1,
            ..end
        },
    ] {
        assert_eq!(bench.resume("a", cursor).await, (vec!["1".into()], false));
        assert_eq!(bench.resume("empty", cursor).await, (vec![], false));
    }
    let mut unknown = bench.subscribe("a", Since::Unknown).await;
    assert!(!unknown.recovered);
    assert_eq!(missed(&mut unknown).await, ["1"]);
}

pub(crate) async fn forgotten_channels_share_one_floor(make: Make) {
    let bench = make(
        HistoryLimits {
            channels: 2,
            ..HistoryLimits::default()
        }
        .into(),
        10,
    );
    let start = bench.subscribe("**", Since::Start).await.cursor;
    let a = bench.publish("a", "a").await;
    let b = bench.publish("b", "b").await;
    bench.broker.remove(&channel("b")).await.unwrap();
    bench.publish("c", "c").await;
    // The emptied one was forgotten before the older one with a publication.
    assert_eq!(bench.latest("a").await, Some("a".into()));
    assert_eq!(bench.resume("a", start).await, (vec!["a".into()], true));
    assert_eq!(bench.resume("b", a).await, (vec![], false));
    assert_eq!(bench.resume("b", b).await, (vec![], true));
    assert!(
        !bench.resume("never", a).await.1,
        "nobody can tell it from a forgotten one"
    );

    bench.publish("d", "d").await;
    assert_eq!(
        bench.latest("a").await,
        None,
        "the one whose latest was the oldest went"
    );
    assert!(!bench.resume("a", start).await.1);
    // One that comes back has the floor of all that were forgotten.
    bench.publish("b", "again").await;
    assert_eq!(bench.resume("b", a).await, (vec!["again".into()], false));
    assert!(bench.resume("d", b).await.1 || bench.latest("d").await.is_none());
}
