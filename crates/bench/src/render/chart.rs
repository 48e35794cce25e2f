//! Charts as SVG, without a script: each value is in the picture as it is in the report, in `data-x` and
//! `data-y`, and in words for whoever points at it or has it read out.

use std::fmt::Write;

/// A chart of lines, or of points.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Name and unit of the horizontal axis.
    pub x: Axis,
    /// Name and unit of the vertical axis.
    pub y: Axis,
    /// What is drawn; each has a colour of its own.
    pub series: Vec<Series>,
    /// A stretch of the horizontal axis that is marked, and why.
    pub band: Option<(f64, f64, String)>,
}

/// An axis.
#[derive(Debug, Clone, Default)]
pub struct Axis {
    /// Name and unit.
    pub name: String,
    /// Whether equal steps are equal factors.
    pub is_log: bool,
    /// Whether it begins at zero.
    pub from_zero: bool,
    /// Values to mark; round ones if there are none.
    pub marks: Vec<f64>,
}

impl Axis {
    /// An axis with equal steps from zero.
    pub fn linear(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_log: false,
            from_zero: true,
            marks: Vec::new(),
        }
    }

    /// An axis with equal factors.
    pub fn log(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_log: true,
            from_zero: false,
            marks: Vec::new(),
        }
    }

    /// The same with marks at these values.
    pub fn marked(self, mut marks: Vec<f64>) -> Self {
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        Self { marks, ..self }
    }
}

/// Points that belong together.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Vec<Point>,
    /// How it is drawn.
    pub style: Style,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// A line with a dot for each point.
    #[default]
    Line,
    /// A line alone, for many points.
    Curve,
    /// Dots alone.
    Dots,
    /// A broken line: a bound, not a measurement.
    Bound,
}

/// A point of a series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// Ends of an interval of `y`.
    pub interval: Option<(f64, f64)>,
    /// What it is, where its place does not say.
    pub label: String,
}

impl Point {
    /// A point without more.
    pub fn at(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            ..Self::default()
        }
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;
/// Colours that the page has.
const COLOURS: usize = 8;

/// Values along an axis, and where they lie in the picture.
struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let values = values.filter(|value| value.is_finite() && (!axis.is_log || *value > 0.0));
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            (low, high) = (1.0, 2.0);
        }
        if axis.is_log {
            // A little room on both sides.
            (low, high) = (low / 1.15, high * 1.15);
        } else {
            low = if axis.from_zero { low.min(0.0) } else { low };
            high = if high > low { high } else { low + 1.0 };
            let room = (high - low).max(high.abs() * 1e-3).max(1e-9) * 0.05;
            high += room;
        }
        Self {
            low,
            high,
            is_log: axis.is_log,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = match self.is_log {
            true => (value.max(1e-300) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + part.clamp(-0.05, 1.05) * (self.to - self.from)
    }

    /// Round values for its marks.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let first = self.low.log10().floor() as i32;
            let last = self.high.log10().ceil() as i32;
            // Few decades have room for steps between.
            let steps: &[f64] = if last - first > 3 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            let decades = (first..=last)
                .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            return decades
                .filter(|tick| (self.low..=self.high).contains(tick))
                .collect();
        }
        let rough = (self.high - self.low) / 6.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|step| step * decade)
            .find(|step| *step >= rough);
        let step = step.unwrap_or(decade * 10.0);
        let first = (self.low / step).ceil() as i64;
        (first..)
            .map(|index| index as f64 * step)
            .take_while(|tick| *tick <= self.high)
            .take(12)
            .collect()
    }
}

impl Chart {
    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let band = self.band.iter().flat_map(|(from, to, _)| [*from, *to]);
        let xs = points().map(|point| point.x).chain(band);
        let x = Scale::new(&self.x, xs, LEFT, WIDTH - RIGHT);
        let ys = points().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        let y = Scale::new(&self.y, ys, HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(&self.title)
        );
        self.draw_band(&mut svg, &x);
        self.draw_axes(&mut svg, &x, &y);
        for (index, series) in self.series.iter().enumerate() {
            draw_series(&mut svg, series, index % COLOURS, &x, &y);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Names of the series beside their colours.
    pub fn legend(&self) -> String {
        let items = self.series.iter().enumerate().map(|(index, series)| {
            format!(
                "<li class=\"s{}\">{}</li>",
                index % COLOURS,
                escape(&series.name)
            )
        });
        format!("<ul class=\"legend\">{}</ul>\n", items.collect::<String>())
    }

    fn draw_band(&self, svg: &mut String, x: &Scale) {
        let Some((from, to, why)) = &self.band else {
            return;
        };
        let (left, right) = (x.place(*from), x.place(*to));
        push(
            svg,
            format_args!(
                "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>\n",
                (right - left).max(1.0),
                HEIGHT - TOP - BOTTOM,
                escape(why)
            ),
        );
    }

    fn draw_axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in y.ticks() {
            let at = y.place(tick);
            push(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                    LEFT - 6.0,
                    at + 4.0,
                    number(tick)
                ),
            );
        }
        let marks = if self.x.marks.is_empty() {
            x.ticks()
        } else {
            self.x.marks.clone()
        };
        for tick in marks {
            push(
                svg,
                format_args!(
                    "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                    x.place(tick),
                    bottom + 16.0,
                    number(tick)
                ),
            );
        }
        push(
            svg,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"name\" transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                (LEFT + right) / 2.0,
                HEIGHT - 8.0,
                escape(&self.x.name),
                (TOP + bottom) / 2.0,
                escape(&self.y.name)
            ),
        );
    }
}

