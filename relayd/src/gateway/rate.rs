// SPDX-License-Identifier: Apache-2.0
//! How often a client may upload: one token bucket per client, a minute's worth deep.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::{limits::RELAY_DEPTH, node_id::NodeId, node_list::NodeList};
use tokio::sync::watch;

use crate::nodes::Nodes;

/// Most buckets; beyond that those that are full, and so hold no information, are dropped.
const MAX_BUCKETS: usize = 200_000;

/// For whom uploads are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Counted {
    /// A node, known by its certificate, or named by an upload with a password.
    Node(NodeId),
    /// A network address: new nodes, which are in no list. An IPv6 host owns its /64.
    Address(IpAddr),
}

impl Counted {
    /// By address.
    pub fn by_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

/// The buckets.
pub struct Rates {
    per_minute: u32,
    buckets: Mutex<HashMap<Counted, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
    per_minute: f64,
}

impl Rates {
    /// `per_minute` uploads for a client of weight 1.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::default() }
    }

    /// Counts an upload. A client of weight n may upload n times as often.
    ///
    /// **Errors**: too often; how long until it may again.
    pub fn count(&self, who: Counted, weight: u32) -> Result<(), Duration> {
        self.count_at(who, weight, Instant::now())
    }

    fn count_at(&self, who: Counted, weight: u32, now: Instant) -> Result<(), Duration> {
        let per_minute = f64::from(self.per_minute) * f64::from(weight.max(1));
        // A panic elsewhere leaves at worst a token too few or too many.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| bucket.refill(now) < bucket.per_minute);
            if buckets.len() >= MAX_BUCKETS {
                return Err(Duration::from_secs(60));
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { tokens: per_minute, filled: now, per_minute });
        bucket.per_minute = per_minute;
        if bucket.refill(now) >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let missing = 1.0 - bucket.tokens;
        Err(Duration::try_from_secs_f64(missing * 60.0 / per_minute).unwrap_or(Duration::from_secs(60)))
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_minute / 60.0).min(self.per_minute);
        self.filled = now;
        self.tokens
    }
}

/// How many nodes each relay speaks for, itself included; those that are not in it speak for one.
#[derive(Debug, Default)]
pub struct Weights(HashMap<NodeId, u32>);

impl Weights {
    /// Counts the nodes below each relay of the list.
    pub fn of(list: &NodeList) -> Self {
        let mut weights: HashMap<NodeId, u32> = HashMap::new();
        for (node, entry) in list.iter() {
            let (mut below, mut server) = (node, &entry.policy_server);
            // The list may contain circles.
            for _ in 0..RELAY_DEPTH {
                if server == below {
                    break;
                }
                match weights.get_mut(server.as_str()) {
                    Some(weight) => *weight += 1,
                    None => drop(weights.insert(server.clone(), 2)),
                }
                let Some(next) = list.get(server) else { break };
                (below, server) = (server, &next.policy_server);
            }
        }
        Self(weights)
    }

    /// How many nodes this one speaks for.
    pub fn of_node(&self, node: &NodeId) -> u32 {
        self.0.get(node).copied().unwrap_or(1)
    }
}

/// Publishes the weights of each new node table.
pub async fn keep_weights(mut nodes: Nodes, weights: watch::Sender<Arc<Weights>>) {
    loop {
        let table = nodes.borrow_and_update().clone();
        // Milliseconds for a large fleet: not on an async thread.
        match tokio::task::spawn_blocking(move || Weights::of(table.list())).await {
            Ok(counted) => drop(weights.send_replace(Arc::new(counted))),
            Err(error) => tracing::error!(%error, "nodes below relays could not be counted"),
        }
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Counted {
        Counted::Node(id.parse().unwrap())
    }

    #[test]
    fn a_bucket_holds_a_minute_and_refills() {
        let (rates, start) = (Rates::new(60), Instant::now());
        for _ in 0..60 {
            assert_eq!(rates.count_at(node("a"), 1, start), Ok(()));
        }
        let wait = rates.count_at(node("a"), 1, start).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(rates.count_at(node("b"), 1, start), Ok(()), "others are not concerned");
        let later = start + Duration::from_millis(1001);
        assert_eq!(rates.count_at(node("a"), 1, later), Ok(()));
        assert!(rates.count_at(node("a"), 1, later).is_err());
    }

    #[test]
    fn relays_count_for_those_below() {
        let list = NodeList::from_json(
            br#"{
            "root":{"hostname":"r","key-hash":"","policy-server":"root"},
            "relay":{"hostname":"x","key-hash":"","policy-server":"root"},
            "sub":{"hostname":"y","key-hash":"","policy-server":"relay"},
            "n1":{"hostname":"n","key-hash":"","policy-server":"sub"},
            "n2":{"hostname":"n","key-hash":"","policy-server":"sub"},
            "loop1":{"hostname":"n","key-hash":"","policy-server":"loop2"},
            "loop2":{"hostname":"n","key-hash":"","policy-server":"loop1"}
        }"#,
        )
        .unwrap();
        let weights = Weights::of(&list);
        for (id, expected) in [("root", 5), ("relay", 4), ("sub", 3), ("n1", 1), ("unheard-of", 1)] {
            assert_eq!(weights.of_node(&id.parse().unwrap()), expected, "{id}");
        }
        let rates = Rates::new(1);
        for _ in 0..3 {
            assert_eq!(rates.count(node("sub"), 3), Ok(()));
        }
        assert!(rates.count(node("sub"), 3).is_err());
    }

    #[test]
    fn an_ipv6_host_cannot_escape_into_its_own_network() {
        let by = |text: &str| Counted::by_address(text.parse().unwrap());
        assert_eq!(by("2001:db8::1"), by("2001:db8::2:3"));
        assert_ne!(by("2001:db8::1"), by("2001:db8:0:1::1"));
        assert_eq!(by("::ffff:192.0.2.1"), by("192.0.2.1"));
    }
}
