//! Tables, once for all of their forms.

use crate::compare::{Change, Differences};
use crate::report::{Bound, EngineCell, Report, Roof, ServeCell};
use crate::stats::{Comparison, Summary, Verdict};

/// Title of the table of models alone.
pub const ENGINE: &str = "Models alone";

/// A table of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// As many cells each.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: &str, header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self {
            title: title.to_owned(),
            header: header.iter().map(|name| (*name).to_owned()).collect(),
            rows,
        }
    }

    /// In columns, for a terminal: the first to the left, numbers to the right.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| {
            let widths = lines().filter_map(|line| Some(line.get(column)?.chars().count()));
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let cells = line.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// As Markdown has it.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells = cells.iter().map(|cell| cell.replace('|', "\\|"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule: Vec<String> = (0..self.header.len())
            .map(|column| if column == 0 { "---" } else { "---:" }.to_owned())
            .collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{}{rows}", line(&self.header), line(&rule))
    }

    /// As spreadsheets read it.
    ///
    /// # Errors
    ///
    /// When memory is short.
    pub fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.header)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// All tables of a report that have a row.
pub fn tables(report: &Report) -> Vec<Table> {
    let all = [
        models(report),
        engine(report),
        serve(report),
        latencies(report),
        intrusion(report),
        versus(report),
        quality(report),
    ];
    all.into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

/// The models that ran.
fn models(report: &Report) -> Table {
    let row = |model: &crate::report::Model| {
        let hash = model
            .sha256
            .values()
            .next()
            .map_or("made up", |hash| &hash[..hash.len().min(12)]);
        vec![
            model.name.clone(),
            model.architecture.clone(),
            model.quantization.clone(),
            billions(model.parameters),
            gigabytes(model.weight_bytes),
            ran_on(model),
            format!("{:.2}", model.load_s),
            model.peak_load_bytes.map_or("–".to_owned(), gigabytes),
            hash.to_owned(),
        ]
    };
    Table::new(
        "Models",
        &[
            "model",
            "architecture",
            "format",
            "weights",
            "GB",
            "on",
            "load s",
            "peak GB",
            "sha256",
        ],
        report.models.iter().map(row).collect(),
    )
}

/// The device that a model ran on; of the CPU, the instruction set, which tells more.
fn ran_on(model: &crate::report::Model) -> String {
    match model.device.as_str() {
        "" | "CPU" => model.isa.clone(),
        gpu => gpu.to_owned(),
    }
}

/// Columns of the table of models alone.
pub const ENGINE_HEADER: [&str; 8] = [
    "model",
    "test",
    "threads",
    "kv",
    "tokens/s",
    "interval",
    "runs",
    "of the roof",
];

/// A row of it.
pub fn engine_row(cell: &EngineCell) -> Vec<String> {
    vec![
        cell.model.clone(),
        cell.test.clone(),
        cell.threads.to_string(),
        cell.kv_cache_dtype.clone(),
        format!("{:.2}", cell.tokens_per_s.median),
        interval(&cell.tokens_per_s),
        cell.tokens_per_s.runs.len().to_string(),
        cell.roof.as_ref().map_or("–".to_owned(), roof),
    ]
}

/// Tokens per second of models alone, and their energy where it is known.
pub fn engine(report: &Report) -> Table {
    let has_energy = report
        .engine
        .iter()
        .any(|cell| cell.joules_per_token.is_some());
    let row = |cell: &EngineCell| {
        let joules = cell
            .joules_per_token
            .map_or("–".to_owned(), |j| format!("{j:.3}"));
        let energy = has_energy.then_some(joules);
        engine_row(cell).into_iter().chain(energy).collect()
    };
    let mut header = ENGINE_HEADER.to_vec();
    header.extend(has_energy.then_some("J/token"));
    Table::new(ENGINE, &header, report.engine.iter().map(row).collect())
}

/// Throughput of a server.
pub fn serve(report: &Report) -> Table {
    let row = |cell: &ServeCell| {
        let cached = match cell.cached_tokens {
            Some(tokens) if cell.prompt_tokens > 0 => {
                format!("{:.0} %", 100.0 * tokens as f64 / cell.prompt_tokens as f64)
            }
            _ => "?".to_owned(),
        };
        vec![
            cell.name.clone(),
            format!("{}/{}", cell.completed, cell.requests),
            format!("{:.1}", cell.tokens_per_s),
            format!("{:.1}", cell.total_tokens_per_s),
            format!("{:.2}", cell.requests_per_s),
            ms(cell.ttft_ms.p50),
            ms(cell.ttft_ms.p99),
            ms(cell.itl_ms.p50),
            ms(cell.itl_ms.p99),
            cached,
            cell.goodput_per_s
                .map_or("–".to_owned(), |rate| format!("{rate:.2}")),
        ]
    };
    Table::new(
        "Served",
        &[
            "load",
            "answered",
            "tokens/s",
            "with prompts",
            "answers/s",
            "ttft p50",
            "ttft p99",
            "itl p50",
            "itl p99",
            "cached",
            "goodput/s",
        ],
        report.serve.iter().map(row).collect(),
    )
}

/// All percentiles, in milliseconds.
fn latencies(report: &Report) -> Table {
    let mut rows = Vec::new();
    for cell in &report.serve {
        for (name, values) in [
            ("first token", &cell.ttft_ms),
            ("between tokens", &cell.itl_ms),
            ("a token, by answer", &cell.tpot_ms),
            ("whole answer", &cell.e2e_ms),
        ] {
            let mut row = vec![
                format!("{}: {name}", cell.name),
                values.count.to_string(),
                ms(values.mean),
            ];
            row.extend(values.percentiles().map(|(_, value)| ms(value)));
            row.push(ms(values.max));
            rows.push(row);
        }
    }
    Table::new(
        "Latencies in ms",
        &[
            "load", "values", "mean", "p50", "p90", "p95", "p99", "p99.9", "max",
        ],
        rows,
    )
}

fn intrusion(report: &Report) -> Table {
    let row = |intrusion: &crate::report::Intrusion| {
        let times = intrusion.itl_beside_ms.p50 / intrusion.itl_alone_ms.p50;
        vec![
            format!(
                "{} streams, a prompt of {}",
                intrusion.streams, intrusion.prompt_tokens
            ),
            format!("{:.2} s", intrusion.first_token_s - intrusion.sent_s),
            ms(intrusion.itl_alone_ms.p50),
            ms(intrusion.itl_beside_ms.p50),
            ms(intrusion.itl_beside_ms.max),
            format!("{times:.2}"),
        ]
    };
    Table::new(
        "A long prompt arrives",
        &[
            "beside",
            "read in",
            "itl p50 alone",
            "itl p50 beside",
            "longest gap",
            "ratio",
        ],
        report.intrusion.iter().map(row).collect(),
    )
}

/// Ratios with others.
fn versus(report: &Report) -> Table {
    let mut rows = Vec::new();
    let mut push = |what: String, comparison: &Comparison| {
        rows.push(vec![
            what,
            format!("{:.2}", comparison.ours),
            format!("{:.2}", comparison.theirs),
            format!("{:.2}", comparison.ratio.median),
            interval(&comparison.ratio),
            verdict(comparison),
        ]);
    };
    for cell in &report.engine {
        for (name, peer) in &cell.peers {
            push(
                format!("{} {} against {name}", cell.model, cell.test),
                &peer.comparison,
            );
        }
    }
    if let Some(versus) = &report.versus {
        for (what, comparison) in &versus.comparisons {
            push(format!("{what} against {}", versus.server.url), comparison);
        }
    }
    Table::new(
        "Side by side",
        &[
            "figure",
            "ours",
            "theirs",
            "times as good",
            "interval",
            "verdict",
        ],
        rows,
    )
}

fn quality(report: &Report) -> Table {
    let row = |quality: &crate::report::Quality| {
        vec![
            quality.subject.clone(),
            quality.greedy_sha256[..quality.greedy_sha256.len().min(16)].to_owned(),
            quality.tokens.to_string(),
            quality
                .kl_from_reference
                .map_or("–".to_owned(), |kl| format!("{kl:.5}")),
        ]
    };
    Table::new(
        "What was computed",
        &[
            "subject",
            "greedy sha256",
            "tokens",
            "KL from the reference",
        ],
        report.quality.iter().map(row).collect(),
    )
}

/// Two reports beside each other.
pub fn differences(differences: &Differences) -> Table {
    let row = |row: &crate::compare::Row| {
        vec![
            row.cell.clone(),
            format!("{:.2}", row.before),
            format!("{:.2}", row.after),
            format!("{:.3}", row.ratio),
            match row.change {
                Change::Better => "better",
                Change::Worse => "worse",
                Change::None => "no difference",
                Change::Unsure => "too few runs",
            }
            .to_owned(),
        ]
    };
    Table::new(
        "Before and after",
        &["figure", "before", "after", "times as good", "verdict"],
        differences.rows.iter().map(row).collect(),
    )
}

/// The same in words, with what stands in no table.
pub fn differences_text(differences: &Differences) -> String {
    let mut text = self::differences(differences).text();
    for (name, all) in [
        ("only before", &differences.gone),
        ("only after", &differences.new),
        ("differs", &differences.conditions),
        ("computes otherwise", &differences.quality),
    ] {
        for one in all {
            text.push_str(&format!("{name}: {one}\n"));
        }
    }
    text
}

/// An interval, or that there is none.
pub fn interval(summary: &Summary) -> String {
    match summary.runs.len() {
        0 | 1 => "–".to_owned(),
        _ if summary.confidence >= crate::stats::CONFIDENCE => {
            format!("{:.2} to {:.2}", summary.low, summary.high)
        }
        // Said otherwise, so that nobody takes it for more than it is.
        _ => format!("({:.2} to {:.2})", summary.low, summary.high),
    }
}

fn verdict(comparison: &Comparison) -> String {
    match comparison.verdict {
        Verdict::Better => "ours is better",
        Verdict::Worse => "theirs is better",
        Verdict::Open => "open",
    }
    .to_owned()
}

/// The share of a roof, and of which.
pub fn roof(roof: &Roof) -> String {
    let percent = 100.0 * roof.share;
    match roof.bound {
        Bound::Memory => format!("{percent:.0} % of {:.1} GB/s", roof.peak_per_s / 1e9),
        Bound::Arithmetic => format!("{percent:.0} % of {:.0} GMAC/s", roof.peak_per_s / 1e9),
    }
}

fn ms(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn billions(count: u64) -> String {
    match count {
        0..1_000_000_000 => format!("{:.0} M", count as f64 / 1e6),
        _ => format!("{:.2} B", count as f64 / 1e9),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rows = [["pp|512", "1824.00"], ["tg64, \"x\"", "212.50"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        Table::new("Speed", &["test", "tokens/s"], rows)
    }

    #[test]
    fn a_table_has_three_forms() {
        let expected = "test       tokens/s\npp|512      1824.00\ntg64, \"x\"    212.50\n";
        assert_eq!(table().text(), expected);
        let markdown = table().markdown();
        assert!(markdown.contains("| --- | ---: |"), "{markdown}");
        assert!(markdown.contains("| pp\\|512 | 1824.00 |"), "{markdown}");
        let csv = table().csv().unwrap();
        assert_eq!(
            csv,
            "test,tokens/s\npp|512,1824.00\n\"tg64, \"\"x\"\"\",212.50\n"
        );
    }

    #[test]
    fn a_model_is_said_to_have_run_on_a_gpu_or_with_an_instruction_set() {
        let on = |device: &str| {
            ran_on(&crate::report::Model {
                isa: "avx2".to_owned(),
                device: device.to_owned(),
                ..Default::default()
            })
        };
        assert_eq!((on(""), on("CPU")), ("avx2".to_owned(), "avx2".to_owned()));
        assert_eq!(on("a card (driver 1.2)"), "a card (driver 1.2)");
    }

    #[test]
    fn an_interval_of_few_runs_is_told_from_a_sure_one() {
        let of = |runs: &[f64]| interval(&Summary::of(runs).unwrap());
        assert_eq!(of(&[1.0]), "–");
        assert_eq!(of(&[1.0, 2.0]), "(1.00 to 2.00)");
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), "1.00 to 6.00");
    }
}
