//! Histories that are not in memory, and the end.

use super::*;

#[tokio::test]
async fn a_large_history_is_read_in_pages_while_it_grows() {
    let limits = HistoryLimits {
        count: 10_000,
        bytes: 64 << 20,
        ..HistoryLimits::default()
    };
    let life = Life::begin(limits);
    let start = life.publish("a", "start").await;
    let large = "x".repeat(3000);
    let texts: Vec<String> = (0..1500)
        .map(|number| format!("{number} {large}"))
        .collect();
    futures_util::future::join_all(texts.iter().map(|text| life.publish("a", text))).await;
    // Nothing of it is in memory any more.
    let life = life.again(Duration::ZERO).await;
    for filter in ["a", "*"] {
        let filter: Filter = filter.parse().unwrap();
        let subscription = life.broker.subscribe(&filter, Since::Cursor(start)).await;
        let mut subscription = subscription.unwrap();
        assert!(subscription.recovered);
        let mut seen = Vec::new();
        while let Some(publication) = subscription.missed.next().await.unwrap() {
            if seen.len() % 100 == 0 {
                life.publish("a", "meanwhile").await;
            }
            seen.push(publication.offset());
        }
        let page = life
            .broker
            .read(&filter, Since::Cursor(start), 2000)
            .await
            .unwrap();
        assert!(
            page.publications.len() < 1500,
            "an answer is bounded in bytes"
        );
        while let Some(publication) = subscription.live.try_next().unwrap() {
            assert_eq!(body(&publication), "meanwhile");
            seen.push(publication.offset());
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert_eq!(
            u64::try_from(seen.len()).unwrap(),
            life.broker.shared.state().log.last() - 1
        );
    }
}

#[tokio::test]
async fn what_is_dropped_before_a_slow_subscriber_takes_it_is_no_silent_gap() {
    let limits = HistoryLimits {
        count: 600,
        ..HistoryLimits::default()
    };
    let life = Life::begin(limits);
    let start = life.publish("a", "start").await;
    for number in 0..599 {
        life.publish("a", &number.to_string()).await;
    }
    let filter: Filter = "a".parse().unwrap();
    let subscription = life.broker.subscribe(&filter, Since::Cursor(start)).await;
    let mut missed = subscription.unwrap().missed;
    assert_eq!(body(&missed.next().await.unwrap().unwrap()), "0");
    life.broker.remove(&channel("a")).await.unwrap();
    let ended = loop {
        match missed.next().await {
            Ok(publication) => assert!(publication.is_some(), "the rest was lost in silence"),
            Err(lagged) => break lagged,
        }
    };
    assert_eq!(ended, Lagged);
}

#[tokio::test]
async fn what_waits_at_the_end_is_written_and_what_comes_later_is_told() {
    let limits = HistoryLimits {
        count: 1000,
        ..HistoryLimits::default()
    };
    let life = Life::begin(limits);
    let waiting = (0..200).map(|number| {
        life.broker.append(
            channel("a"),
            content(&number.to_string()),
            AppendOptions::default(),
        )
    });
    let (answers, closed) =
        tokio::join!(futures_util::future::join_all(waiting), life.broker.close());
    closed.unwrap();
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(answers.iter().all(|answer| matches!(
        answer,
        Ok(_) | Err(BrokerError::Unavailable(Outage::Closed))
    )));
    let late = life
        .broker
        .append(channel("a"), content("late"), AppendOptions::default())
        .await;
    assert_eq!(late, Err(Outage::Closed.into()));
    let broker = open(life.dir.path(), &life.limits, &life.clock).unwrap();
    assert_eq!(broker.stats().publications, taken);
}
