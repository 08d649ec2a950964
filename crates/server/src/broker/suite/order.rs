//! One order, and nothing lost between what was missed and what comes.

use super::*;

pub(crate) async fn offsets_grow_and_the_latest_is_the_last(make: Make) {
    let bench = make(small().into(), 10);
    assert_eq!(bench.latest("a").await, None);
    let mut last = 0;
    for name in ["a", "b", "a", "a", "b"] {
        let cursor = bench.publish(name, &format!("{name} {last}")).await;
        assert!(cursor.offset > last);
        assert_eq!(bench.latest(name).await, Some(format!("{name} {last}")));
        last = cursor.offset;
    }
}

pub(crate) async fn what_is_read_is_what_was_published(make: Make) {
    let bench = make(small().into(), 10);
    let sent = Content::new("image/png", Bytes::from_static(b"\x00\xff\r\n")).unwrap();
    let appended = bench
        .broker
        .append(channel("a/b"), sent.clone(), AppendOptions::default())
        .await
        .unwrap();
    let latest = bench.broker.latest(&channel("a/b")).await.unwrap().unwrap();
    assert_eq!(latest.content(), &sent);
    assert_eq!(latest.channel(), &channel("a/b"));
    assert_eq!(latest.cursor(), appended.cursor);
    assert_eq!(latest.time(), appended.time);
}

pub(crate) async fn a_start_is_the_latest_then_what_comes(make: Make) {
    let bench = make(small().into(), 10);
    let mut empty = bench.subscribe("a", Since::Start).await;
    assert!(empty.recovered && empty.missed.is_empty());
    bench.publish("a", "1").await;
    let second = bench.publish("a", "2").await;
    assert_eq!(next_body(&mut empty.live).await, "1");

    let mut started = bench.subscribe("a", Since::Start).await;
    assert!(started.recovered);
    assert_eq!(missed(&mut started).await, ["2"]);
    bench.publish("a", "3").await;
    assert_eq!(next_body(&mut started.live).await, "3");

    // From the places that both began at, nothing was lost.
    assert_eq!(
        bench.resume("a", empty.cursor).await,
        (vec!["1".into(), "2".into(), "3".into()], true)
    );
    assert_eq!(
        bench.resume("a", started.cursor).await,
        (vec!["2".into(), "3".into()], true)
    );
    assert_eq!(bench.resume("a", second).await, (vec!["3".into()], true));
}

pub(crate) async fn a_resume_is_exactly_what_was_missed(make: Make) {
    let bench = make(small().into(), 10);
    let first = bench.publish("a", "1").await;
    bench.publish("other", "x").await;
    let second = bench.publish("a", "2").await;
    bench.publish("a", "3").await;
    assert_eq!(
        bench.resume("a", first).await,
        (vec!["2".into(), "3".into()], true)
    );
    assert_eq!(bench.resume("a", second).await, (vec!["3".into()], true));
    let mut resumed = bench.subscribe("a", Since::Cursor(first)).await;
    assert_eq!(resumed.cursor, first);
    bench.publish("a", "4").await;
    bench.publish("other", "y").await;
    bench.publish("a", "5").await;
    assert_eq!(next_body(&mut resumed.live).await, "4");
    assert_eq!(next_body(&mut resumed.live).await, "5");
    assert!(resumed.live.try_next().unwrap().is_none());
}

pub(crate) async fn a_pattern_has_one_cursor_for_many_channels(make: Make) {
    let bench = make(small().into(), 10);
    bench.publish("f/a", "a1").await;
    bench.publish("f/b", "b1").await;
    let here = bench.publish("f/a", "a2").await;
    bench.publish("g", "no").await;
    bench.publish("f/c/d", "deep").await;
    bench.publish("f/b", "b2").await;

    assert_eq!(bench.resume("f/*", here).await, (vec!["b2".into()], true));
    assert_eq!(
        bench.resume("f/**", here).await,
        (vec!["deep".into(), "b2".into()], true)
    );
    assert_eq!(
        missed(&mut bench.subscribe("f/**", Since::Start).await).await,
        ["a2", "deep", "b2"]
    );
    let mut live = bench.subscribe("f/*", Since::Start).await.live;
    bench.publish("f/c/d", "deep2").await;
    bench.publish("f/new", "n").await;
    assert_eq!(next_body(&mut live).await, "n");
}

