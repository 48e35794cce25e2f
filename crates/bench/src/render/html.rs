//! A report as one page: no script, nothing from any other host, light and dark, for screens and paper.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::{Axis, Chart, Point, Series, Style, escape};
use super::table::tables;
use crate::machine::Conditions;
use crate::report::{Load, Report, ServeCell};
use crate::stats::{Summary, percentile};

const STYLE: &str = include_str!("report.css");
/// Cells whose distributions are drawn, so that lines can be told apart.
const MAX_DISTRIBUTIONS: usize = 8;

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{}, {}</p>\n",
        escape(&report.program),
        escape(&report.created),
        title = escape(&title(report)),
    );
    findings(&mut page, report);
    let charts = charts(report);
    if !charts.is_empty() {
        page.push_str("<h2>Charts</h2>\n<div class=\"charts\">\n");
        for chart in &charts {
            let _ = write!(
                page,
                "<figure>\n<h3>{}</h3>\n{}{}</figure>\n",
                escape(&chart.title),
                chart.svg(),
                chart.legend()
            );
        }
        page.push_str("</div>\n");
    }
    for table in tables(report) {
        let _ = write!(
            page,
            "<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\"><table>\n",
            escape(&table.title)
        );
        let row = |cells: &[String], tag: &str| -> String {
            let cells = cells
                .iter()
                .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        page.push_str(&row(&table.header, "th"));
        table
            .rows
            .iter()
            .for_each(|cells| page.push_str(&row(cells, "td")));
        page.push_str("</table></div>\n");
    }
    conditions(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

fn title(report: &Report) -> String {
    let models = report.models.iter().map(|model| model.name.clone());
    let server = report
        .server
        .iter()
        .map(|server| format!("{} at {}", server.model, server.url));
    let subjects: Vec<String> = models.chain(server).collect();
    format!("Benchmark of {}", subjects.join(", "))
}

fn findings(page: &mut String, report: &Report) {
    if report.findings.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"findings\" role=\"note\"><strong>Before you believe it</strong><ul>\n",
    );
    for note in report.notes() {
        let _ = writeln!(page, "<li>{}</li>", escape(&note));
    }
    page.push_str("</ul></div>\n");
}

/// The charts that have something to show.
pub fn charts(report: &Report) -> Vec<Chart> {
    let mut all = vec![
        throughput(report),
        latency(report),
        distributions(report),
        depths(report),
    ];
    all.extend([roofline(report), intrusion(report), peers(report)]);
    all.into_iter().filter(|chart| !chart.is_empty()).collect()
}

/// A figure of clients that wait for their answers, by their number: of several cells of one number the median and
/// its interval.
fn closed(cells: &[ServeCell], value: &dyn Fn(&ServeCell) -> f64) -> Vec<Point> {
    let mut values: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| !cell.cached) {
        if let Load::Closed { concurrency } = cell.load {
            values.entry(concurrency).or_default().push(value(cell));
        }
    }
    let points = values.iter().filter_map(|(concurrency, values)| {
        let summary = Summary::of(values)?;
        Some(Point {
            x: *concurrency as f64,
            y: summary.median,
            interval: (values.len() > 1).then_some((summary.low, summary.high)),
            label: String::new(),
        })
    });
    points.collect()
}

/// The axis of concurrency, marked where something was measured.
fn clients(series: &[Series]) -> Axis {
    let points = series.iter().flat_map(|series| &series.points);
    Axis::log("clients at once").marked(points.map(|point| point.x).collect())
}

fn throughput(report: &Report) -> Chart {
    let line = |name: &str, cells: &[ServeCell]| Series {
        name: name.to_owned(),
        points: closed(cells, &|cell| cell.tokens_per_s),
        style: Style::Line,
    };
    let mut series = vec![line("this server", &report.serve)];
    if let Some(versus) = &report.versus {
        series.push(line(&versus.server.url, &versus.serve));
    }
    Chart {
        title: "Throughput against concurrency".to_owned(),
        x: clients(&series),
        y: Axis::linear("tokens of answers a second"),
        series,
        band: None,
    }
}

