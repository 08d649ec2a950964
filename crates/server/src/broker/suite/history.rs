//! What is kept: bounds of channels, of namespaces and of all together, and bounds that change.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::*;
use crate::config::{Config, History};

type Change<'a> = &'a dyn Fn(&mut History);

/// A history for each of the namespaces that are named, and three publications elsewhere.
fn namespaces(own: &[(&str, Change<'_>)]) -> Retention {
    let mut config = Config {
        history: small(),
        ..Config::default()
    };
    for (name, change) in own {
        let namespace = config.namespaces.entry((*name).to_owned()).or_default();
        change(&mut namespace.history);
    }
    Retention::of(&config)
}

pub(crate) async fn a_namespace_has_bounds_of_its_own(make: Make) {
    let one = Publication::OVERHEAD + "heavy/x".len() + "text/plain".len() + 100;
    let retention = namespaces(&[
        ("long", &|history| history.count = Some(5)),
        ("long/short", &|history| history.count = Some(2)),
        ("heavy", &|history| history.bytes = Some(2 * one)),
    ]);
    let bench = make(retention, 10);
    let start = bench.subscribe("**", Since::Start).await.cursor;
    let mut cursors = Vec::new();
    for number in 0..8 {
        for name in ["long/x", "long/short/x", "heavy/x", "else"] {
            let body = format!("{number}{}", "x".repeat(99));
            cursors.push((name, bench.publish(name, &body).await));
        }
    }
    for (name, kept) in [
        ("long/x", 5),
        ("long/short/x", 2),
        ("heavy/x", 2),
        ("else", 3),
    ] {
        assert!(!bench.resume(name, start).await.1, "{name}");
        let own: Vec<_> = cursors.iter().filter(|(of, _)| *of == name).collect();
        let (missed, recovered) = bench.resume(name, own[7 - kept].1).await;
        assert_eq!((missed.len(), recovered), (kept, true), "{name}");
        let (_, recovered) = bench.resume(name, own[6 - kept].1).await;
        assert!(!recovered, "{name}");
    }
}

pub(crate) async fn a_namespace_may_keep_the_latest_alone(make: Make) {
    let bench = make(
        namespaces(&[("state", &|history| history.count = Some(1))]),
        10,
    );
    let first = bench.publish("state/x", "1").await;
    let second = bench.publish("state/x", "2").await;
    assert_eq!(bench.latest("state/x").await, Some("2".into()));
    assert_eq!(
        bench.resume("state/x", first).await,
        (vec!["2".into()], true),
        "it has what was dropped"
    );
    bench.publish("state/x", "3").await;
    assert_eq!(
        bench.resume("state/x", first).await,
        (vec!["3".into()], false)
    );
    assert_eq!(
        bench.resume("state/x", second).await,
        (vec!["3".into()], true)
    );
}

pub(crate) async fn a_namespace_may_keep_nothing_and_says_so(make: Make) {
    let bench = make(
        namespaces(&[("now", &|history| history.count = Some(0))]),
        10,
    );
    let mut here = bench.subscribe("now/x", Since::Start).await;
    let elsewhere = bench.publish("else", "e").await;
    let first = bench.publish("now/x", "1").await;
    let retry = bench.publish_keyed("now/x", "2", "k").await.unwrap();
    assert_eq!(bench.publish_keyed("now/x", "2", "k").await, Ok(retry));
    assert_eq!(next_body(&mut here.live).await, "1");
    assert_eq!(next_body(&mut here.live).await, "2");
    assert!(here.live.try_next().unwrap().is_none(), "each once");

    assert_eq!(bench.latest("now/x").await, None);
    let mut fresh = bench.subscribe("now/x", Since::Start).await;
    assert!(fresh.recovered && missed(&mut fresh).await.is_empty());
    for before in [here.cursor, elsewhere, first] {
        assert_eq!(bench.resume("now/x", before).await, (vec![], false));
        assert_eq!(bench.resume("now/*", before).await, (vec![], false));
    }
    assert_eq!(bench.resume("now/x", retry.cursor).await, (vec![], true));
    assert_eq!(bench.resume("else", elsewhere).await, (vec![], true));
    assert!(!bench.resume("**", elsewhere).await.1);
    assert_eq!(
        bench.resume("**", retry.cursor).await,
        (vec![], true),
        "nothing came after it"
    );
    assert_eq!(bench.broker.stats().publications, 1);
}

pub(crate) async fn each_namespace_has_an_age_of_its_own(make: Make) {
    let minute = Duration::from_secs(60);
    let retention = namespaces(&[
        ("brief", &|history| history.age = Some(minute)),
        ("long", &|history| {
            history.age = Some(2 * HistoryLimits::default().age);
        }),
    ]);
    let bench = make(retention, 10);
    let start = bench.subscribe("**", Since::Start).await.cursor;
    for name in ["long/x", "brief/x", "else"] {
        bench.publish(name, "1").await;
    }
    bench.clock.advance(minute / 2);
    let brief = bench.publish("brief/x", "2").await;
    bench.clock.advance(minute / 2);
    // What is older and lasts longer does not keep it.
    assert_eq!(
        bench.resume("brief/x", start).await,
        (vec!["2".into()], false)
    );
    bench.clock.advance(minute / 2);
    assert_eq!(bench.latest("brief/x").await, None);
    assert_eq!(bench.resume("brief/x", brief).await, (vec![], true));
    let one: (Vec<String>, _) = (vec!["1".into()], true);
    assert_eq!(bench.resume("long/x", start).await, one);
    assert_eq!(bench.resume("else", start).await, one);
    bench.clock.advance(HistoryLimits::default().age);
    assert_eq!(bench.resume("else", start).await, (vec![], false));
    assert_eq!(bench.resume("long/x", start).await, one);
    bench.clock.advance(HistoryLimits::default().age);
    assert_eq!(bench.resume("long/x", start).await, (vec![], false));
    assert_eq!(bench.broker.stats().publications, 0);
}

pub(crate) async fn a_bound_made_smaller_is_in_force_with_the_next_question(make: Make) {
    let bench = make(namespaces(&[("a", &|history| history.count = Some(9))]), 10);
    let minute = Duration::from_secs(60);
    let mut cursors = Vec::new();
    for number in 0..6 {
        cursors.push(bench.publish("a/x", &number.to_string()).await);
        bench.clock.advance(minute);
    }
    bench.publish("b", "old").await;
    assert!(bench.resume("a/x", cursors[0]).await.1);

    bench.broker.retain(namespaces(&[("a", &|history| {
        history.count = Some(4);
    })]));
    assert!(!bench.resume("a/x", cursors[0]).await.1);
    assert_eq!(bench.resume("a/x", cursors[1]).await.0.len(), 4);

    // 2 is four minutes old.
    bench.broker.retain(namespaces(&[("a", &|history| {
        history.age = Some(4 * minute);
    })]));
    assert!(!bench.resume("a/x", cursors[1]).await.1);
    assert_eq!(bench.resume("a/x", cursors[2]).await.0, ["3", "4", "5"]);
    assert_eq!(bench.latest("b").await, Some("old".into()));

    let none = HistoryLimits {
        total_bytes: Some(1),
        ..small()
    };
    bench.broker.retain(none.into());
    assert_eq!(bench.latest("a/x").await, None);
    assert_eq!(bench.latest("b").await, None);
    assert!(!bench.resume("a/x", cursors[4]).await.1);
    assert!(bench.resume("a/x", cursors[5]).await.1);
}

pub(crate) async fn a_bound_made_larger_brings_nothing_back(make: Make) {
    let bench = make(namespaces(&[("a", &|history| history.count = Some(1))]), 10);
    let first = bench.publish("a/x", "1").await;
    bench.publish("a/x", "2").await;
    let third = bench.publish("a/x", "3").await;
    bench.broker.retain(namespaces(&[("a", &|history| {
        history.count = Some(9);
        history.age = Some(2 * HistoryLimits::default().age);
    })]));
    assert_eq!(bench.resume("a/x", first).await, (vec!["3".into()], false));
    bench.publish("a/x", "4").await;
    bench.publish("a/x", "5").await;
    bench.clock.advance(HistoryLimits::default().age);
    let rest: Vec<String> = vec!["4".into(), "5".into()];
    assert_eq!(bench.resume("a/x", third).await, (rest, true));
}

pub(crate) async fn publishing_and_listening_go_on_while_much_is_dropped(make: Make) {
    const MUCH: usize = 5000;
    let wide: Change<'_> = &|history| {
        history.count = Some(MUCH);
        history.bytes = Some(64 << 20);
    };
    let bench = make(namespaces(&[("a", wide)]), 10);
    let published = (0..MUCH).map(async |number| {
        bench.publish(&format!("a/{}", number % 10), "old").await;
    });
    join_all(published).await;
    assert_eq!(bench.broker.stats().publications, MUCH);

    let asked = Arc::new(AtomicUsize::new(0));
    let (broker, clock) = (Arc::clone(&bench.broker), Arc::clone(&bench.clock));
    let (runtime, count) = (Handle::current(), Arc::clone(&asked));
    let retained = tokio::task::spawn_blocking(move || {
        let retaining = thread::current().id();
        let is_asking = AtomicBool::new(false);
        let (own, time) = (Arc::clone(&broker), Arc::clone(&clock));
        // The time is looked at for each step. Whoever has the books then would wait for ever.
        let ask = move || {
            if thread::current().id() == retaining && !is_asking.swap(true, Relaxed) {
                runtime.block_on(async {
                    let cursor = publish(&*broker, "b", "new").await;
                    let latest = broker.latest(&channel("b")).await.unwrap();
                    assert_eq!(latest.unwrap().cursor(), cursor);
                });
                count.fetch_add(1, Relaxed);
                is_asking.store(false, Relaxed);
            }
        };
        clock.when_looked_at(Some(Arc::new(ask)));
        own.retain(namespaces(&[("a", &|history| history.count = Some(1))]));
        time.when_looked_at(None);
    });
    retained.await.unwrap();
    let asked = asked.load(Relaxed);
    assert!(asked >= 4, "{asked}");
    assert_eq!(
        bench.broker.stats().publications,
        10 + asked.min(small().count)
    );
}

pub(crate) async fn age_drops_the_latest_too(make: Make) {
    let bench = make(small().into(), 10);
    let day = HistoryLimits::default().age;
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let first = bench.publish("a", "1").await;
    bench.clock.advance(day / 2);
    bench.publish("a", "2").await;
    bench.clock.advance(day / 2 - Duration::from_millis(1));
    assert!(bench.resume("a", start).await.1);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.resume("a", start).await, (vec!["2".into()], false));
    assert_eq!(bench.resume("a", first).await, (vec!["2".into()], true));
    bench.clock.advance(day / 2);
    assert_eq!(bench.latest("a").await, None);
    assert_eq!(bench.resume("a", first).await, (vec![], false));
}