pub(crate) async fn a_page_never_skips(make: Make) {
    let bench = make(HistoryLimits::default().into(), 10);
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let mut wanted = Vec::new();
    for number in 0..25 {
        bench.publish("a", &number.to_string()).await;
        bench.publish("b", "no").await;
        wanted.push(number.to_string());
    }
    for filter in ["a", "*"] {
        let (mut got, mut cursor) = (Vec::new(), start);
        loop {
            let (page, next, recovered) = bench.read(filter, Since::Cursor(cursor), 7).await;
            assert!(recovered && page.len() <= 7);
            if page.is_empty() {
                break;
            }
            got.extend(page.into_iter().filter(|body| body != "no"));
            cursor = next;
        }
        assert_eq!(got, wanted, "{filter}");
    }
}

pub(crate) async fn the_latest_of_many_channels_can_be_taken_in_pages(make: Make) {
    let bench = make(small().into(), 10);
    for number in 0..10 {
        bench
            .publish(&format!("quiet/{number}"), &format!("q{number}"))
            .await;
    }
    // Its floor is above all the quiet ones.
    for number in 0..9 {
        bench.publish("busy/0", &format!("b{number}")).await;
    }
    for (since, first) in [(Since::Start, true), (Since::Unknown, false)] {
        let (mut got, mut cursor, recovered) = bench.read("**", since, 4).await;
        assert_eq!(recovered, first);
        bench.publish("quiet/0", "later").await;
        loop {
            let (page, next, recovered) = bench.read("**", Since::Cursor(cursor), 4).await;
            assert!(recovered, "the next page of a snapshot is no gap");
            cursor = next;
            if page.is_empty() {
                break;
            }
            got.extend(page);
        }
        assert_eq!(got.len(), 12, "{got:?}");
        assert_eq!(got[10..], ["b8", "later"]);
        bench.publish("quiet/0", "q0").await;
        bench.publish("busy/0", "b8").await;
        // The second round begins with all channels as it was told, in the order of the offsets.
        for number in 0..10 {
            bench
                .publish(&format!("quiet/{number}"), &format!("q{number}"))
                .await;
        }
        bench.publish("busy/0", "b8").await;
    }
}

pub(crate) async fn thousands_missed_come_in_order(make: Make) {
    let limits = HistoryLimits {
        count: 10_000,
        bytes: 64 << 20,
        ..HistoryLimits::default()
    };
    let bench = make(limits.into(), 10);
    let start = bench.subscribe("a", Since::Start).await.cursor;
    for number in 0..5000 {
        bench.publish("a", &number.to_string()).await;
    }
    let mut one = bench.subscribe("a", Since::Cursor(start)).await;
    let mut two = bench.subscribe("*", Since::Cursor(start)).await;
    assert!(one.recovered && two.recovered);
    let wanted: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    assert_eq!(missed(&mut one).await, wanted);
    assert_eq!(missed(&mut two).await, wanted);
}

pub(crate) async fn joining_history_and_live_has_no_hole_and_no_double(make: Make) {
    const EACH: usize = 200;
    let limits = HistoryLimits {
        count: 10_000,
        ..HistoryLimits::default()
    };
    let bench = make(limits.into(), 10);
    let broker = &bench.broker;
    let start = bench.subscribe("**", Since::Start).await.cursor;
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let broker = Arc::clone(broker);
            tokio::spawn(async move {
                for number in 0..EACH {
                    publish(&*broker, &format!("p/{publisher}"), &number.to_string()).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let subscribers: Vec<_> = (0..16)
        .map(|subscriber| {
            let broker = Arc::clone(broker);
            tokio::spawn(async move {
                for _ in 0..subscriber * 5 {
                    tokio::task::yield_now().await;
                }
                let filter: Filter = "p/*".parse().unwrap();
                let mut subscription = broker
                    .subscribe(&filter, Since::Cursor(start))
                    .await
                    .unwrap();
                assert!(subscription.recovered);
                let mut seen: Vec<(u64, String)> = Vec::new();
                let mut note = |publication: &Publication| {
                    seen.push((
                        publication.offset(),
                        format!("{} {}", publication.channel(), body(publication)),
                    ));
                };
                let mut count = 0;
                while let Some(publication) = subscription.missed.next().await.unwrap() {
                    note(&publication);
                    count += 1;
                }
                let mut live = subscription.live;
                for _ in count..4 * EACH {
                    let publication = next(&mut live).await;
                    note(&publication);
                }
                assert!(live.try_next().unwrap().is_none());
                assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "each once, in order");
                seen
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut seen = Vec::new();
    for subscriber in subscribers {
        seen.push(subscriber.await.unwrap());
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "all see one order");
    for publisher in 0..4 {
        let own = format!("p/{publisher} ");
        let numbers = seen[0]
            .iter()
            .filter_map(|(_, text)| text.strip_prefix(&own));
        assert!(numbers.eq((0..EACH).map(|number| number.to_string())));
    }
}