fn latency(report: &Report) -> Chart {
    let line = |name: &str, value: &dyn Fn(&ServeCell) -> f64| Series {
        name: name.to_owned(),
        points: closed(&report.serve, value),
        style: Style::Line,
    };
    let series = vec![
        line("first token, p50", &|cell| cell.ttft_ms.p50),
        line("first token, p99", &|cell| cell.ttft_ms.p99),
        line("between tokens, p50", &|cell| cell.itl_ms.p50),
        line("between tokens, p99", &|cell| cell.itl_ms.p99),
    ];
    Chart {
        title: "Latency against concurrency".to_owned(),
        x: clients(&series),
        y: Axis::log("ms"),
        series,
        band: None,
    }
}

fn distributions(report: &Report) -> Chart {
    let curve = |cell: &ServeCell| {
        let mut times: Vec<f64> = cell
            .records
            .iter()
            .filter_map(|record| record.ttft_ms())
            .collect();
        times.sort_by(f64::total_cmp);
        let points = (0..=100).filter_map(|percent| {
            Some(Point::at(
                f64::from(percent),
                percentile(&times, f64::from(percent))?,
            ))
        });
        Series {
            name: cell.name.clone(),
            points: points.collect(),
            style: Style::Curve,
        }
    };
    Chart {
        title: "Time to the first token, of how many".to_owned(),
        x: Axis::linear("% of answers began within"),
        y: Axis::linear("ms"),
        series: report
            .serve
            .iter()
            .take(MAX_DISTRIBUTIONS)
            .map(curve)
            .collect(),
        band: None,
    }
}

fn depths(report: &Report) -> Chart {
    let mut lines: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for cell in report.engine.iter().filter(|cell| cell.generate > 0) {
        let name = format!(
            "{}, {} at once, {} threads, {}",
            cell.model, cell.batch, cell.threads, cell.kv_cache_dtype
        );
        lines.entry(name).or_default().push(Point {
            x: cell.depth as f64,
            y: cell.tokens_per_s.median,
            interval: Some((cell.tokens_per_s.low, cell.tokens_per_s.high)),
            label: cell.test.clone(),
        });
    }
    let series = lines.into_iter().map(|(name, mut points)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series {
            name,
            points,
            style: Style::Line,
        }
    });
    let marks = report.engine.iter().map(|cell| cell.depth as f64).collect();
    Chart {
        title: "Generation against the depth of the context".to_owned(),
        x: Axis::linear("tokens in the context before").marked(marks),
        y: Axis::linear("tokens a second"),
        series: series.collect(),
        band: None,
    }
}

fn roofline(report: &Report) -> Chart {
    let mut series = Vec::new();
    let roofs: Vec<_> = report
        .engine
        .iter()
        .filter_map(|cell| Some((cell, cell.roof?)))
        .collect();
    let intensity = |macs: f64, bytes: f64| macs / bytes.max(1.0);
    for (cell, roof) in &roofs {
        series.push(Series {
            name: format!("{} {}", cell.model, cell.test),
            points: vec![Point {
                x: intensity(roof.macs_per_s, roof.bytes_per_s),
                y: roof.macs_per_s,
                interval: None,
                label: String::new(),
            }],
            style: Style::Dots,
        });
    }
    // The best that was seen of the machine in this run.
    let best = roofs
        .iter()
        .fold((0.0_f64, 0.0_f64), |(bytes, macs), (_, roof)| {
            (
                bytes.max(roof.peak_bytes_per_s),
                macs.max(roof.peak_macs_per_s),
            )
        });
    if let (Some(low), Some(high)) = (
        series
            .iter()
            .map(|one| one.points[0].x)
            .min_by(f64::total_cmp),
        series
            .iter()
            .map(|one| one.points[0].x)
            .max_by(f64::total_cmp),
    ) {
        let ridge = best.1 / best.0.max(1.0);
        let (low, high) = (low.min(ridge / 4.0), high.max(ridge * 4.0));
        let points = [low, ridge, high].map(|x| Point::at(x, (x * best.0).min(best.1)));
        series.push(Series {
            name: "what the machine gives".to_owned(),
            points: points.to_vec(),
            style: Style::Bound,
        });
    }
    Chart {
        title: "Roofline".to_owned(),
        x: Axis::log("multiply-adds a byte of memory"),
        y: Axis::log("multiply-adds a second"),
        series,
        band: None,
    }
}

