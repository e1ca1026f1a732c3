//! Messages of topics, between the engine's thread and whoever subscribed.
//!
//! A subscriber has a queue of its own. One that does not keep up loses what comes while its queue
//! is full, and is told how many that were; nobody waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge::EngineEnd;
use codec::limits::TOPIC_BYTES_MAX;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

/// Messages that wait for one subscriber at most. Guess: some seconds of a busy topic.
pub const SUBSCRIPTION_MAX: usize = 1_024;

/// Subscriptions of one engine at most: a program has a few, and each may hold as many messages as
/// wait.
pub const SUBSCRIPTIONS_MAX: usize = 1_024;

/// Why nothing was published, or nobody subscribed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The engine was started with `peer.gossip` at its default.
    #[error("this engine does not gossip: set `peer.gossip` in its configuration")]
    Off,
    /// A topic that is too long.
    #[error("topic of {length} bytes, at most {TOPIC_BYTES_MAX}")]
    TopicTooLong {
        /// Bytes of the topic.
        length: usize,
    },
    /// A message that is too long for what carries it.
    #[error("message of {length} bytes, at most {limit}")]
    DataTooLong {
        /// Bytes of the message.
        length: usize,
        /// Most that it may have: [`Gossip::data_bytes_max`](crate::Gossip::data_bytes_max).
        limit: usize,
    },
    /// There are [`SUBSCRIPTIONS_MAX`] already.
    #[error("there are {SUBSCRIPTIONS_MAX} subscriptions already")]
    TooMany,
    /// The engine has ended.
    #[error(transparent)]
    Ended(#[from] EngineEnd),
}

/// What a subscriber hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A message.
    Message {
        /// What it says.
        data: Arc<[u8]>,
        /// Links that it came over, as who sent it says; `None`: it came by datagrams, which do
        /// not tell.
        hops: Option<u16>,
    },
    /// So many messages were lost, since the subscriber did not keep up.
    Lagged(u64),
}

/// The messages of one topic from the moment of subscribing on. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    messages: Receiver<Heard>,
    lagged: Arc<AtomicU64>,
}

/// The engine's end of it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    messages: Sender<Heard>,
    lagged: Arc<AtomicU64>,
}

/// Both ends of a subscription.
pub(crate) fn subscription() -> (Subscriber, Subscription) {
    let (sender, receiver) = bounded(SUBSCRIPTION_MAX);
    let lagged = Arc::new(AtomicU64::new(0));
    let subscriber = Subscriber { messages: sender, lagged: Arc::clone(&lagged) };
    (subscriber, Subscription { messages: receiver, lagged })
}

impl Subscription {
    /// The next that is heard, waiting for it as long as this; `None`: there was nothing.
    ///
    /// # Errors
    ///
    /// The engine has ended, and everything was heard.
    pub fn recv_timeout(&self, wait: Duration) -> Result<Option<Heard>, EngineEnd> {
        if let Some(lagged) = self.take_lagged() {
            return Ok(Some(lagged));
        }
        match self.messages.recv_timeout(wait) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(self.take_lagged()),
            Err(RecvTimeoutError::Disconnected) => {
                self.take_lagged().map(Some).ok_or(EngineEnd::Stopped)
            }
        }
    }

    fn take_lagged(&self) -> Option<Heard> {
        // Only a number: what it counts was dropped.
        let lagged = self.lagged.swap(0, Ordering::Relaxed);
        (lagged > 0).then_some(Heard::Lagged(lagged))
    }
}

/// Who subscribed to what.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_topic: BTreeMap<Box<[u8]>, Vec<Subscriber>>,
}

impl Topics {
    /// `false`: there are too many.
    pub(crate) fn add(&mut self, topic: Box<[u8]>, subscriber: Subscriber) -> bool {
        if self.by_topic.values().map(Vec::len).sum::<usize>() >= SUBSCRIPTIONS_MAX {
            self.forget_gone();
        }
        let is_full = self.by_topic.values().map(Vec::len).sum::<usize>() >= SUBSCRIPTIONS_MAX;
        if !is_full {
            self.by_topic.entry(topic).or_default().push(subscriber);
        }
        !is_full
    }

    /// Hands a message to all who subscribed; how many had no room for it.
    pub(crate) fn tell(&mut self, topic: &[u8], data: &Arc<[u8]>, hops: Option<u16>) -> u64 {
        let Some(subscribers) = self.by_topic.get_mut(topic) else { return 0 };
        let mut lagged = 0;
        let message = || Heard::Message { data: Arc::clone(data), hops };
        subscribers.retain(|subscriber| match subscriber.messages.try_send(message()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                subscriber.lagged.fetch_add(1, Ordering::Relaxed);
                lagged += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        if subscribers.is_empty() {
            self.by_topic.remove(topic);
        }
        lagged
    }

    /// Who dropped a subscription is found out by the next message; here without one. An empty
    /// message would be heard, and so a second reference to the count shows who is there.
    fn forget_gone(&mut self) {
        self.by_topic.retain(|_, subscribers| {
            subscribers.retain(|one| Arc::strong_count(&one.lagged) > 1);
            !subscribers.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn each_hears_its_topic_and_who_lags_hears_by_how_much() {
        let mut topics = Topics::default();
        let [(one, first), (two, second), (three, other)] = [(); 3].map(|()| subscription());
        assert!(topics.add((*b"a").into(), one));
        assert!(topics.add((*b"a").into(), two));
        assert!(topics.add((*b"b").into(), three));
        let data: Arc<[u8]> = Arc::from(*b"hello");
        let message = Heard::Message { data: Arc::clone(&data), hops: Some(2) };
        for _ in 0..SUBSCRIPTION_MAX {
            assert_eq!(topics.tell(b"a", &data, Some(2)), 0);
            assert_eq!(second.recv_timeout(NOW), Ok(Some(message.clone())));
        }
        for _ in 0..3 {
            assert_eq!(topics.tell(b"a", &data, Some(2)), 1, "one of two is full");
        }
        assert_eq!(first.recv_timeout(NOW), Ok(Some(Heard::Lagged(3))));
        assert_eq!(first.recv_timeout(NOW), Ok(Some(message)));
        assert_eq!(second.messages.len(), 3);
        assert_eq!(other.recv_timeout(NOW), Ok(None));
        drop(topics);
        assert_eq!(other.recv_timeout(NOW), Err(EngineEnd::Stopped));
    }

    #[test]
    fn subscriptions_are_bounded_and_those_dropped_make_room() {
        let mut topics = Topics::default();
        let mut held = Vec::new();
        for _ in 0..SUBSCRIPTIONS_MAX {
            let (subscriber, subscription) = subscription();
            held.push(subscription);
            assert!(topics.add((*b"a").into(), subscriber));
        }
        let (subscriber, _one_more) = subscription();
        assert!(!topics.add((*b"b").into(), subscriber));
        held.pop();
        let (subscriber, _one_more) = subscription();
        assert!(topics.add((*b"b").into(), subscriber));
        held.clear();
        assert_eq!(topics.tell(b"a", &Arc::from(*b"x"), None), 0);
        assert!(!topics.by_topic.contains_key(&b"a"[..]), "who is gone is forgotten");
    }
}
