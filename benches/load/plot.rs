//! The chart: horizontal bars on a logarithmic scale, one group for each table.

use std::fmt::Write;

/// One group of bars.
pub struct Bars {
    pub title: String,
    /// Names and microseconds.
    pub values: Vec<(String, f64)>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 200.0;
const BAR: f64 = 16.0;
const STEP: f64 = 24.0;
/// The scale's ends, µs.
const SCALE: (f64, f64) = (10.0, 100_000.0);

/// An SVG that reads on light and on dark paper.
pub fn bars(title: &str, groups: &[Bars]) -> String {
    let lines: usize = groups.iter().map(|group| group.values.len()).sum();
    let height = 60.0 + STEP * (lines as f64 + 2.0 * groups.len() as f64);
    let mut svg = String::new();
    let _infallible = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n<style>text {{ fill: #444 }} .t {{ fill: #0a7d5a }} .o {{ fill: #9aa3ad }} .h {{ font-weight: bold }} @media (prefers-color-scheme: dark) {{ text {{ fill: #ccc }} .t {{ fill: #2fbf8f }} }}</style>\n<text class=\"h\" x=\"8\" y=\"22\">{title}, µs per request (logarithmic)</text>"
    );
    let mut y = 34.0;
    for group in groups {
        y += STEP;
        let _infallible = writeln!(
            svg,
            "<text class=\"h\" x=\"8\" y=\"{:.0}\">{}</text>",
            y, group.title
        );
        y += 8.0;
        for (name, value) in &group.values {
            let class = if name.starts_with("tollgate") {
                "t"
            } else {
                "o"
            };
            let length = length(*value);
            let _infallible = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{name}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/><text x=\"{:.1}\" y=\"{:.0}\">{value:.0}</text>",
                LEFT - 8.0,
                y + 13.0,
                LEFT + length + 6.0,
                y + 13.0
            );
            y += STEP;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn length(value: f64) -> f64 {
    let (low, high) = (SCALE.0.log10(), SCALE.1.log10());
    let part = (value.max(SCALE.0).log10() - low) / (high - low);
    part.min(1.0) * (WIDTH - LEFT - 90.0) + 2.0
}
