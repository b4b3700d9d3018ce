//! A large mesh of pods that nobody runs, written down once.

use super::messages::{
    self, Address, Locality, NetworkAddress, Port, Ports, Resource, Response, Service, Workload,
};
use prost::Message;
use std::collections::HashMap;

/// Pods of one application, and so of one service.
const REPLICAS: u32 = 10;
const NAMESPACES: u32 = 200;
const PODS_OF_A_NODE: u32 = 50;
const PORTS: [(u32, u32); 2] = [(80, 8080), (9090, 9090)];

/// Workloads, their services (one for ten of them), and a policy for each namespace.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// By type: what a response says of them, each resource with its version.
    encoded: [Vec<u8>; 2],
    versions: [HashMap<String, String>; 2],
}

impl Crowd {
    /// So many workloads. Equal numbers and revisions are equal crowds.
    #[must_use]
    pub fn new(workloads: u32) -> Self {
        let mut crowd = Self {
            encoded: [Vec::new(), Vec::new()],
            versions: [HashMap::new(), HashMap::new()],
        };
        for number in 0..workloads {
            let (name, content) = Self::workload(number, 0);
            crowd.add(0, name, content);
        }
        for number in 0..workloads.div_ceil(REPLICAS) {
            let (name, content) = service(number);
            crowd.add(0, name, content);
        }
        for number in 0..NAMESPACES {
            let (name, content) = messages::strict_namespace(&namespace(number));
            crowd.add(1, name, content);
        }
        crowd
    }

    /// How many resources it is, of both types.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.versions.iter().map(HashMap::len).sum()
    }

    /// How many bytes it takes to tell.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.encoded.iter().map(Vec::len).sum()
    }

    /// A member of a crowd, as it is after so many changes.
    pub(super) fn workload(number: u32, revision: u32) -> (String, Vec<u8>) {
        let app = App::of(number);
        let name = format!("{}-{:010x}-{number:05x}", app.name, app.number * 7919);
        let uid = format!("Kubernetes//Pod/{}/{name}", app.namespace);
        let [_, a, b, c] = number.to_be_bytes();
        let ports = PORTS.map(|(service_port, target_port)| Port {
            service_port,
            target_port,
        });
        let ports = Ports {
            ports: ports.to_vec(),
        };
        let host = format!("{}/{}", app.namespace, app.hostname());
        let workload = Workload {
            name,
            addresses: vec![vec![10, 128 + a, b, c]],
            tunnel_protocol: 1,
            trust_domain: "cluster.local".to_owned(),
            service_account: app.name.clone(),
            node: format!("ip-10-0-{}.example.internal", number / PODS_OF_A_NODE),
            canonical_name: app.name.clone(),
            canonical_revision: format!("v{revision}"),
            workload_name: app.name,
            authorization_policies: Vec::new(),
            cluster_id: "Kubernetes".to_owned(),
            uid: uid.clone(),
            services: [(host, ports)].into(),
            locality: Some(Locality {
                region: "region-1".to_owned(),
                zone: format!("region-1-{}", number % 3),
            }),
            namespace: app.namespace,
        };
        let address = Address {
            workload: Some(workload),
            service: None,
        };
        (uid, address.encode_to_vec())
    }

    /// Whether there is something of that name in it.
    pub(super) fn has(&self, kind: usize, name: &str) -> bool {
        self.versions[kind].contains_key(name)
    }

    /// What a client that holds these versions has to be told of a type, as a part of a response.
    pub(super) fn told(&self, kind: usize, held: &HashMap<String, String>) -> Vec<u8> {
        let ours = &self.versions[kind];
        let same = |(name, version): (&String, &String)| held.get(name) == Some(version);
        if !ours.iter().any(same) {
            return self.encoded[kind].clone();
        }
        // Nearly always all of it is held, which is known without taking it apart.
        if ours.iter().all(same) {
            return Vec::new();
        }
        let mut rest = Response::decode(self.encoded[kind].as_slice()).unwrap_or_default();
        let lacking = |resource: &Resource| held.get(&resource.name) != ours.get(&resource.name);
        rest.resources.retain(lacking);
        rest.encode_to_vec()
    }

    fn add(&mut self, kind: usize, name: String, content: Vec<u8>) {
        // As long as istiod's, which is a hash.
        let version = format!("{:016x}", content.len());
        let resource = Resource::of(kind, name.clone(), &version, content);
        self.versions[kind].insert(name, version);
        let one = Response {
            resources: vec![resource],
            ..Response::default()
        };
        // Messages one after another are one message with the lists of all.
        self.encoded[kind].extend(one.encode_to_vec());
    }
}

/// What the pods of one application have in common.
struct App {
    number: u32,
    name: String,
    namespace: String,
}

impl App {
    fn of(workload: u32) -> Self {
        let number = workload / REPLICAS;
        Self {
            number,
            name: format!("app-{number}"),
            namespace: namespace(number % NAMESPACES),
        }
    }

    fn hostname(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

fn namespace(number: u32) -> String {
    format!("team-{number}")
}

fn service(number: u32) -> (String, Vec<u8>) {
    let app = App::of(number * REPLICAS);
    let [_, a, b, c] = number.to_be_bytes();
    let ports = PORTS.map(|(service_port, target_port)| Port {
        service_port,
        target_port,
    });
    let service = Service {
        hostname: app.hostname(),
        name: app.name,
        namespace: app.namespace,
        addresses: vec![NetworkAddress {
            address: vec![172, 16 + a, b, c],
        }],
        ports: ports.to_vec(),
    };
    let name = format!("{}/{}", service.namespace, service.hostname);
    let address = Address {
        workload: None,
        service: Some(service),
    };
    (name, address.encode_to_vec())
}