fn draw_series(svg: &mut String, series: &Series, colour: usize, x: &Scale, y: &Scale) {
    push(
        svg,
        format_args!(
            "<g class=\"s{colour}\" data-series=\"{}\">\n",
            escape(&series.name)
        ),
    );
    if series.style != Style::Dots {
        let corners = series
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.place(point.x), y.place(point.y)));
        let class = if series.style == Style::Bound {
            "bound"
        } else {
            "line"
        };
        push(
            svg,
            format_args!(
                "<polyline class=\"{class}\" points=\"{}\"/>\n",
                corners.collect::<Vec<_>>().join(" ")
            ),
        );
    }
    if matches!(series.style, Style::Line | Style::Dots) {
        for point in &series.points {
            let (at_x, at_y) = (x.place(point.x), y.place(point.y));
            let mut words = format!("{}: {} → {}", series.name, number(point.x), number(point.y));
            if !point.label.is_empty() {
                words = format!("{}: {words}", point.label);
            }
            if let Some((low, high)) = point.interval {
                push(
                    svg,
                    format_args!(
                        "<line class=\"interval\" x1=\"{at_x:.1}\" x2=\"{at_x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                        y.place(low),
                        y.place(high)
                    ),
                );
                let _ = write!(words, " ({} to {})", number(low), number(high));
            }
            push(
                svg,
                format_args!(
                    "<circle class=\"dot\" cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"4\" data-x=\"{}\" data-y=\"{}\">\
                 <title>{}</title></circle>\n",
                    point.x,
                    point.y,
                    escape(&words)
                ),
            );
        }
    }
    svg.push_str("</g>\n");
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(text);
}

/// A number with as many digits as one reads.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if size >= 1e12 => (value / 1e12, " T"),
        _ if size >= 1e9 => (value / 1e9, " G"),
        _ if size >= 1e6 => (value / 1e6, " M"),
        _ if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = match scaled.abs() {
        scaled_size if scaled_size >= 100.0 || scaled_size == 0.0 => format!("{scaled:.0}"),
        scaled_size if scaled_size >= 10.0 => format!("{scaled:.1}"),
        _ => format!("{scaled:.2}"),
    };
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// Text as HTML and SVG have it.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within() {
        let linear = Scale::new(&Axis::linear("x"), [3.0, 97.0].into_iter(), 0.0, 100.0);
        assert_eq!(linear.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let log = Scale::new(&Axis::log("x"), [1.0, 64.0].into_iter(), 0.0, 100.0);
        assert_eq!(log.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert!(log.place(8.0) > log.place(4.0));
        // Nothing at all, or one value, is no reason to fail.
        for values in [vec![], vec![0.0], vec![5.0, 5.0], vec![f64::NAN]] {
            for axis in [Axis::linear("x"), Axis::log("x")] {
                let scale = Scale::new(&axis, values.iter().copied(), 0.0, 100.0);
                assert!(scale.ticks().len() < 40);
                assert!(scale.place(5.0).is_finite());
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.256, "0.26"),
            (5.0, "5"),
            (12.5, "12.5"),
            (1824.4, "1824"),
            (2.5e10, "25 G"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_picture() {
        let chart = Chart {
            title: "<b>".to_owned(),
            series: vec![Series {
                name: "\"><script>".to_owned(),
                points: vec![Point::at(1.0, 2.0)],
                style: Style::Dots,
            }],
            ..Chart::default()
        };
        let all = chart.svg() + &chart.legend();
        assert!(!all.contains("<script") && !all.contains("<b>"), "{all}");
        assert!(all.contains("data-x=\"1\" data-y=\"2\""));
    }
}
