#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn exemption(addresses: &[&str]) -> Exemption {
    let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
    addresses.collect()
}

const V4: &str = "-d 10.0.0.7/32 -p tcp -m owner --socket-exists -j SNAT --to-source 169.254.7.127";
const V6: &str = "-d fd00::7/128 -p tcp -m owner --socket-exists -j SNAT --to-source \
                  fd16:9254:7127:1337:ffff:ffff:ffff:ffff";

/// What the save tool shows of the nat table.
fn shown(chains: &[&str], rules: &[&str]) -> String {
    let mut text =
        String::from("# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [3:180]\n");
    for chain in chains {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    for rule in rules {
        let _ = writeln!(text, "-A {rule}");
    }
    text + "COMMIT\n# Completed\n"
}

fn told(exemption: &Exemption, family: Family, text: &str) -> Vec<String> {
    let drift = exemption.drift(family, text);
    drift.iter().map(ToString::to_string).collect()
}

#[test]
fn each_address_has_one_rule_of_its_family() {
    let both = exemption(&["fd00::7", "10.0.0.7", "10.0.0.7", "::ffff:10.0.0.7"]);
    assert_eq!(both.len(), 2);
    assert_eq!(both.rules(Family::V4), [V4]);
    assert_eq!(both.rules(Family::V6), [V6]);
    assert_eq!(both.without(Family::V6), exemption(&["10.0.0.7"]));
    assert!(both.covers(["fd00::7".parse().unwrap()].into_iter()));
    assert!(!both.covers(["fd00::8".parse().unwrap()].into_iter()));
}

#[test]
fn what_is_no_pods_address_is_left_out_whoever_asks() {
    let odd = [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
    ];
    assert!(exemption(&odd).is_empty());
    let told: Exemption = serde_json::from_value(serde_json::json!(odd)).unwrap();
    assert!(told.is_empty());
    let some = exemption(&["10.0.0.7", "fd00::7"]);
    let text = serde_json::to_string(&some).unwrap();
    assert_eq!(text, r#"["10.0.0.7","fd00::7"]"#);
    assert_eq!(serde_json::from_str::<Exemption>(&text).unwrap(), some);
}

#[test]
fn only_what_is_captured_needs_an_exemption() {
    let pod: [IpAddr; 2] = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    let plan = RedirectPlan::new(Backend::Nft);
    assert_eq!(plan.exempt(&pod).collect::<Vec<_>>(), pod);
    let v4_only = RedirectPlan {
        ipv6: false,
        ..plan.clone()
    };
    assert_eq!(v4_only.exempt(&pod).collect::<Vec<_>>(), pod[..1]);
    let gateway = RedirectPlan {
        bypass_inbound: true,
        ..plan
    };
    assert_eq!(gateway.exempt(&pod).count(), 0);
}

#[test]
fn where_there_is_nothing_chain_and_jump_are_made_at_once() {
    let one = exemption(&["10.0.0.7"]);
    for nothing in ["", &shown(&[], &["POSTROUTING -j MASQUERADE"])] {
        let text = one.render(Family::V4, nothing).unwrap();
        assert_eq!(
            text,
            format!(
                "*nat\n:ISTIO_POSTRT - [0:0]\n-A ISTIO_POSTRT {V4}\n\
                 -I POSTROUTING 1 -j ISTIO_POSTRT\nCOMMIT\n"
            )
        );
        assert_eq!(one.render(Family::V6, nothing), None);
        assert_eq!(Exemption::default().render(Family::V4, nothing), None);
    }
}

#[test]
fn what_is_right_is_left_alone_however_it_is_spelled() {
    let one = exemption(&["10.0.0.7"]);
    let rule = format!("ISTIO_POSTRT {V4}");
    let odd =
        "ISTIO_POSTRT -d 10.0.0.7 -p 6 -m owner --socket-exists -j SNAT --to-source 169.254.7.127";
    for rule in [rule.as_str(), odd] {
        let text = shown(
            &["ISTIO_POSTRT", "KUBE-POSTROUTING"],
            &[
                "POSTROUTING -j ISTIO_POSTRT",
                "POSTROUTING -j KUBE-POSTROUTING",
                rule,
            ],
        );
        assert_eq!(told(&one, Family::V4, &text), [""; 0]);
        assert_eq!(one.render(Family::V4, &text), None);
    }
}

#[test]
fn a_chain_that_differs_is_filled_anew_and_the_jump_stays() {
    let two = exemption(&["10.0.0.7", "10.0.0.8"]);
    let text = shown(
        &["ISTIO_POSTRT"],
        &["POSTROUTING -j ISTIO_POSTRT", &format!("ISTIO_POSTRT {V4}")],
    );
    let drift = told(&two, Family::V4, &text);
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert!(
        drift[0].contains("rule 2") && drift[0].contains("10.0.0.8"),
        "{drift:?}"
    );
    let repair = two.render(Family::V4, &text).unwrap();
    assert!(!repair.contains("POSTROUTING") && repair.matches("-A ISTIO_POSTRT").count() == 2);
}

#[test]
fn the_jump_comes_first_and_once() {
    let one = exemption(&["10.0.0.7"]);
    let rule = format!("ISTIO_POSTRT {V4}");
    let (ours, cali) = (
        "POSTROUTING -j ISTIO_POSTRT",
        "POSTROUTING -j cali-POSTROUTING",
    );
    for (rules, why, removed) in [
        (vec![], "POSTROUTING does not lead to ISTIO_POSTRT", 0),
        (vec![cali, ours], "only after `-j cali-POSTROUTING`", 1),
        (
            vec![ours, cali, ours],
            "unexpected jump `-j ISTIO_POSTRT`",
            2,
        ),
        (
            vec![ours, "OUTPUT -o eth0 -j ISTIO_POSTRT"],
            "OUTPUT has an unexpected jump",
            2,
        ),
    ] {
        let all: Vec<&str> = rules.iter().copied().chain([rule.as_str()]).collect();
        let text = shown(&["ISTIO_POSTRT", "cali-POSTROUTING"], &all);
        let drift = told(&one, Family::V4, &text);
        assert!(drift.len() == 1 && drift[0].contains(why), "{drift:?}");
        let repair = one.render(Family::V4, &text).unwrap();
        assert_eq!(repair.matches("\n-D ").count(), removed, "{repair}");
        assert!(
            repair.ends_with("-I POSTROUTING 1 -j ISTIO_POSTRT\nCOMMIT\n"),
            "{repair}"
        );
        assert!(
            !repair.contains("cali"),
            "others' rules are not touched: {repair}"
        );
    }
}

#[test]
fn without_pods_nothing_of_ours_is_left() {
    let text = shown(
        &["ISTIO_POSTRT"],
        &["POSTROUTING -j ISTIO_POSTRT", &format!("ISTIO_POSTRT {V4}")],
    );
    let none = Exemption::default();
    assert_eq!(told(&none, Family::V4, &text).len(), 1);
    assert_eq!(
        none.render(Family::V4, &text).unwrap(),
        "*nat\n-D POSTROUTING -j ISTIO_POSTRT\n-F ISTIO_POSTRT\n-X ISTIO_POSTRT\nCOMMIT\n"
    );
}

#[test]
fn the_node_s_backend_is_the_one_that_others_use() {
    use Backend::{Legacy, Nft};
    let rules = |count: usize| shown(&[], &vec!["POSTROUTING -j MASQUERADE"; count]);
    let hint = || "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n".to_owned();
    let ours = || shown(&["ISTIO_POSTRT"], &["POSTROUTING -j ISTIO_POSTRT"]);
    for (dumps, expected) in [
        (vec![], Nft),
        (vec![(Nft, rules(0)), (Legacy, rules(1))], Legacy),
        (vec![(Nft, rules(2)), (Legacy, rules(1))], Nft),
        (vec![(Nft, rules(9)), (Legacy, hint())], Legacy),
        // A leftover of an earlier boot; where ours are already, they stay.
        (
            vec![(Nft, hint()), (Legacy, hint()), (Legacy, ours())],
            Legacy,
        ),
        (vec![(Nft, rules(1)), (Legacy, ours())], Legacy),
        (vec![(Nft, hint()), (Legacy, ours())], Nft),
    ] {
        assert_eq!(backend_of_the_node(&dumps, Nft), expected, "{dumps:?}");
    }
    assert_eq!(backend_of_the_node(&[], Legacy), Legacy);
}

#[test]
fn where_nobody_else_has_been_only_the_difference_is_written() {
    let (none, one) = (Exemption::default(), exemption(&["10.0.0.7"]));
    let both = exemption(&["10.0.0.7", "fd00::7"]);
    let texts = |before: &Exemption, goal: &Exemption| {
        [Family::V4, Family::V6].map(|family| goal.render_after(family, before))
    };
    let v4 = format!(
        "*nat\n:ISTIO_POSTRT - [0:0]\n-A ISTIO_POSTRT {V4}\n-I POSTROUTING 1 -j ISTIO_POSTRT\nCOMMIT\n"
    );
    assert_eq!(texts(&none, &one), [Some(v4.clone()), None]);
    // As it would be written after a look.
    assert_eq!(one.render(Family::V4, &shown(&[], &[])), Some(v4));
    let [v4, v6] = texts(&one, &both);
    assert_eq!(v4, None);
    assert!(v6.unwrap().contains("-I POSTROUTING 1"));
    let two = exemption(&["10.0.0.7", "10.0.0.8", "fd00::7"]);
    let [v4, v6] = texts(&both, &two);
    assert_eq!((v4.unwrap().matches("SNAT").count(), v6), (2, None));
    let gone = "*nat\n-D POSTROUTING -j ISTIO_POSTRT\n-F ISTIO_POSTRT\n-X ISTIO_POSTRT\nCOMMIT\n";
    assert_eq!(texts(&both, &one), [None, Some(gone.to_owned())]);
    assert_eq!(texts(&both, &both), [None, None]);
}
