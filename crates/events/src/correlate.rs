//! What becomes of an event: a new object, a higher count of one that exists, or nothing. Pure.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::bucket::{RateLimit, TokenBucket};
use crate::pending::{EventOrigin, EventType, PendingEvent};

/// How many written events are remembered in order to raise their counts, and about how many
/// objects the rate is known. client-go's caches have this size.
pub(crate) const REMEMBERED: usize = 4096;

/// How many events one source may emit about one object: client-go's spam filter.
const PER_OBJECT: RateLimit = RateLimit {
    per_second: 1.0 / 300.0,
    burst: 25.0,
};

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Correlation {
    /// Too many events have come; drop this one.
    Drop,
    /// Create an object. [`Correlator::created`] has to be called when that succeeded.
    Create,
    /// Set the count of the object `name`. If it no longer exists, create one instead.
    Count { name: String, count: i32 },
}

/// Remembers what was emitted.
#[derive(Debug)]
pub(crate) struct Correlator {
    /// The bound over all sources and objects, if there is one.
    total: Option<TokenBucket>,
    objects: HashMap<(EventOrigin, String), TokenBucket>,
    written: HashMap<Identity, WrittenEvent>,
    /// The keys of `written`, oldest first.
    order: VecDeque<Identity>,
}

/// Events of equal identity are repetitions of one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    source: EventOrigin,
    uid: String,
    name: String,
    field_path: Option<String>,
    event_type: EventType,
    reason: &'static str,
    message: String,
}

#[derive(Debug)]
struct WrittenEvent {
    name: String,
    count: i32,
}

impl Correlator {
    pub(crate) fn new(total: Option<RateLimit>) -> Self {
        Self {
            // A bucket that was filled so long ago is full at whatever time the first event comes.
            total: total.map(|limit| TokenBucket::full(limit, Timestamp::MIN)),
            objects: HashMap::new(),
            written: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Decides about an event and counts it.
    pub(crate) fn correlate(&mut self, event: &PendingEvent) -> Correlation {
        if !self.is_allowed(event) {
            return Correlation::Drop;
        }
        // Events that name an action have no count that could be raised.
        let known = match event.action {
            None => self.written.get_mut(&Identity::of(event)),
            Some(_) => None,
        };
        match known {
            None => Correlation::Create,
            Some(written) => {
                written.count = written.count.saturating_add(1);
                Correlation::Count {
                    name: written.name.clone(),
                    count: written.count,
                }
            }
        }
    }

    /// The event was created under this name.
    pub(crate) fn created(&mut self, event: &PendingEvent, name: String) {
        if event.action.is_some() {
            return;
        }
        let identity = Identity::of(event);
        let written = WrittenEvent { name, count: 1 };
        if self.written.insert(identity.clone(), written).is_none() {
            self.order.push_back(identity);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.written.remove(&oldest);
        }
    }

    fn is_allowed(&mut self, event: &PendingEvent) -> bool {
        if let Some(total) = &mut self.total
            && !total.take(event.at)
        {
            return false;
        }
        self.forget_idle_objects(event.at);
        let uid = event.involved.uid.clone().unwrap_or_default();
        self.objects
            .entry((event.source.clone(), uid))
            .or_insert_with(|| TokenBucket::full(PER_OBJECT, event.at))
            .take(event.at)
    }

    /// Keeps the number of buckets within bounds. A full bucket is dropped first, because a new one
    /// is full, too.
    fn forget_idle_objects(&mut self, now: Timestamp) {
        if self.objects.len() >= REMEMBERED * 4 {
            self.objects.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.objects.len() >= REMEMBERED * 4 {
            self.objects.clear();
        }
    }
}

impl Identity {
    fn of(event: &PendingEvent) -> Self {
        Self {
            source: event.source.clone(),
            uid: event.involved.uid.clone().unwrap_or_default(),
            name: event.involved.name.clone().unwrap_or_default(),
            field_path: event.involved.field_path.clone(),
            event_type: event.event_type,
            reason: event.reason,
            message: event.message.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn event(uid: &str, message: &str) -> PendingEvent {
        PendingEvent {
            source: EventOrigin {
                component: "test",
                host: None,
            },
            action: None,
            involved: ObjectReference {
                name: Some(format!("pod-{uid}")),
                uid: Some(uid.to_owned()),
                ..ObjectReference::default()
            },
            event_type: EventType::Normal,
            reason: "Tested",
            message: message.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_repeated_event_raises_the_count_and_another_message_is_another_event() {
        let mut correlator = Correlator::new(None);
        let first = event("u", "one");
        assert_eq!(correlator.correlate(&first), Correlation::Create);
        correlator.created(&first, "e".to_owned());
        for count in [2, 3] {
            let name = "e".to_owned();
            assert_eq!(
                correlator.correlate(&first),
                Correlation::Count { name, count }
            );
        }
        for other in [event("u", "two"), event("v", "one")] {
            assert_eq!(correlator.correlate(&other), Correlation::Create);
        }
        let mut elsewhere = event("u", "one");
        elsewhere.involved.field_path = Some("spec.containers{a}".to_owned());
        assert_eq!(correlator.correlate(&elsewhere), Correlation::Create);
    }

    #[test]
    fn an_event_that_names_an_action_is_never_counted() {
        let mut correlator = Correlator::new(None);
        let mut acted = event("u", "one");
        acted.action = Some("Binding");
        for _ in 0..2 {
            assert_eq!(correlator.correlate(&acted), Correlation::Create);
            correlator.created(&acted, "e".to_owned());
        }
        assert!(correlator.written.is_empty());
    }

    #[test]
    fn the_rate_is_limited_for_each_object_and_source_apart() {
        let mut correlator = Correlator::new(None);
        let passed = |correlator: &mut Correlator, event: &PendingEvent| {
            (0..40)
                .filter(|_| correlator.correlate(event) != Correlation::Drop)
                .count()
        };
        assert_eq!(passed(&mut correlator, &event("u", "m")), 25);
        assert_eq!(passed(&mut correlator, &event("v", "m")), 25);
        let mut from_elsewhere = event("u", "m");
        from_elsewhere.source.host = Some("node".into());
        assert_eq!(passed(&mut correlator, &from_elsewhere), 25);
    }

    #[test]
    fn a_total_limit_holds_over_all_objects() {
        let mut correlator = Correlator::new(Some(RateLimit {
            per_second: 1.0,
            burst: 3.0,
        }));
        let passed = (0..10)
            .map(|number| event(&number.to_string(), "m"))
            .filter(|event| correlator.correlate(event) != Correlation::Drop)
            .count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut correlator = Correlator::new(None);
        for number in 0..REMEMBERED * 5 {
            let event = event(&number.to_string(), "m");
            correlator.correlate(&event);
            correlator.created(&event, number.to_string());
        }
        assert_eq!(correlator.written.len(), REMEMBERED);
        assert_eq!(correlator.order.len(), REMEMBERED);
        assert!(correlator.objects.len() <= REMEMBERED * 4);
    }
}
