//! Two reports beside each other: what has become better, what worse, and of what nothing can be said.

use std::collections::BTreeMap;

use crate::report::Report;
use crate::stats::{CONFIDENCE, Summary};

/// One figure in both reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The cell.
    pub cell: String,
    /// The figure of it, as in `tokens/s`.
    pub figure: &'static str,
    /// In the first report.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// How many times as good the second is: above 1 is better, for latencies too.
    pub ratio: f64,
    /// What may be said.
    pub change: Change,
}

/// What may be said of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Better: the intervals part.
    Better,
    /// Worse: the intervals part.
    Worse,
    /// The intervals overlap.
    None,
    /// It was measured too seldom to say.
    Unsure,
}

/// Two reports beside each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences {
    /// Figures that both have.
    pub rows: Vec<Row>,
    /// Cells that only the first has.
    pub gone: Vec<String>,
    /// Cells that only the second has.
    pub new: Vec<String>,
    /// Conditions that differ, so that figures may for that reason.
    pub conditions: Vec<String>,
    /// Subjects that compute something else than before.
    pub quality: Vec<String>,
}

impl Differences {
    /// Compares two reports.
    pub fn between(before: &Report, after: &Report) -> Self {
        let mut differences = Self {
            conditions: conditions(before, after),
            quality: quality(before, after),
            ..Self::default()
        };
        let [old, new] = [before, after].map(figures);
        for (key, (figure, old)) in &old {
            match new.get(key) {
                Some((_, new)) => differences.rows.push(row(key, figure, old, new)),
                None => differences.gone.push(key.clone()),
            }
        }
        differences.new = new
            .keys()
            .filter(|key| !old.contains_key(*key))
            .cloned()
            .collect();
        differences
    }

    /// Figures that are worse by more than `tolerance`, a part of one. Where the runs allow to say, noise is
    /// none of them.
    pub fn worse_than(&self, tolerance: f64) -> Vec<&Row> {
        let is_worse = |row: &&Row| {
            let may_be = matches!(row.change, Change::Worse | Change::Unsure);
            may_be && row.ratio < 1.0 - tolerance
        };
        self.rows.iter().filter(is_worse).collect()
    }
}

/// A figure, and whether more of it is better.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    more_is_better: bool,
}

/// All figures of a report, by cell and name.
fn figures(report: &Report) -> BTreeMap<String, (Figure, Summary)> {
    let mut all = BTreeMap::new();
    let speed = Figure {
        name: "tokens/s",
        more_is_better: true,
    };
    for cell in &report.engine {
        all.insert(cell.key(), (speed, cell.tokens_per_s.clone()));
    }
    // Cells of one load are repetitions of one another.
    let mut serve: BTreeMap<String, (Figure, Vec<f64>)> = BTreeMap::new();
    for cell in &report.serve {
        let load = if cell.cached {
            format!("{} cached", cell.load.name())
        } else {
            cell.load.name()
        };
        for (name, more_is_better, value) in [
            ("tokens/s", true, cell.tokens_per_s),
            ("ttft p50 ms", false, cell.ttft_ms.p50),
            ("itl p50 ms", false, cell.itl_ms.p50),
            ("e2e p99 ms", false, cell.e2e_ms.p99),
        ] {
            let figure = Figure {
                name,
                more_is_better,
            };
            let entry = serve.entry(format!("{load}: {name}"));
            entry.or_insert((figure, Vec::new())).1.push(value);
        }
    }
    let serve = serve.into_iter();
    all.extend(
        serve.filter_map(|(key, (figure, runs))| Some((key, (figure, Summary::of(&runs)?)))),
    );
    all
}

fn row(cell: &str, figure: &Figure, before: &Summary, after: &Summary) -> Row {
    let quotient = after.median / before.median;
    let ratio = if figure.more_is_better {
        quotient
    } else {
        quotient.recip()
    };
    let is_sure = before.confidence.min(after.confidence) >= CONFIDENCE;
    let change = match (is_sure, before.parts_from(after)) {
        (false, _) => Change::Unsure,
        (true, false) => Change::None,
        (true, true) if ratio > 1.0 => Change::Better,
        (true, true) => Change::Worse,
    };
    Row {
        cell: cell.to_owned(),
        figure: figure.name,
        before: before.median,
        after: after.median,
        ratio,
        change,
    }
}

