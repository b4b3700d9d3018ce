//! Throw-away clusters for tests and the demo: nodes as network namespaces, each with its own containerd and CNI chain,
//! pods made through CRI, agents as processes, and every packet between the nodes captured.
//! It refuses to touch what it did not make, to assert anything itself, and to build anything: binaries are given to it.
//! It owns one scratch directory per lab and removes all that hangs on it, also after a crash of its owner.

#![forbid(unsafe_code)]

mod agent;
mod binaries;
mod capture;
mod cni;
mod command;
mod containerd;
pub mod cri;
mod image;
mod lab;
pub mod log;
pub mod mesh;
mod netns;
mod node;
mod node_agent;
mod owntls;
mod parts;
mod pcap;
mod pod;
mod podspec;
mod process;
mod record;
mod sweep;
mod topology;
pub mod usage;
pub mod wait;

pub use agent::AgentOptions;
pub use binaries::Binaries;
pub use capture::{Capture, Wire};
pub use command::{find_program, program, run};
pub use image::{Content, Image};
pub use lab::{Lab, LabOptions};
pub use netns::{Netns, inside};
pub use node::Node;
pub use node_agent::Pair;
pub use owntls::OwnTls;
pub use parts::{AgentProcess, Part, agent_processes, agent_processes_below, end_agent_processes};
pub use pcap::{Family, PortTraffic, Traffic};
pub use pod::{ExecOutput, Pod};
pub use podspec::PodSpec;
pub use process::{Daemon, ProcessId};
pub use record::{LabRecord, NodeRecord, PodRecord, kept_labs};
pub use sweep::{Sweep, empty_cgroup, remove_cgroups, remove_lab, sweep};
