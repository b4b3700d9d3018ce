use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::Service;

/// The service addresses of one network.
#[derive(Debug, Default)]
pub(super) struct VipTable {
    exact: HashMap<IpAddr, Vec<Arc<Service>>>,
    blocks: HashMap<IpNetwork, Vec<Arc<Service>>>,
    /// The prefix lengths there are blocks of, longest first: a lookup tries each once.
    v4_lengths: Vec<u8>,
    v6_lengths: Vec<u8>,
}

impl VipTable {
    pub(super) fn add(&mut self, ip: IpAddr, service: &Arc<Service>) {
        let services = self.exact.entry(ip.to_canonical()).or_default();
        if !services.iter().any(|known| Arc::ptr_eq(known, service)) {
            services.push(Arc::clone(service));
        }
    }

    pub(super) fn add_block(&mut self, block: IpNetwork, service: &Arc<Service>) {
        let Some(masked) = masked(block.ip(), block.prefix()) else {
            return;
        };
        let lengths = if block.is_ipv4() {
            &mut self.v4_lengths
        } else {
            &mut self.v6_lengths
        };
        if !lengths.contains(&block.prefix()) {
            lengths.push(block.prefix());
        }
        let services = self.blocks.entry(masked).or_default();
        if !services.iter().any(|known| Arc::ptr_eq(known, service)) {
            services.push(Arc::clone(service));
        }
    }

    /// Puts the lengths in order; to be called once everything is added.
    pub(super) fn finish(&mut self) {
        self.v4_lengths
            .sort_unstable_by_key(|length| Reverse(*length));
        self.v6_lengths
            .sort_unstable_by_key(|length| Reverse(*length));
    }

    pub(super) fn find(&self, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        // A service that may not be seen leaves the address to a block that may.
        let exact = self
            .exact
            .get(&ip)
            .and_then(|services| better_named(services, namespace));
        exact.or_else(|| self.find_block(ip, namespace))
    }

    /// The client's own namespace first, whatever the length of the block; then the longest.
    fn find_block(&self, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        let lengths = if ip.is_ipv4() {
            &self.v4_lengths
        } else {
            &self.v6_lengths
        };
        let mut elsewhere = None;
        for length in lengths {
            let best = masked(ip, *length)
                .and_then(|block| self.blocks.get(&block))
                .and_then(|services| better_named(services, namespace));
            match best {
                Some(own) if *own.namespace == *namespace => return Some(own),
                found => elsewhere = elsewhere.or(found),
            }
        }
        elsewhere
    }
}

fn masked(ip: IpAddr, length: u8) -> Option<IpNetwork> {
    let block = IpNetwork::new(ip, length).ok()?;
    IpNetwork::new(block.network(), length).ok()
}

/// Of services with one name or address: the client's namespace, the canonical one, the first.
pub(super) fn better_named<'a>(
    services: &'a [Arc<Service>],
    namespace: &str,
) -> Option<&'a Arc<Service>> {
    let visible = services
        .iter()
        .filter(|service| service.visible_to(namespace));
    // min_by_key keeps the first of equals.
    visible.min_by_key(|service| (*service.namespace != *namespace, !service.canonical))
}
