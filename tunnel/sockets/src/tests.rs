#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr};

use super::{Family, Port};

#[test]
fn ports_are_the_contract() {
    assert_eq!(Port::ALL.map(Port::number), [15001, 15006, 15008]);
}

#[test]
fn family_of_an_address() {
    assert_eq!(Family::of(&IpAddr::V4(Ipv4Addr::LOCALHOST)), Family::V4);
    assert_eq!(Family::of(&"::1".parse().unwrap()), Family::V6);
}
