//! The results as one SVG that needs nothing else: a panel for each unit, with bars for each lane.

use super::lanes::{DIRECT, OURS};
use super::machine::About;
use super::results::Results;
use super::scale::Scale;
use super::spread::{Spread, number, spread};
use super::suite::{Bar, CPU, PANELS, Panel};
use std::fmt::Write as _;

/// A panel with its margins.
const PANEL: (f64, f64) = (380.0, 330.0);
const COLUMNS: usize = 3;
const TOP: f64 = 96.0;
/// The inner corner of a panel's axes, and their lengths.
const ORIGIN: (f64, f64) = (76.0, 262.0);
const AXES: (f64, f64) = (288.0, 210.0);
/// Lanes with their colours: told apart in grey, too.
const LANES: [(&str, &str); 2] = [(OURS, "#1f5fa8"), (DIRECT, "#b5bec9")];
const INK: &str = "#1b1f24";

/// The whole file.
pub(super) fn plot(about: &About, results: &Results) -> String {
    let rows = f64::from(u32::try_from(PANELS.len().div_ceil(COLUMNS)).unwrap_or(1));
    let columns = f64::from(u32::try_from(COLUMNS).unwrap_or(1));
    let (width, height) = (columns * PANEL.0 + 20.0, TOP + rows * PANEL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    heading(about, &mut svg);
    for (number, panel) in (0_u32..).zip(&PANELS) {
        let column = number % u32::try_from(COLUMNS).unwrap_or(1);
        let row = number / u32::try_from(COLUMNS).unwrap_or(1);
        let (x, y) = (f64::from(column) * PANEL.0, TOP + f64::from(row) * PANEL.1);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        draw(panel, results, &mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn heading(about: &About, svg: &mut String) {
    let machine = format!(
        "{} × {}, Linux {}, {}; median of {} rounds of {} s, whiskers: least and most",
        about.cores, about.cpu, about.kernel, about.date, about.rounds, about.seconds
    );
    let title = "Two pods in the mesh beside two outside, on two nodes of one machine";
    text(svg, (20.0, 30.0), "start", 18, title);
    text(svg, (20.0, 52.0), "start", 12, &machine);
    for (at, (lane, colour)) in [20.0, 220.0].into_iter().zip(LANES) {
        let _ = writeln!(
            svg,
            "<rect x=\"{at}\" y=\"66\" width=\"14\" height=\"14\" fill=\"{colour}\"/>"
        );
        let meaning = if lane == OURS {
            "in the mesh"
        } else {
            "without it"
        };
        let words = format!("{lane}: {meaning}");
        text(svg, (at + 20.0, 78.0), "start", 12, &words);
    }
}

fn draw(panel: &Panel, results: &Results, svg: &mut String) {
    let found = |bar: &Bar| {
        LANES.map(|(lane, _)| {
            let rounds = results.rounds(bar.0, lane, bar.1);
            // Outside the mesh the agents do nothing: there is nothing to draw.
            let drawn = bar.1 != CPU || lane == OURS;
            spread(rounds.into_iter().map(|(_, value)| value)).filter(|_| drawn)
        })
    };
    let groups: Vec<_> = panel.bars.iter().map(|bar| (bar, found(bar))).collect();
    let all = groups.iter().flat_map(|(_, lanes)| lanes.iter().flatten());
    let most = all.map(|one| one.most).fold(0.0, f64::max);
    let scale = Scale::fitting(most, AXES.1);
    axes(panel, scale, svg);
    let count = f64::from(u32::try_from(groups.len()).unwrap_or(1));
    let room = AXES.0 / count;
    for (place, (bar, lanes)) in (0_u32..).zip(&groups) {
        let middle = ORIGIN.0 + room * (f64::from(place) + 0.5);
        let width = (room * 0.36).min(44.0);
        for (left, ((lane, colour), found)) in
            [-width, 0.0].into_iter().zip(LANES.iter().zip(lanes))
        {
            match found {
                Some(found) => column(svg, (middle + left, width), colour, *found, scale),
                None if bar.1 == CPU && *lane != OURS => {}
                None => text(
                    svg,
                    (middle + left + width / 2.0, ORIGIN.1 - 4.0),
                    "middle",
                    10,
                    "none",
                ),
            }
        }
        for (line, words) in [16.0, 30.0].into_iter().zip(bar.2) {
            text(svg, (middle, ORIGIN.1 + line), "middle", 11, words);
        }
    }
}

fn axes(panel: &Panel, scale: Scale, svg: &mut String) {
    let (x, y) = ORIGIN;
    let title = format!("{} ({})", panel.title, panel.better);
    text(svg, (20.0, 24.0), "start", 14, &title);
    for tick in scale.ticks() {
        let at = y - scale.above(tick);
        let end = x + AXES.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\" stroke=\"#d8dde3\"/>"
        );
        text(svg, (x - 6.0, at + 4.0), "end", 11, &tick_text(tick));
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{x} {} V{y} H{}\" fill=\"none\" stroke=\"{INK}\"/>",
        y - AXES.1,
        x + AXES.0
    );
    let middle = y - AXES.1 / 2.0;
    let _ = writeln!(
        svg,
        "<text transform=\"translate(26 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        escaped(panel.unit)
    );
}

/// A bar with its whiskers, and its median above them.
fn column(svg: &mut String, place: (f64, f64), colour: &str, found: Spread, scale: Scale) {
    let (left, width) = place;
    let height = scale.above(found.median);
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
        ORIGIN.1 - height
    );
    let (middle, arm) = (left + width / 2.0, width / 6.0);
    let [high, low] = [found.most, found.least].map(|value| ORIGIN.1 - scale.above(value));
    let (from, to) = (middle - arm, middle + arm);
    let _ = writeln!(
        svg,
        "<path d=\"M{from:.1} {high:.1} H{to:.1} M{middle:.1} {high:.1} V{low:.1} M{from:.1} {low:.1} H{to:.1}\" \
         fill=\"none\" stroke=\"{INK}\"/>"
    );
    text(
        svg,
        (middle, high - 4.0),
        "middle",
        10,
        &number(found.median),
    );
}

/// Without digits that only round numbers have.
fn tick_text(tick: f64) -> String {
    let words = number(tick);
    if words.contains('.') {
        let short = words.trim_end_matches('0').trim_end_matches('.');
        return short.to_owned();
    }
    words
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, size: u32, words: &str) {
    let (x, y) = at;
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
        escaped(words)
    );
}

fn escaped(words: &str) -> String {
    let words = words.replace('&', "&amp;");
    words.replace('<', "&lt;").replace('>', "&gt;")
}
