//! The policies of namespaces for listeners that are too slow for everything, as the hub asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{Channel, Filter};
use crate::config::{Config, SlowPolicy, namespace_of, touched};
use crate::hub::{Rhythm, Thinning};

/// The policy and the rate of one namespace.
type Rule = (SlowPolicy, usize);

/// What is said of all namespaces.
#[derive(Debug)]
pub(crate) struct SlowRules {
    rules: BTreeMap<String, Rule>,
    elsewhere: Rule,
}

impl SlowRules {
    /// What `config` says; nothing where everybody is sent everything.
    pub(crate) fn of(config: &Config) -> Option<Arc<dyn Thinning>> {
        let rules = config.namespaces.iter();
        let rules: BTreeMap<_, _> = rules
            .map(|(name, namespace)| (name.clone(), config.slow_in(Some(namespace))))
            .collect();
        let elsewhere = config.slow_in(None);
        let is_whole = |(policy, _): &Rule| *policy == SlowPolicy::Disconnect;
        if is_whole(&elsewhere) && rules.values().all(is_whole) {
            return None;
        }
        Some(Arc::new(Self { rules, elsewhere }))
    }
}

impl Thinning for SlowRules {
    fn of(&self, filter: &Filter) -> Option<Rhythm> {
        let touched = touched(&self.rules, filter).into_iter();
        let rules: Vec<_> = touched
            .map(|rule| *rule.unwrap_or(&self.elsewhere))
            .collect();
        if rules
            .iter()
            .all(|(policy, _)| *policy == SlowPolicy::Disconnect)
        {
            return None;
        }
        let rates = rules
            .iter()
            .filter(|(policy, _)| *policy == SlowPolicy::Rate);
        let slowest = rates.map(|(_, rate)| *rate).min();
        Some(slowest.map_or(Rhythm::Free, |rate| {
            Rhythm::Every(Duration::from_secs_f64(1.0 / rate.max(1) as f64))
        }))
    }

    fn is_thinned(&self, channel: &Channel) -> bool {
        let own = namespace_of(&self.rules, channel.as_str());
        let (policy, _) = own.map_or(&self.elsewhere, |(_, rule)| rule);
        *policy != SlowPolicy::Disconnect
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Namespace;

    fn rules(policies: &[(&str, SlowPolicy, usize)]) -> Arc<dyn Thinning> {
        let mut config = Config::default();
        for (name, policy, rate) in policies {
            let mut namespace = Namespace::default();
            namespace.slow.policy = Some(*policy);
            namespace.slow.rate = Some(*rate);
            config.namespaces.insert((*name).to_owned(), namespace);
        }
        SlowRules::of(&config).unwrap()
    }

    #[test]
    fn nothing_is_asked_where_everybody_is_sent_everything() {
        assert!(SlowRules::of(&Config::default()).is_none());
    }

    #[test]
    fn a_subscription_has_the_slowest_rhythm_of_what_it_covers() {
        let rules = rules(&[
            ("a", SlowPolicy::Latest, 1),
            ("b", SlowPolicy::Rate, 10),
            ("b/c", SlowPolicy::Rate, 2),
            ("d", SlowPolicy::Disconnect, 1),
        ]);
        let of = |filter: &str| rules.of(&filter.parse().unwrap());
        let every = |milliseconds| Some(Rhythm::Every(Duration::from_millis(milliseconds)));
        assert_eq!(of("x"), None);
        assert_eq!(of("d/*"), None);
        assert_eq!(of("a/x"), Some(Rhythm::Free));
        assert_eq!(of("b/x"), every(100));
        assert_eq!(of("b/**"), every(500));
        assert_eq!(of("**"), every(500));
        let is_thinned = |channel: &str| rules.is_thinned(&channel.parse().unwrap());
        assert!(is_thinned("a/x") && is_thinned("b/c/x"));
        assert!(!is_thinned("d") && !is_thinned("x"));
    }
}
