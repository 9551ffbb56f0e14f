//! The month as a picture: what was spent, against the limit, and the price of money below.

use std::fmt::Write;

use super::simulation::{HOURS, Outcome, demand};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;

/// A panel: its top, height and greatest value.
struct Panel {
    top: f64,
    height: f64,
    most: f64,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    fn line(&self, values: impl Iterator<Item = f64>, style: &str) -> String {
        let mut path = String::new();
        for (hour, value) in values.enumerate() {
            let step = if hour == 0 { 'M' } else { 'L' };
            // Writing to a `String` cannot fail.
            let _ = write!(path, "{step}{:.1} {:.1}", x(hour), self.y(value));
        }
        format!("<path d=\"{path}\" fill=\"none\" {style}/>\n")
    }

    fn frame(&self, title: &str) -> String {
        format!(
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#bbb\"/>\n\
             <text x=\"{LEFT}\" y=\"{}\" class=\"t\">{title}</text>\n",
            self.top,
            WIDTH - LEFT - RIGHT,
            self.height,
            self.top - 8.0
        )
    }

    fn label(&self, value: f64, text: &str) -> String {
        let y = self.y(value);
        format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
            LEFT - 6.0,
            y + 4.0
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "hours of a month")]
fn x(hour: usize) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * hour as f64 / HOURS as f64
}

/// The picture as SVG.
pub fn draw(wall: &Outcome, paced: &Outcome) -> String {
    let limit = paced.limit_usd;
    let spending = Panel {
        top: 40.0,
        height: 260.0,
        most: limit * 1.08,
    };
    let price = Panel {
        top: 340.0,
        height: 110.0,
        most: highest(&paced.price),
    };
    let blocked = Panel {
        top: 490.0,
        height: 80.0,
        most: highest_per_day(wall),
    };
    let asked = Panel {
        top: 610.0,
        height: 70.0,
        most: 8.0,
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 720\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.t{{font-weight:bold}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let (red, blue) = (
        "stroke=\"#c0392b\" stroke-width=\"2\"",
        "stroke=\"#1f5fa8\" stroke-width=\"2\"",
    );
    out += &spending.frame("spent, USD: paced (blue) and with a hard cap (red); the limit and the even pace are dashed");
    let dashed = "stroke=\"#777\" stroke-dasharray=\"5 4\"";
    out += &spending.line((0..HOURS).map(|_| limit), dashed);
    #[allow(clippy::cast_precision_loss, reason = "hours of a month")]
    let even = (0..HOURS).map(|hour| limit * hour as f64 / HOURS as f64);
    out += &spending.line(even, dashed);
    out += &spending.line(wall.spent_usd.iter().copied(), red);
    out += &spending.line(paced.spent_usd.iter().copied(), blue);
    out += &(spending.label(limit, &format!("{limit:.0}")) + &spending.label(0.0, "0"));
    out += &price.frame("the price of money, paced");
    out += &price.line(paced.price.iter().copied(), blue);
    out += &(price.label(price.most, &format!("{:.1}", price.most)) + &price.label(0.0, "0"));
    out += &blocked.frame("requests refused in a day: hard cap (red), paced (blue)");
    out += &bars(wall, &blocked, "#c0392b");
    out += &bars(paced, &blocked, "#1f5fa8");
    out +=
        &(blocked.label(blocked.most, &format!("{:.0}", blocked.most)) + &blocked.label(0.0, "0"));
    out += &asked.frame("demand, relative to an average hour");
    out += &asked.line((0..HOURS).map(demand), "stroke=\"#666\"");
    out += &(asked.label(8.0, "8") + &asked.label(0.0, "0"));
    for day in (0..30).step_by(7) {
        let text = format!(
            "<text x=\"{:.1}\" y=\"700\">day {}</text>\n",
            x(day * 24),
            day + 1
        );
        out += &text;
    }
    out + "</svg>\n"
}

fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(1.0, f64::max)
}

#[allow(clippy::cast_precision_loss, reason = "thousands of requests")]
fn per_day(month: &Outcome) -> Vec<f64> {
    let days = month.blocked.chunks(24);
    days.map(|day| day.iter().sum::<u64>() as f64).collect()
}

fn highest_per_day(month: &Outcome) -> f64 {
    highest(&per_day(month))
}

fn bars(month: &Outcome, panel: &Panel, colour: &str) -> String {
    let mut out = String::new();
    for (day, refused) in per_day(month).into_iter().enumerate() {
        if refused > 0.0 {
            let (left, top) = (x(day * 24), panel.y(refused));
            let (width, height) = (x(24) - x(0) - 2.0, panel.top + panel.height - top);
            let _ = writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
            );
        }
    }
    out
}
