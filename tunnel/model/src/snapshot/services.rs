use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::vips::{VipTable, better_named};
use crate::{Service, ServiceKey};

/// All services, by what they are looked up by. Made anew when one of them changes.
#[derive(Debug, Default)]
pub(super) struct Services {
    all: Vec<Arc<Service>>,
    by_key: HashMap<ServiceKey, usize>,
    vips: HashMap<Arc<str>, VipTable>,
    hosts: HashMap<Box<str>, Vec<Arc<Service>>>,
}

impl Services {
    /// Of one key the last one counts.
    pub(super) fn new(services: impl IntoIterator<Item = Arc<Service>>) -> Self {
        let mut made = Self::default();
        for service in services {
            let at = *made.by_key.entry(service.key()).or_insert(made.all.len());
            match made.all.get_mut(at) {
                Some(known) => *known = service,
                None => made.all.push(service),
            }
        }
        made.index();
        made
    }

    fn index(&mut self) {
        for service in &self.all {
            for vip in &service.vips {
                table(&mut self.vips, &vip.network).add(vip.ip, service);
            }
            for (network, block) in &service.cidr_vips {
                table(&mut self.vips, network).add_block(*block, service);
            }
            let host = service.hostname.to_ascii_lowercase().into_boxed_str();
            let named = self.hosts.entry(host).or_default();
            named.push(Arc::clone(service));
        }
        self.vips.values_mut().for_each(VipTable::finish);
    }

    pub(super) fn all(&self) -> &[Arc<Service>] {
        &self.all
    }

    pub(super) fn by_key(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.all.get(*self.by_key.get(key)?)
    }

    pub(super) fn by_vip(&self, network: &str, ip: IpAddr, client: &str) -> Option<&Arc<Service>> {
        self.vips.get(network)?.find(ip.to_canonical(), client)
    }

    pub(super) fn by_host(&self, host: &str, client: &str) -> Option<&Arc<Service>> {
        let named = match self.hosts.get(host) {
            Some(named) => named,
            None => self.hosts.get(host.to_ascii_lowercase().as_str())?,
        };
        better_named(named, client)
    }
}

fn table<'a>(vips: &'a mut HashMap<Arc<str>, VipTable>, network: &Arc<str>) -> &'a mut VipTable {
    vips.entry(Arc::clone(network)).or_default()
}