fn intrusion(report: &Report) -> Chart {
    let Some(intrusion) = &report.intrusion else {
        return Chart::default();
    };
    let points = intrusion
        .tokens
        .iter()
        .map(|(at, tokens)| Point::at(*at, *tokens));
    Chart {
        title: format!(
            "{} streams while a prompt of {} tokens arrives",
            intrusion.streams, intrusion.prompt_tokens
        ),
        x: Axis::linear("seconds"),
        y: Axis::linear("tokens that the streams have got"),
        series: vec![Series {
            name: "all streams together".to_owned(),
            points: points.collect(),
            style: Style::Curve,
        }],
        band: Some((
            intrusion.sent_s,
            intrusion.first_token_s,
            "the long prompt is read".to_owned(),
        )),
    }
}

fn peers(report: &Report) -> Chart {
    let mut series: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for cell in &report.engine {
        for (name, peer) in &cell.peers {
            let points = series.entry(format!("ours to {name}")).or_default();
            points.push(ratio(points.len(), &peer.comparison.ratio, &cell.test));
        }
    }
    if let Some(versus) = &report.versus {
        for (what, comparison) in &versus.comparisons {
            let points = series
                .entry(format!("ours to {}", versus.server.url))
                .or_default();
            points.push(ratio(points.len(), &comparison.ratio, what));
        }
    }
    let count = series.values().map(Vec::len).max().unwrap_or(0);
    let mut series: Vec<Series> = series
        .into_iter()
        .map(|(name, points)| Series {
            name,
            points,
            style: Style::Dots,
        })
        .collect();
    if count > 0 {
        series.push(Series {
            name: "equal".to_owned(),
            points: vec![Point::at(0.0, 1.0), Point::at(count as f64, 1.0)],
            style: Style::Bound,
        });
    }
    Chart {
        title: "Side by side: how many times as good, and the intervals".to_owned(),
        x: Axis::linear("figures, in the order of the table")
            .marked((1..=count).map(|figure| figure as f64).collect()),
        y: Axis::linear("times as good"),
        series,
        band: None,
    }
}

fn ratio(index: usize, ratio: &Summary, label: &str) -> Point {
    Point {
        x: (index + 1) as f64,
        y: ratio.median,
        interval: Some((ratio.low, ratio.high)),
        label: label.to_owned(),
    }
}

fn conditions(page: &mut String, report: &Report) {
    let machine = &report.machine;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not told".to_owned());
    let state = |conditions: &Conditions| {
        let part = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
        let parts = [
            part(
                "frequency",
                conditions.frequency_mhz.map(|mhz| format!("{mhz:.0} MHz")),
            ),
            part(
                "temperature",
                conditions.temperature_c.map(|c| format!("{c:.0} °C")),
            ),
            part("load", Some(format!("{:.2}", conditions.load_average))),
            part(
                "others took",
                conditions
                    .others_share
                    .map(|s| format!("{:.0} %", 100.0 * s)),
            ),
            part(
                "the host took",
                conditions
                    .steal_share
                    .map(|s| format!("{:.0} %", 100.0 * s)),
            ),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let order: Vec<String> = report
        .order
        .iter()
        .map(|step| format!("{:.1} s {}", step.at_s, step.what))
        .collect();
    let cores = match machine.physical_cores {
        Some(physical) => format!("{physical} ({} threads)", machine.logical_cores),
        None => format!("{} threads", machine.logical_cores),
    };
    let entries = [
        ("Command", format!("matou {}", report.command.join(" "))),
        ("Processor", known(&machine.cpu)),
        ("Cores", cores),
        ("Features", machine.features.join(" ")),
        ("Caches", machine.caches.join(", ")),
        (
            "Memory",
            format!("{:.1} GB", machine.memory_bytes as f64 / 1e9),
        ),
        ("Governor", known(&machine.governor)),
        (
            "System",
            format!(
                "{}, kernel {}",
                known(&machine.system),
                known(&machine.kernel)
            ),
        ),
        ("Before", state(&report.before)),
        ("After", state(&report.after)),
        ("Seed", report.seed.to_string()),
        ("Order", order.join("; ")),
    ];
    page.push_str("<h2>How it was measured</h2>\n<dl>\n");
    for (name, value) in entries {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    page.push_str("</dl>\n");
}
