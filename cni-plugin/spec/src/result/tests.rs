#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

fn read(text: &str) -> Result<PrevResult, PrevResultError> {
    let raw = serde_json::from_str(text).map_err(|error| PrevResultError::Shape(error.to_string()));
    PrevResult::read(raw?)
}

#[test]
fn the_container_s_addresses_are_found_in_every_version() {
    for version in SpecVersion::ALL {
        let marker = if version < SpecVersion::V1_0_0 {
            r#""version":"4","#
        } else {
            ""
        };
        let text = format!(
            r#"{{"cniVersion":"{version}",
                "interfaces":[{{"name":"cni0"}},{{"name":"veth1","sandbox":""}},
                              {{"name":"eth0","sandbox":"/run/netns/a","mtu":1450}}],
                "ips":[{{{marker}"address":"10.1.0.1/16","interface":0}},
                       {{{marker}"address":"10.1.0.2/16","interface":1}},
                       {{{marker}"address":"10.1.0.5/16","interface":2}},
                       {{"address":"fd00::5/64"}}, {{"address":"10.9.0.1/8","interface":7}}],
                "routes":[{{"dst":"0.0.0.0/0","mtu":1400}}],"dns":{{}}}}"#
        );
        let result = read(&text).unwrap();
        assert_eq!(
            result.container_addresses(),
            ["10.1.0.5/16", "fd00::5/64", "10.9.0.1/8"]
        );
        assert_eq!(result.text(), text, "not a byte is changed");
    }
}

#[test]
fn an_empty_result_has_no_addresses() {
    for text in [
        "{}",
        r#"{"ips":null,"interfaces":null,"cniVersion":null}"#,
        r#"{"ips":[]}"#,
    ] {
        assert!(read(text).unwrap().container_addresses().is_empty());
    }
}

#[test]
fn what_is_not_a_result_is_refused() {
    for text in [
        "[1]",
        "1",
        r#""x""#,
        r#"{"ips":{}}"#,
        r#"{"ips":[{}]}"#,
        r#"{"ips":[1]}"#,
    ] {
        assert!(
            matches!(read(text), Err(PrevResultError::Shape(_))),
            "{text}"
        );
    }
    for address in [
        "10.1.0.5",
        "10.1.0.5/33",
        "fd00::/129",
        "/",
        "a/8",
        "10.1.0.5/+8",
        "1.2.3.4/",
    ] {
        let text = format!(r#"{{"ips":[{{"address":"{address}"}}]}}"#);
        assert_eq!(
            read(&text).unwrap_err(),
            PrevResultError::Address(address.into())
        );
    }
    let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.5/16"}}"#;
    assert_eq!(
        read(old).unwrap_err(),
        PrevResultError::Version("0.2.0".into())
    );
}

/// The same documents through another implementation: what it reads as addresses, we do too.
#[test]
fn the_oracle_reads_the_same_addresses() {
    use rscni_types::types::CNIResult;
    for ips in [
        "[]",
        "null",
        r#"[{"address":"10.1.0.5/16"}]"#,
        r#"[{"version":"4","address":"10.1.0.5/16","gateway":"10.1.0.1","interface":0}]"#,
        r#"[{"address":"fd00::5/64"},{"address":"::ffff:10.1.0.5/128"}]"#,
        r#"[{"address":"10.1.0.5"}]"#,
        r#"[{"address":"10.1.0.5/33"}]"#,
        r#"[{"address":"10.1.0/24"}]"#,
        r#"[{"address":1}]"#,
        r#"[{"gateway":"10.1.0.1"}]"#,
        "{}",
    ] {
        let text =
            format!(r#"{{"interfaces":[{{"name":"eth0","sandbox":"/run/netns/a"}}],"ips":{ips}}}"#);
        let theirs = serde_json::from_str::<CNIResult>(&text).ok().map(|result| {
            result
                .ips
                .iter()
                .map(|ip| ip.address.to_string())
                .collect::<Vec<_>>()
        });
        let ours = read(&text).ok().map(|result| result.container_addresses());
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn the_oracle_writes_the_same_empty_result() {
    use rscni_types::{legacy, types};
    for version in SpecVersion::ALL {
        let theirs: rscni_types::version::SpecVersion = version.as_str().parse().unwrap();
        let written = if theirs.is_legacy() {
            serde_json::to_value(legacy::CNIResult::new(theirs, types::CNIResult::default()))
        } else {
            serde_json::to_value(types::CNIResultWithVersion::new(
                theirs,
                types::CNIResult::default(),
            ))
        };
        let ours: serde_json::Value = serde_json::from_str(&empty_result(version)).unwrap();
        assert_eq!(ours, written.unwrap(), "{version}");
    }
}
