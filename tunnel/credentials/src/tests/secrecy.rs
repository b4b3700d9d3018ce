use std::fmt::Write as _;
use std::sync::Arc;

use crate::answer::{self, Asked};
use crate::key::Key;
use crate::test_authority::{LeafSpec, TestAuthority};
use crate::{SystemWallClock, WallClock as _, tls};

/// The private scalar of a P-256 key follows this head in its PKCS #8 form.
const SCALAR_HEAD: [u8; 4] = [0x02, 0x01, 0x01, 0x04];

#[test]
fn what_can_be_printed_of_a_certificate_does_not_hold_its_key() {
    let web = super::identity("web");
    let key = Key::generate().unwrap();
    let der = key.encoded_for_test();
    let at = der
        .windows(4)
        .position(|place| place == SCALAR_HEAD)
        .unwrap()
        + 5;
    assert_eq!(der[at - 1], 32, "not the place of the scalar");
    let scalar = &der[at..at + 32];

    let authority = TestAuthority::new("a");
    let answer = authority.answer(
        &key.signing_request(&web).unwrap(),
        &LeafSpec::named(web.as_str()),
    );
    let asked = Asked {
        identity: &web,
        public_key_info: &key.public_key_info(),
        now: SystemWallClock.now(),
        skew: std::time::Duration::ZERO,
    };
    let accepted = answer::check(answer, &asked).unwrap();
    let clock: Arc<dyn crate::WallClock> = Arc::new(SystemWallClock);
    let made = tls::certificate(accepted, key, &Arc::default(), &clock).unwrap();

    let printed = format!("{made:?} {:?} {:?}", made.client, made.server).to_lowercase();
    assert!(printed.contains("alpn_protocols"), "nothing was printed");
    let mut hex = String::new();
    for byte in &scalar[..8] {
        write!(hex, "{byte:02x}").unwrap();
    }
    let decimal: Vec<String> = scalar[..8].iter().map(u8::to_string).collect();
    assert!(!printed.contains(&hex));
    assert!(!printed.contains(&decimal.join(", ")));
}
