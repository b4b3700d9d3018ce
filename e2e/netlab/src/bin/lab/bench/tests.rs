#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use super::lanes::{DIRECT, OURS, verdict};
use super::machine::About;
use super::results::{Journal, Look, Measurement, Results};
use super::suite::{CPU, PANELS, TESTS, Test};
use super::{Length, plot, prepare, table};
use anyhow::anyhow;
use e2e_netlab::usage::Memory;
use serde_json::{Value, json};

fn test(name: &str) -> &'static Test {
    TESTS.iter().find(|test| test.name == name).unwrap()
}

fn about() -> About {
    About {
        date: "2024-02-29 12:00 UTC".to_owned(),
        command: "lab bench --out here".to_owned(),
        kernel: "6.1.0".to_owned(),
        cpu: "Fast <1> & sound".to_owned(),
        cores: 4,
        memory_gib: Some(16.0),
        load_before: "0.25".to_owned(),
        rounds: 3,
        seconds: 2,
    }
}

fn bulk(gigabits: f64) -> Value {
    json!({"ok": true, "gbit_per_s": gigabits, "bytes": 2_000_000_000_u64})
}

/// Three rounds of one test, one of which failed in the mesh.
fn results() -> Results {
    let test = test("bulk-up-1");
    let mut results = Results::default();
    for (round, lane, outcome) in [
        (1, OURS, Ok(bulk(2.0))),
        (1, DIRECT, Ok(bulk(8.0))),
        (2, DIRECT, Ok(bulk(10.0))),
        (2, OURS, Err(anyhow!("the tunnel\nbroke"))),
        (3, OURS, Ok(bulk(6.0))),
        (3, DIRECT, Ok(bulk(12.0))),
    ] {
        let mut one = Measurement::new(round, test, lane, outcome);
        one.agents_cpu_s = Some(1.5);
        results.measurements.push(one);
    }
    let memory = Memory {
        rss: 20_480,
        pss: 10_240,
        anonymous: 1024,
    };
    let (moment, node) = ("before any connection".to_owned(), "a".to_owned());
    results.memory.push(Look {
        moment,
        node,
        memory,
    });
    results
}

/// The row of a table that begins so.
fn row<'a>(text: &'a str, beginning: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no {beginning} in {text}"))
}

#[test]
fn figures_are_of_what_succeeded() {
    let results = results();
    let rounds = results.rounds("bulk-up-1", OURS, "gbit_per_s");
    assert_eq!(rounds, [(1, 2.0), (3, 6.0)]);
    assert_eq!(
        results.rounds("bulk-up-1", OURS, CPU),
        [(1, 0.75), (3, 0.75)]
    );
    assert_eq!(results.rounds("bulk-up-1", OURS, "p50_us"), []);
    assert_eq!(results.rounds("bulk-up-4", OURS, "gbit_per_s"), []);
    assert_eq!(results.failed("bulk-up-1", OURS), (1, 3));
    assert_eq!(results.failed("bulk-up-1", DIRECT), (0, 3));
}

#[test]
fn an_answer_that_says_no_is_a_failure_in_its_words() {
    let test = test("connects-16");
    for (answer, words) in [
        (
            json!({"ok": false, "error": "connect: refused"}),
            "connect: refused",
        ),
        (
            json!({"ok": false, "made": 16, "failed": 2, "errors": {"send: reset": 2}}),
            "2 of 16 failed: send: reset",
        ),
        (json!(7), "not an answer of podkit: 7"),
    ] {
        let one = Measurement::new(1, test, OURS, Ok(answer));
        assert_eq!(one.error.as_deref(), Some(words));
    }
    verdict(&json!({"ok": true})).unwrap();
}

