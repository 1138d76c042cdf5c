//! The picture: each measured pair of places, and what distance and the model say of it.

use std::fmt::Write as _;

use crate::splits::{Judged, Pair};

const PANEL: f64 = 360.0;
const MARGIN: f64 = 50.0;
const MOST_MS: f64 = 450.0;

/// Two panels side by side, as SVG.
pub(crate) fn draw(split: &Judged) -> String {
    let (width, height) = (2.0 * (PANEL + MARGIN) + 20.0, PANEL + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let (start, slope) = line(&split.pairs);
    panel(&mut svg, MARGIN, "by distance: the best straight line", &split.pairs, |pair| start + slope * pair.km);
    panel(&mut svg, PANEL + 2.0 * MARGIN, "by the model", &split.pairs, |pair| pair.estimated_ms);
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">across: measured, ms ({}); up: estimated, ms (fitted on {})</text>",
        width / 2.0,
        height - 8.0,
        split.on,
        split.fitted_on
    );
    svg + "</svg>\n"
}

fn panel(svg: &mut String, left: f64, title: &str, pairs: &[Pair], estimate: impl Fn(&Pair) -> f64) {
    let x = |ms: f64| left + PANEL * ms / MOST_MS;
    let y = |ms: f64| MARGIN + PANEL * (1.0 - ms / MOST_MS);
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"30\" font-weight=\"bold\">{title}</text>\n\
         <rect x=\"{left}\" y=\"{MARGIN}\" width=\"{PANEL}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#888\"/>\n\
         <path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>",
        x(0.0),
        y(0.0),
        x(MOST_MS),
        y(MOST_MS)
    );
    for ms in [0.0, 100.0, 200.0, 300.0, 400.0] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{ms}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{ms}</text>",
            x(ms),
            MARGIN + PANEL + 16.0,
            left - 5.0,
            y(ms) + 4.0
        );
    }
    let _ = write!(svg, "<g fill=\"#2a6fb0\" fill-opacity=\"0.35\">");
    for pair in pairs {
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>",
            x(pair.measured_ms),
            y(estimate(pair).min(MOST_MS))
        );
    }
    let _ = writeln!(svg, "</g>");
}

/// The straight line through these pairs that errs least, in squares: start and slope.
fn line(pairs: &[Pair]) -> (f64, f64) {
    let count = pairs.len() as f64;
    let mean = |of: &dyn Fn(&Pair) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (km, ms) = (mean(&|pair| pair.km), mean(&|pair| pair.measured_ms));
    let slope = mean(&|pair| (pair.km - km) * (pair.measured_ms - ms)) / mean(&|pair| (pair.km - km).powi(2));
    (ms - slope * km, slope)
}
