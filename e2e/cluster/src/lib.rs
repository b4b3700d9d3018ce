//! A Kubernetes cluster for tests: a real control plane and nodes that are machines of their own as far as a program can
//! see (network, mounts, processes), all on this machine; or a cluster that exists, by its kubeconfig.
//! It refuses to build anything (programs are given to it), to change this machine's network, and to sleep until
//! something works: every wait asks, and has a deadline.
//! It owns one scratch directory per cluster and what its record names, and removes that also after a crash of its owner.

#![forbid(unsafe_code)]

mod addresses;
mod bare;
mod bundle;
mod certificates;
mod cluster;
mod container;
mod control;
mod coredns;
mod existing;
mod faults;
mod images;
mod istio;
mod kubectl;
mod limits;
mod load;
mod machine;
mod mesh_root;
mod node;
mod options;
mod outside;
mod programs;
mod readiness;
mod record;
mod seen;
mod shop;
mod sweep;
mod token;
mod watch;
pub mod workloads;

pub use bundle::{Bundle, NAMESPACE as BUNDLE_NAMESPACE, chart};
pub use cluster::Cluster;
pub use container::Container;
pub use existing::Existing;
pub use images::WORKLOAD;
pub use istio::Istio;
pub use load::{Load, Outcome};
pub use machine::Machine;
pub use mesh_root::MeshRoot;
pub use node::Node;
pub use options::Options;
pub use outside::Outside;
pub use programs::Programs;
pub use readiness::PodWatch;
pub use record::{ClusterRecord, MachineRecord};
pub use seen::{Shown, nobody_noticed, until_says};
pub use shop::{MARK, Shop};
pub use sweep::{Left, left_of, sweep};
pub use token::Claims;
pub use watch::Phase;