#[test]
fn the_table_has_medians_paired_ratios_and_what_failed() {
    let text = table::table(&about(), &results());
    assert_eq!(
        row(&text, "| bulk to the server, 1 connection | Gbit/s"),
        "| bulk to the server, 1 connection | Gbit/s | 4.00 [2.00–6.00]; 1 of 3 failed \
         | 10.0 [8.00–12.0] | 0.375 [0.250–0.500] |",
    );
    assert_eq!(
        row(&text, "| bulk to the server, 4 connections | Gbit/s"),
        "| bulk to the server, 4 connections | Gbit/s | – | – | – |",
    );
    assert_eq!(
        row(&text, "| bulk to the server, 1 connection | 0"),
        "| bulk to the server, 1 connection | 0.750 [0.750–0.750] | GB |",
    );
    assert_eq!(
        row(&text, "| before any connection"),
        "| before any connection | a | 20.0 | 10.0 | 1.00 |",
    );
    assert_eq!(
        row(&text, "- bulk"),
        "- bulk-up-1, ours, round 2: the tunnel broke"
    );
    assert_eq!(
        row(&text, "- machine"),
        "- machine: 4 × Fast <1> & sound, 16 GiB of memory"
    );
    assert_eq!(row(&text, "- kernel"), "- kernel: Linux 6.1.0");
    assert_eq!(row(&text, "- command"), "- command: `lab bench --out here`");
}

#[test]
fn a_test_that_never_succeeded_is_called_failed() {
    let mut results = results();
    results.measurements.retain(|one| one.error.is_some());
    let text = table::table(&about(), &results);
    assert_eq!(
        row(&text, "| bulk to the server, 1 connection | Gbit/s"),
        "| bulk to the server, 1 connection | Gbit/s | failed | – | – |",
    );
}

#[test]
fn the_plot_draws_medians_and_whiskers_to_scale() {
    let svg = plot::plot(&about(), &results());
    // 12 Gbit/s at most: the axis ends with 15, on 210 units above 262.
    for wanted in [
        "y=\"206.0\" width=\"34.6\" height=\"56.0\" fill=\"#1f5fa8\"", // 4 of 15
        "y=\"122.0\" width=\"34.6\" height=\"140.0\" fill=\"#b5bec9\"", // 10 of 15
        "178.0 V234.0",                                                // 6 to 2
        "94.0 V150.0",                                                 // 12 to 8
        ">4.00</text>",
        ">15</text>",
        ">Gbit/s</text>",
        "fill=\"#ffffff\"",
        "Fast &lt;1&gt; &amp; sound",
    ] {
        assert!(svg.contains(wanted), "no {wanted} in {svg}");
    }
    assert_eq!(svg.matches("<g ").count(), PANELS.len());
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn every_bar_is_of_a_test_that_has_the_figure() {
    for bar in PANELS.iter().flat_map(|panel| panel.bars) {
        let has = test(bar.0).figures.iter().any(|one| one.key == bar.1);
        assert!(has || bar.1 == CPU, "{} {}", bar.0, bar.1);
    }
}

#[test]
fn numbers_of_an_earlier_run_do_not_stay() {
    let out = tempfile::tempdir().unwrap();
    for name in ["table.md", "plot.svg", "results.jsonl"] {
        std::fs::write(out.path().join(name), "old").unwrap();
    }
    let mut journal: Journal = prepare(out.path(), &about()).unwrap();
    journal.line(&results().measurements[3]).unwrap();
    let text = std::fs::read_to_string(out.path().join("results.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["about"]["kernel"], "6.1.0");
    assert_eq!(lines[1]["error"], "the tunnel\nbroke");
    assert!(!out.path().join("table.md").exists());
    assert!(!out.path().join("plot.svg").exists());
}

#[test]
fn an_output_that_is_no_directory_is_said_before_anything_is_made() {
    let out = tempfile::NamedTempFile::new().unwrap();
    let length = Length {
        rounds: 1,
        seconds: 1,
    };
    let error = prepare(out.path(), &About::now(length)).err().unwrap();
    let text = format!("{error:#}");
    assert!(text.contains("give --out a directory"), "{text}");
}