fn conditions(before: &Report, after: &Report) -> Vec<String> {
    let (a, b) = (&before.machine, &after.machine);
    let mut different = Vec::new();
    let mut check = |what: &str, a: String, b: String| {
        if a != b {
            different.push(format!("{what}: {a} before, {b} after"));
        }
    };
    check("processor", format!("{:?}", a.cpu), format!("{:?}", b.cpu));
    check(
        "cores",
        a.logical_cores.to_string(),
        b.logical_cores.to_string(),
    );
    check(
        "governor",
        format!("{:?}", a.governor),
        format!("{:?}", b.governor),
    );
    check("program", before.program.clone(), after.program.clone());
    let weights = |report: &Report| {
        let models = report
            .models
            .iter()
            .map(|model| format!("{:?}", model.sha256));
        models.collect::<Vec<_>>().join(", ")
    };
    check("weights", weights(before), weights(after));
    different
}

fn quality(before: &Report, after: &Report) -> Vec<String> {
    let pairs = before.quality.iter().zip(&after.quality);
    let parted = pairs.filter(|(a, b)| a.greedy_sha256 != b.greedy_sha256);
    parted
        .map(|(a, b)| format!("{} answers other tokens than {} did", b.subject, a.subject))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{EngineCell, FindingKind};

    fn report(runs: &[f64]) -> Report {
        let mut report = Report::new("matou 1", Vec::new(), 0, Default::default());
        report.engine.push(EngineCell {
            model: "m".to_owned(),
            test: "pp512".to_owned(),
            prompt: 512,
            generate: 0,
            depth: 0,
            batch: 1,
            threads: 2,
            kv_cache_dtype: "f16".to_owned(),
            tokens_per_s: Summary::of(runs).unwrap(),
            roof: None,
            joules_per_token: None,
            used: None,
            peers: BTreeMap::new(),
        });
        report
    }

    const BASE: [f64; 6] = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0];

    #[test]
    fn noise_is_no_change_and_a_loss_beyond_the_tolerance_is_one() {
        let slower = |by: f64| report(&BASE.map(|run| run * by));
        let base = report(&BASE);
        let change = |other: &Report| Differences::between(&base, other).rows[0].change;
        assert_eq!(change(&slower(0.99)), Change::None);
        assert_eq!(change(&slower(0.9)), Change::Worse);
        assert_eq!(change(&slower(1.1)), Change::Better);
        assert_eq!(change(&report(&[100.0, 90.0])), Change::Unsure);
        let worse = |by, tolerance| {
            Differences::between(&base, &slower(by))
                .worse_than(tolerance)
                .len()
        };
        assert_eq!(
            [worse(0.99, 0.05), worse(0.94, 0.05), worse(0.94, 0.1)],
            [0, 1, 0]
        );
        // Of too few runs nothing is sure, but a loss of half is not passed over.
        let few = Differences::between(&base, &report(&[50.0]));
        assert_eq!(few.worse_than(0.05).len(), 1);
    }

    #[test]
    fn other_machines_and_other_cells_are_told() {
        let mut other = report(&BASE);
        other.machine.cpu = Some("another".to_owned());
        other.engine[0].test = "pp1".to_owned();
        let differences = Differences::between(&report(&BASE), &other);
        assert_eq!(differences.conditions.len(), 1);
        assert_eq!((differences.gone.len(), differences.new.len()), (1, 1));
        assert!(differences.rows.is_empty());
    }

    #[test]
    fn a_note_on_many_cells_is_one() {
        let mut report = report(&BASE);
        for cell in ["a", "b", "c"] {
            report.find(FindingKind::Noise, Some(cell), "noise");
        }
        report.find(FindingKind::Noise, None, "alone");
        assert_eq!(report.notes(), ["a and 2 more: noise", "alone"]);
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let report = report(&BASE);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(Report::parse(&json).unwrap(), report);
        let error = |json: &str| Report::parse(json).unwrap_err().to_string();
        assert!(error("{}").contains("no \"schema\""));
        assert!(error("{\"schema\": \"matou-bench/0\"}").contains("matou-bench/0"));
        assert!(error("x").contains("not a report"));
    }
}
