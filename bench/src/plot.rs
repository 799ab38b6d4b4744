//! Bar charts of a scenario as SVG, for the documentation.
//!
//! A panel for each quantity side by side, a bar for each contender: its median, with a whisker from the least run to
//! the greatest. Every bar begins at zero. Written by hand, as this is all that is drawn.

use std::fmt::Write as _;

use crate::measure::Spread;
use crate::report::{Measured, Report, number};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 20.0;
/// From the title to the first bar.
const HEAD: f64 = 92.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// Room behind the longest bar for its value.
const VALUE: f64 = 58.0;
/// About the width of a character of 13 pixels.
const CHARACTER: f64 = 6.7;

/// Readers of a page choose between light and dark; so does the picture.
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',Arial,sans-serif;fill:#1f2937}\
.title{font-size:16px;font-weight:600}.panel{font-weight:600}.hint{font-size:12px;fill:#6b7280}\
.name{text-anchor:end}.page{fill:#ffffff;stroke:#e5e7eb}.axis{stroke:#d1d5db}\
.ours{fill:#d9480f}.peer{fill:#94a3b8}.whisker{stroke:#1f2937;stroke-width:1.5;fill:none}\
@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.hint{fill:#9ca3af}.page{fill:#111827;stroke:#374151}\
.axis{stroke:#4b5563}.ours{fill:#f76707}.peer{fill:#64748b}.whisker{stroke:#e5e7eb}}";

/// The chart of a report; `None` if nothing of it was measured.
pub(crate) fn svg(report: &Report) -> Option<String> {
    let measured: Vec<&Measured> =
        report.contenders.iter().filter(|contender| !contender.runs.is_empty()).collect();
    let panels: Vec<&str> = report
        .plots
        .iter()
        .copied()
        .filter(|metric| measured.iter().any(|contender| contender.spread(metric).is_some()))
        .collect();
    let longest = measured.iter().map(|contender| contender.name.chars().count()).max()?;
    let names = MARGIN + longest as f64 * CHARACTER;
    let width = (WIDTH - MARGIN - names) / panels.len() as f64;
    let height = HEAD + ROW * measured.len() as f64 - (ROW - BAR) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"32\">{name}</text>\n\
         <text class=\"hint\" x=\"{MARGIN}\" y=\"52\">{title}</text>\n",
        WIDTH - 1.0,
        height - 1.0,
        name = escaped(report.scenario),
        title = escaped(report.title),
    );
    for (row, contender) in measured.iter().enumerate() {
        let y = HEAD + ROW * row as f64 + BAR / 2.0 + 4.5;
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{names:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(&contender.name)
        );
    }
    for (index, metric) in panels.iter().enumerate() {
        panel(&mut svg, &measured, metric, names + GAP + width * index as f64, width - GAP);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn panel(svg: &mut String, measured: &[&Measured], metric: &str, left: f64, width: f64) {
    let spreads: Vec<Option<Spread>> = measured.iter().map(|contender| contender.spread(metric)).collect();
    let most = spreads.iter().flatten().map(|spread| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| left + value / most * (width - VALUE);
    // An arrow, as four panels leave no room for words.
    let better = if more_is_better(metric) { "↑ better" } else { "↓ better" };
    let bottom = HEAD + ROW * measured.len() as f64 - (ROW - BAR) + 6.0;
    let _ = writeln!(
        svg,
        "<text x=\"{left:.1}\" y=\"{:.1}\"><tspan class=\"panel\">{}</tspan><tspan class=\"hint\" dx=\"7\">{better}</tspan></text>\n\
         <line class=\"axis\" x1=\"{left:.1}\" y1=\"{:.1}\" x2=\"{left:.1}\" y2=\"{bottom:.1}\"/>",
        HEAD - 14.0,
        escaped(metric),
        HEAD - 6.0,
    );
    for (row, (contender, spread)) in measured.iter().zip(spreads).enumerate() {
        let Some(Spread { median, min, max }) = spread else { continue };
        let top = HEAD + ROW * row as f64;
        let (middle, low, high) = (top + BAR / 2.0, x(min), x(max));
        let class = if contender.ours { "ours" } else { "peer" };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            (x(median) - left).max(1.5),
        );
        if high - low > 1.0 {
            let (up, down) = (middle - 4.0, middle + 4.0);
            let _ = writeln!(
                svg,
                "<path class=\"whisker\" d=\"M{low:.1} {up}V{down}M{low:.1} {middle}H{high:.1}M{high:.1} {up}V{down}\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            high.max(left + 1.5) + 6.0,
            middle + 4.5,
            number(median)
        );
    }
}

/// Rates are; times, memory and cores are not.
fn more_is_better(metric: &str) -> bool {
    metric.contains("rows/")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{PEAK, RATE, Sample};

    fn report(contenders: Vec<Measured>) -> Report {
        Report::new("demo", "Demo & more", 5, &[RATE], &[RATE, PEAK], contenders, &[])
    }

    fn measured(name: &str, values: &[f64]) -> Measured {
        let runs = values.iter().map(|value| Sample::from([(RATE, *value)])).collect();
        let (settings, failures) = (String::new(), Vec::new());
        Measured { name: name.to_owned(), ours: name == "ours", settings, runs, failures }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let contenders =
            vec![measured("ours", &[80.0, 100.0]), measured("peer", &[50.0]), measured("unmeasured", &[])];
        let svg = svg(&report(contenders)).unwrap();
        let width = |class: &str| -> f64 {
            let (_, bar) = svg.split_once(&format!("class=\"{class}\" x=")).unwrap();
            bar.split_once("width=\"").unwrap().1.split_once('"').unwrap().0.parse().unwrap()
        };
        assert!((width("ours") - 1.8 * width("peer")).abs() < 0.2, "{svg}");
        assert_eq!(svg.matches("class=\"whisker\"").count(), 1, "one run has no spread");
        assert!(
            svg.contains("Demo &amp; more") && !svg.contains("unmeasured") && !svg.contains(PEAK),
            "{svg}"
        );
    }

    #[test]
    fn nothing_measured_is_no_chart() {
        assert_eq!(svg(&report(vec![measured("ours", &[])])), None);
    }
}
