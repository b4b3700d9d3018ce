//! What is remembered of verified chains, and for how long.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::identity;
use crate::clock::unix;
use crate::remember::Remembered;
use crate::test_authority::{LeafSpec, TestAuthority};
use crate::trust::Beside;

fn now() -> UnixTime {
    unix(SystemTime::now())
}

fn later(seconds: u64) -> UnixTime {
    unix(SystemTime::now() + Duration::from_secs(seconds))
}

/// An allocation of its own, as every replacement is.
fn no_more_roots() -> Beside {
    Vec::new().into()
}

fn chain() -> Vec<CertificateDer<'static>> {
    let below = TestAuthority::new("mesh").intermediate("below");
    below
        .issue(&LeafSpec::named(identity("web").as_str()))
        .chain
}

#[test]
fn only_the_same_chain_under_the_same_roots_is_recalled() {
    let remembered = Remembered::default();
    let beside = no_more_roots();
    let (chain, other) = (chain(), chain());
    let (leaf, between) = chain.split_first().unwrap();
    assert_eq!(remembered.recall(&beside, leaf, between, now()), None);
    remembered.keep(&beside, leaf, between, &identity("web"), now());
    let known = Some(identity("web"));
    assert_eq!(remembered.recall(&beside, leaf, between, now()), known);
    assert_eq!(remembered.recall(&beside, leaf, &[], now()), None);
    assert_eq!(remembered.recall(&beside, leaf, &other[1..], now()), None);
    assert_eq!(remembered.recall(&beside, &other[0], between, now()), None);
    let replaced = no_more_roots();
    assert_eq!(remembered.recall(&replaced, leaf, between, now()), None);
    // What was verified under the new ones ends what was known under the old.
    remembered.keep(&replaced, leaf, between, &identity("web"), now());
    assert_eq!(remembered.recall(&replaced, leaf, between, now()), known);
    assert_eq!(remembered.recall(&beside, leaf, between, now()), None);
}

#[test]
fn nothing_is_recalled_outside_of_its_validity() {
    let remembered = Remembered::default();
    let beside = no_more_roots();
    let chain = chain();
    let (leaf, between) = chain.split_first().unwrap();
    remembered.keep(&beside, leaf, between, &identity("web"), now());
    let recall = |at| remembered.recall(&beside, leaf, between, at).is_some();
    // From a minute ago for an hour and a minute; the intermediate for years.
    assert!(recall(later(3590)));
    assert!(!recall(later(3610)));
    let before = SystemTime::now() - Duration::from_secs(70);
    assert!(!recall(unix(before)));
}

#[test]
fn what_cannot_be_read_is_not_remembered() {
    let remembered = Remembered::default();
    let beside = no_more_roots();
    let rubbish = CertificateDer::from(b"rubbish".to_vec());
    let chain = chain();
    let (leaf, between) = chain.split_first().unwrap();
    let more = [between, std::slice::from_ref(&rubbish)].concat();
    for (leaf, between) in [(&rubbish, between), (leaf, &more)] {
        remembered.keep(&beside, leaf, between, &identity("web"), now());
        assert_eq!(remembered.recall(&beside, leaf, between, now()), None);
    }
}

#[test]
fn it_does_not_grow_without_end() {
    let remembered = Remembered::default();
    let beside = no_more_roots();
    let authority = TestAuthority::new("mesh");
    let mut last = Vec::new();
    for _ in 0..600 {
        last = authority
            .issue(&LeafSpec::named(identity("web").as_str()))
            .chain;
        remembered.keep(&beside, &last[0], &[], &identity("web"), now());
        let bytes = remembered.bytes();
        assert!(bytes <= 128 * 1024, "{bytes}");
    }
    let known = remembered.recall(&beside, &last[0], &[], now());
    assert_eq!(known, Some(identity("web")));
    // One that is kept again, with whatever behind it, is not counted again and makes nobody go.
    let bytes = remembered.bytes();
    remembered.keep(&beside, &last[0], &[], &identity("web"), now());
    assert_eq!(remembered.bytes(), bytes);
}

#[test]
fn a_very_long_chain_is_not_remembered() {
    let remembered = Remembered::default();
    let beside = no_more_roots();
    let chain = chain();
    let (leaf, between) = chain.split_first().unwrap();
    let long = vec![between[0].clone(); 100];
    remembered.keep(&beside, leaf, &long, &identity("web"), now());
    assert_eq!(remembered.recall(&beside, leaf, &long, now()), None);
    assert_eq!(remembered.bytes(), 0);
}
