//! Figures as SVG, without a library: axes, a diagonal, bars and lines in a square.

use std::fmt::Write;

use super::{BinFigures, RoutingFigures, TaskFigures};
use crate::classify::task::Task;

/// Side of the square that is drawn in, pixels.
const SIDE: f64 = 360.0;
/// Room for the labels, pixels.
const MARGIN: f64 = 56.0;

struct Page(String);

impl Page {
    fn new(title: &str, width: f64, height: f64) -> Self {
        let mut page = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        ));
        page.text(width / 2.0, 20.0, "middle", title);
        page
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn rect(&mut self, [x, y, width, height]: [f64; 4], fill: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{fill}\"/>"
        );
    }

    fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", place_x(*x), place_y(*y)))
            .collect();
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            path.join(" ")
        );
    }

    fn axes(&mut self, across: &str, up: [&str; 3]) {
        self.line(&[(0.0, 1.0), (0.0, 0.0), (1.0, 0.0)], "black");
        self.text(place_x(0.5), place_y(0.0) + 32.0, "middle", across);
        self.text(MARGIN - 6.0, place_y(0.0), "end", up[0]);
        self.text(MARGIN - 6.0, place_y(1.0) + 8.0, "end", up[2]);
        self.text(MARGIN - 6.0, place_y(0.5), "end", up[1]);
        self.text(place_x(0.0), place_y(0.0) + 16.0, "middle", "0");
        self.text(place_x(1.0), place_y(0.0) + 16.0, "middle", "1");
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

fn place_x(share: f64) -> f64 {
    MARGIN + share * SIDE
}

fn place_y(share: f64) -> f64 {
    MARGIN * 0.7 + (1.0 - share) * SIDE
}

/// The reliability diagram: accuracy over confidence.
#[must_use]
pub fn reliability(bins: &[BinFigures]) -> String {
    let mut page = Page::new("Calibration", SIDE + MARGIN * 1.5, SIDE + MARGIN * 1.6);
    #[allow(clippy::cast_precision_loss, reason = "a handful of bins")]
    let width = 1.0 / bins.len().max(1) as f64;
    for (bin, left) in bins.iter().zip((0_u32..).map(|at| f64::from(at) * width)) {
        let height = bin.accuracy * SIDE;
        let x = place_x(left) + 1.0;
        let bar = [x, place_y(bin.accuracy), width * SIDE - 2.0, height];
        page.rect(bar, "#7aa6d8");
    }
    page.line(&[(0.0, 0.0), (1.0, 1.0)], "#888888");
    page.axes("confidence", ["0", "accuracy", "1"]);
    page.finish()
}

/// Accuracy over the share of strong calls, by each score.
#[must_use]
pub fn routing(name: &str, figures: &RoutingFigures) -> String {
    let mut page = Page::new(
        &format!("Routing: {name}"),
        SIDE + MARGIN * 1.5,
        SIDE + MARGIN * 1.6,
    );
    let curves = [
        ("weak_fails", "#c0392b", &figures.weak_fails),
        ("length", "#2874a6", &figures.length),
        ("random", "#888888", &figures.random),
    ];
    let all = || curves.iter().flat_map(|(_, _, curve)| &curve.points);
    let low = all().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = all().map(|point| point.1).fold(f64::MIN, f64::max);
    let span = (high - low).max(1e-9);
    for ((name, colour, curve), line) in curves.iter().zip(0_u32..) {
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .map(|(x, y)| (*x, (y - low) / span))
            .collect();
        page.line(&points, colour);
        let y = place_y(0.22) + f64::from(line) * 16.0;
        page.rect([place_x(0.55), y - 8.0, 10.0, 10.0], colour);
        let label = format!("{name}: APGR {:.3}", curve.apgr);
        page.text(place_x(0.55) + 16.0, y, "start", &label);
    }
    let (bottom, top) = (format!("{low:.2}"), format!("{high:.2}"));
    page.axes("share of strong calls", [&bottom, "accuracy", &top]);
    page.finish()
}

/// The confusion matrix; a row is what is right, a column what was said.
#[must_use]
pub fn confusion(figures: &TaskFigures) -> String {
    const CELL: f64 = 30.0;
    const LEFT: f64 = 120.0;
    const TOP: f64 = 130.0;
    let side = f64::from(u32::try_from(Task::COUNT).unwrap_or(0)) * CELL;
    let mut page = Page::new(
        "Right task (rows) and said task",
        LEFT + side + 20.0,
        TOP + side + 20.0,
    );
    for (right, row) in Task::ALL.into_iter().zip((0_u32..).map(f64::from)) {
        let y = TOP + row * CELL;
        page.text(LEFT - 6.0, y + CELL * 0.65, "end", right.as_str());
        let _ = writeln!(
            page.0,
            "<text transform=\"translate({:.1},{:.1}) rotate(-60)\">{}</text>",
            LEFT + row * CELL + CELL * 0.6,
            TOP - 6.0,
            right.as_str()
        );
        let Some(counts) = figures.confusion.get(right.as_str()) else {
            continue;
        };
        let rows: u32 = counts.values().sum();
        for (said, column) in Task::ALL.into_iter().zip((0_u32..).map(f64::from)) {
            let Some(count) = counts.get(said.as_str()) else {
                continue;
            };
            let share = f64::from(*count) / f64::from(rows.max(1));
            let light = 255.0 - share * 200.0;
            let fill = format!("rgb({light:.0},{light:.0},255)");
            let x = LEFT + column * CELL;
            page.rect([x, y, CELL - 1.0, CELL - 1.0], &fill);
            page.text(
                x + CELL / 2.0,
                y + CELL * 0.65,
                "middle",
                &count.to_string(),
            );
        }
    }
    page.finish()
}
