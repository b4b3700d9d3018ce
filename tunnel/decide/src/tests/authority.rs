use super::ip;
use crate::{Authority, Host};

#[test]
fn authorities() {
    let check = |text: &str, expected: Option<(Host<'_>, u16)>| {
        let read = Authority::parse(text);
        assert_eq!(
            read.map(|read| (read.host, read.port)),
            expected,
            "{text:?}"
        );
    };
    check("10.0.0.1:80", Some((Host::Ip(ip("10.0.0.1")), 80)));
    check("[fd00::1]:65535", Some((Host::Ip(ip("fd00::1")), 65535)));
    check("[::ffff:10.0.0.1]:80", Some((Host::Ip(ip("10.0.0.1")), 80)));
    check("web.ns.svc:80", Some((Host::Name("web.ns.svc"), 80)));
    check("web.ns.svc.:80", Some((Host::Name("web.ns.svc"), 80)));
    check("a_b-c:1", Some((Host::Name("a_b-c"), 1)));
    for wrong in [
        "",
        ":",
        ":80",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:+80",
        "10.0.0.1: 80",
        "10.0.0.1:80 ",
        "10.0.0.1:8_0",
        "fd00::1:80",
        "[fd00::1]",
        "[fd00::1:80",
        "fd00::1]:80",
        "[10.0.0.1]:80",
        "[fd00::1%eth0]:80",
        "user@web:80",
        "web/:80",
        "http://web:80",
        "10.0.0.256:80",
        "10.0.0.01:80",
        "1:80",
        "web..ns:80",
        ".web:80",
        "w\u{e4}b:80",
        "a b:80",
    ] {
        check(wrong, None);
    }
    check(&format!("{}:80", "a".repeat(64)), None);
    check(&format!("{}a:80", "a.".repeat(127)), None);
}

#[test]
fn authorities_are_written_as_read() {
    for text in ["10.0.0.1:80", "[fd00::1]:80", "web.ns:80"] {
        assert_eq!(Authority::parse(text).unwrap().to_string(), text);
    }
}
