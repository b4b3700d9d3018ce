#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn wanted(uid: &str, value: Option<&'static str>) -> Annotate {
    Annotate {
        namespace: "n".into(),
        name: "p".into(),
        uid: uid.into(),
        value,
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_is_not_written_again_until_it_is_time() {
    let mut written = Written::default();
    let (on, off) = (wanted("u", Some("enabled")), wanted("u", None));
    let due =
        |written: &Written, annotate: &Annotate| !written.due(vec![annotate.clone()]).is_empty();
    assert!(due(&written, &on));
    written.begun(&on);
    written.note(&on, Ok(()));
    assert!(!due(&written, &on), "the watch has not shown it yet");
    assert!(due(&written, &off), "another value is news");
    tokio::time::advance(SEEN).await;
    assert!(due(&written, &on));

    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        written.begun(&on);
        written.note(&on, Err(WorldError::passing("scripted")));
        let almost = Duration::from_secs(pause).saturating_sub(Duration::from_millis(1));
        tokio::time::advance(almost).await;
        assert!(!due(&written, &on), "{pause}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(due(&written, &on), "{pause}");
    }
    written.retain(&[wanted("other", None)]);
    assert!(written.0.is_empty());
}
