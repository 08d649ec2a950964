//! Appends that are tried again.

use super::*;

pub(crate) async fn a_retry_gets_the_first_answer(make: Make) {
    let bench = make(small().into(), 10);
    let first = bench.publish_keyed("a", "1", "k").await.unwrap();
    bench.publish("a", "2").await;
    bench.clock.advance(KEY_LIFETIME - Duration::from_secs(1));
    assert_eq!(bench.publish_keyed("a", "1", "k").await.unwrap(), first);
    assert_eq!(
        bench.latest("a").await,
        Some("2".into()),
        "it was not published again"
    );
    bench.broker.remove(&channel("a")).await.unwrap();
    assert_eq!(bench.publish_keyed("a", "1", "k").await.unwrap(), first);
    // The same key elsewhere is another key.
    assert_ne!(bench.publish_keyed("b", "1", "k").await.unwrap(), first);
}

pub(crate) async fn a_key_for_another_publication_is_refused(make: Make) {
    let bench = make(small().into(), 10);
    bench.publish_keyed("a", "1", "k").await.unwrap();
    assert_eq!(
        bench.publish_keyed("a", "2", "k").await,
        Err(BrokerError::KeyReused)
    );
    assert_eq!(bench.latest("a").await, Some("1".into()));
}

pub(crate) async fn a_key_is_forgotten_after_its_time(make: Make) {
    let bench = make(small().into(), 1);
    let first = bench.publish_keyed("a", "1", "k").await.unwrap();
    bench.clock.advance(KEY_LIFETIME);
    assert_ne!(bench.publish_keyed("a", "1", "k").await.unwrap(), first);
}

pub(crate) async fn keys_are_bounded(make: Make) {
    let bench = make(small().into(), 2);
    let first = bench.publish_keyed("a", "1", "k1").await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    bench.publish_keyed("a", "2", "k2").await.unwrap();
    let retry_after = KEY_LIFETIME - Duration::from_secs(60);
    assert_eq!(
        bench.publish_keyed("a", "3", "k3").await,
        Err(BrokerError::Busy { retry_after })
    );
    assert_eq!(bench.latest("a").await, Some("2".into()));
    assert_eq!(bench.publish_keyed("a", "1", "k1").await.unwrap(), first);
    bench.publish("a", "without a key").await;
    bench.clock.advance(retry_after);
    bench.publish_keyed("a", "3", "k3").await.unwrap();
}

pub(crate) async fn retries_at_the_same_time_publish_once(make: Make) {
    let bench = make(HistoryLimits::default().into(), 10);
    let start = bench.subscribe("a", Since::Start).await.cursor;
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let broker = Arc::clone(&bench.broker);
            tokio::spawn(async move { publish_keyed(&*broker, "a", "1", "k").await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for attempt in tries {
        answers.push(attempt.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bench.resume("a", start).await, (vec!["1".into()], true));
}