pub(crate) async fn bytes_bound_a_channel(make: Make) {
    let one = Publication::OVERHEAD + "a".len() + "text/plain".len() + 100;
    let bench = make(
        HistoryLimits {
            bytes: 2 * one,
            ..HistoryLimits::default()
        }
        .into(),
        10,
    );
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let first = bench.publish("a", &"1".repeat(100)).await;
    bench.publish("a", &"2".repeat(100)).await;
    assert!(bench.resume("a", start).await.1);
    bench.publish("a", &"3".repeat(100)).await;
    assert!(!bench.resume("a", start).await.1);
    assert_eq!(bench.resume("a", first).await.0.len(), 2);
}

pub(crate) async fn bytes_bound_all_channels_together(make: Make) {
    let one = Publication::OVERHEAD + "a".len() + "text/plain".len() + 100;
    let limits = HistoryLimits {
        total_bytes: Some(2 * one),
        ..HistoryLimits::default()
    };
    let bench = make(limits.into(), 10);
    let start = bench.subscribe("**", Since::Start).await.cursor;
    for name in ["a", "b", "c"] {
        bench.publish(name, &"x".repeat(100)).await;
    }
    assert_eq!(bench.latest("a").await, None, "the oldest of all went");
    assert!(bench.latest("b").await.is_some());
    assert!(!bench.resume("**", start).await.1);
    assert!(!bench.resume("a", start).await.1);
    assert!(bench.resume("b", start).await.1);
}
