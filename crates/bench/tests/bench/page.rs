//! The page: what it shows is what the report says.

use std::collections::BTreeMap;

use matou_bench::machine::Conditions;
use matou_bench::render::html::page;
use matou_bench::report::{
    Bound, ClientLoad, EngineCell, FindingKind, Intrusion, Load, PeerFigure, Record, Report, Roof,
    ServeCell,
};
use matou_bench::stats::{Comparison, Distribution, Summary};

/// A report with something of everything.
fn report() -> Report {
    let mut report = Report::new(
        "matou <1>",
        vec!["bench".to_owned()],
        7,
        Conditions::default(),
    );
    for (depth, speed) in [(0, 212.5), (1024, 180.25), (4096, 120.125)] {
        report.engine.push(engine_cell(depth, speed));
    }
    for (concurrency, speed) in [(1, 101.5), (4, 333.25), (16, 402.75)] {
        report.serve.push(serve_cell(concurrency, speed));
    }
    report.intrusion = Some(Intrusion {
        streams: 4,
        prompt_tokens: 4000,
        sent_s: 2.0,
        first_token_s: 3.5,
        tokens: vec![(1.0, 1.0), (2.0, 9.0), (4.0, 17.0)],
        itl_alone_ms: Distribution::of([10.0, 11.0]),
        itl_beside_ms: Distribution::of([20.0, 22.0]),
    });
    report.find(FindingKind::Noise, None, "<script>alert(1)</script>");
    report
}

fn engine_cell(depth: usize, speed: f64) -> EngineCell {
    let runs = [speed, speed * 1.01, speed * 0.99];
    let theirs = Summary::of(&[speed / 2.0; 3]).unwrap();
    let comparison = Comparison::of(&runs, &theirs.runs, true).unwrap();
    let peer = PeerFigure {
        tokens_per_s: theirs,
        comparison,
    };
    EngineCell {
        model: "m".to_owned(),
        test: format!("tg64@d{depth}"),
        prompt: 0,
        generate: 64,
        depth,
        batch: 1,
        threads: 2,
        kv_cache_dtype: "f16".to_owned(),
        tokens_per_s: Summary::of(&runs).unwrap(),
        roof: Some(Roof {
            bound: Bound::Memory,
            per_unit: 1,
            used_per_s: 1e10,
            peak_per_s: 3e10,
            share: 1.0 / 3.0,
            macs_per_s: 3e10,
            bytes_per_s: 1e10,
            peak_bytes_per_s: 3e10,
            peak_macs_per_s: 3e11,
        }),
        joules_per_token: None,
        used: None,
        peers: BTreeMap::from([("llama.cpp".to_owned(), peer)]),
    }
}

fn serve_cell(concurrency: usize, tokens_per_s: f64) -> ServeCell {
    let record = Record {
        first_token_s: Some(0.25),
        end_s: 1.0,
        ..Record::default()
    };
    ServeCell {
        name: format!("{concurrency} clients"),
        load: Load::Closed { concurrency },
        cached: false,
        shared_prefix: 0.0,
        seconds: 10.0,
        requests: 16,
        completed: 16,
        errors: BTreeMap::new(),
        prompt_tokens: 1000,
        cached_tokens: Some(0),
        completion_tokens: 500,
        tokens_per_s,
        total_tokens_per_s: 2.0 * tokens_per_s,
        requests_per_s: 1.6,
        sent_per_s: 1.6,
        ttft_ms: Distribution::of([250.5]),
        itl_ms: Distribution::of([12.75]),
        tpot_ms: Distribution::of([12.75]),
        e2e_ms: Distribution::of([1000.0]),
        send_delay_ms: Distribution::of([0.0]),
        multi_token_chunks: 0.0,
        goodput_per_s: None,
        client: ClientLoad::default(),
        records: vec![record],
    }
}

/// The values of a chart's series, in order.
fn values(page: &str, chart: &str, series: &str) -> Vec<(f64, f64)> {
    let chart = page
        .split("<figure>")
        .find(|figure| figure.contains(&format!("<h3>{chart}</h3>")));
    let chart = chart.unwrap_or_else(|| panic!("no chart {chart:?}"));
    let series = chart
        .split("data-series=\"")
        .find(|group| group.starts_with(series))
        .unwrap();
    let attribute = |dot: &str, name: &str| -> f64 {
        let rest = dot.split(&format!("{name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let dots = series.split("<circle").skip(1);
    dots.map(|dot| (attribute(dot, "data-x"), attribute(dot, "data-y")))
        .collect()
}

#[test]
fn numbers_in_charts_are_those_of_the_report() {
    let (page, report) = (page(&report()), report());
    let expected = report.serve.iter().map(|cell| match cell.load {
        Load::Closed { concurrency } => (concurrency as f64, cell.tokens_per_s),
        _ => panic!("closed"),
    });
    let expected: Vec<(f64, f64)> = expected.collect();
    assert_eq!(
        values(&page, "Throughput against concurrency", "this server"),
        expected
    );
    // Of rounds, the median: 101.5 and 103.5 of one client.
    let mut rounds = report.clone();
    rounds.serve.push(serve_cell(1, 103.5));
    let medians = values(
        &matou_bench::render::html::page(&rounds),
        "Throughput against concurrency",
        "this server",
    );
    assert_eq!((medians.len(), medians[0]), (3, (1.0, 102.5)));
    let latencies = values(&page, "Latency against concurrency", "first token, p50");
    assert_eq!(latencies, [(1.0, 250.5), (4.0, 250.5), (16.0, 250.5)]);
    let depths = values(
        &page,
        "Generation against the depth of the context",
        "m, 1 at once",
    );
    assert_eq!(depths, [(0.0, 212.5), (1024.0, 180.25), (4096.0, 120.125)]);
    let ratios = values(
        &page,
        "Side by side: how many times as good, and the intervals",
        "ours to llama.cpp",
    );
    assert_eq!(ratios, [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)]);
    let roof = values(&page, "Roofline", "m tg64@d0");
    assert_eq!(roof, [(3.0, 3e10)]);
    assert!(page.contains("4 streams while a prompt of 4000 tokens arrives"));
    // And in the tables.
    for figure in ["212.50", "333.2", "250", "tg64@d4096"] {
        assert!(page.contains(figure), "{figure}");
    }
}

#[test]
fn the_page_needs_nobody_else_and_runs_nothing() {
    let page = page(&report());
    for word in [
        "http://", "https://", "<script", "url(", "@import", "<link", "<img", "onload",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    assert!(
        page.contains("&lt;script&gt;alert(1)"),
        "what others wrote is text"
    );
    assert!(page.contains("matou &lt;1&gt;"));
}

#[test]
fn a_report_of_nothing_is_a_page_too() {
    let empty = Report::new("matou", Vec::new(), 0, Conditions::default());
    let page = page(&empty);
    assert!(page.contains("How it was measured") && !page.contains("<svg"));
}
